#!lua
-- enqueue_batch: a batch and all its members, in one step; refused whole when memory is full
-- KEYS jobs
-- ARGV id, then the parcels of its callbacks then, catch, finally (empty: none); for each member its
--   id and its parcel
-- returns 1, or 0 when a batch of that id exists
-- include _follow

local id = ARGV[1]
local record, members = base .. 'batch:' .. id, base .. 'members:' .. id
if redis.call('EXISTS', record) == 1 then
  return 0
end
redis.call('HSET', record, 'total', (#ARGV - 4) / 2, 'done', 0, 'failed', 0, 'gone', 0, 'created', now)
for i, name in ipairs({ 'then', 'catch', 'finally' }) do
  if ARGV[1 + i] ~= '' then
    redis.call('HSET', record, name, ARGV[1 + i])
  end
end
for i = 5, #ARGV, 2 do
  redis.call('HSET', members, pack_id(ARGV[i]), '')
end
for i = 6, #ARGV, 2 do
  send(ARGV[i])
end
return 1
