#!lua flags=allow-oom
-- release: reserved → ready at the head, ready since when it was; one that none of its code ran
--   of (charge none) gives its token back
-- KEYS meta ready solo held wake paused bucket
-- ARGV for each job: id, fence (8 bytes), charge, note
-- returns the ids that were lost
local meta, ready, solo, held, wake, paused, bucket = unpack(KEYS)
-- include _ring
-- include _lane
-- include _settle

local is_ready, not_run = false, 0
for i = #ARGV - 3, 1, -4 do -- the last one first, so that the first one ends up first
  local id = ARGV[i]
  if settle(id, ARGV[i + 1]) then
    local record = charge(id, ARGV[i + 2], ARGV[i + 3])
    redis.call('LPUSH', lane_of(record), id)
    is_ready = true
    not_run = not_run + (ARGV[i + 2] == 'none' and 1 or 0)
  end
end
if not_run > 0 then
  local opens, every = unpack(redis.call('HMGET', bucket, 'opens', 'every'))
  if opens then
    redis.call('HSET', bucket, 'opens', string.format('%.3f', opens - not_run * every))
  end
end
if is_ready then
  ring()
end
return lost
