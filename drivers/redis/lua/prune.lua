#!lua flags=allow-oom
-- prune: failed → –, of those that failed long ago; the oldest first, none whose hook is still to run
-- KEYS jobs meta failed records hooks keys sequels
-- ARGV µs since the failing, at the least; how many at the most (1,000)
-- returns how many it removed
local jobs, meta, failed, records, hooks, keys, sequels = unpack(KEYS)
-- include _clock
-- include _forget

local LOOK_AT = 10000 -- behind so many whose hooks are to run none is looked for
local before = time[1] * 1000000 + time[2] - ARGV[1]
local limit, looked, ids = tonumber(ARGV[2]), 0, {}
while #ids < limit and looked < LOOK_AT do
  local page = redis.call('ZRANGE', failed, '-inf', before, 'BYSCORE', 'LIMIT', looked, limit)
  for _, id in ipairs(page) do
    if #ids < limit and not redis.call('ZSCORE', hooks, id) then
      ids[#ids + 1] = id
    end
  end
  looked = looked + #page
  if #page < limit then
    break
  end
end

local _, forgotten = forget(ids)
if redis.call('EXISTS', sequels) == 1 then
  -- include _follow
  for _, id in ipairs(forgotten) do
    ended(id, 'gone')
  end
end
return #forgotten
