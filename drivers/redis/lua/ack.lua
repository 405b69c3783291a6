#!lua flags=allow-oom
-- ack: reserved → done: nothing of the job is kept
-- KEYS jobs meta held
-- ARGV n ids, then their n fences (8 bytes)
-- returns the ids that were lost
local jobs, meta, held = unpack(KEYS)

local n = #ARGV / 2
local done, lost, seen = {}, {}, {}
for i, entry in ipairs(redis.call('HMGET', held, unpack(ARGV, 1, n))) do
  local id = ARGV[i]
  if entry and string.sub(entry, 1, 8) == ARGV[n + i] and not seen[id] then
    done[#done + 1], seen[id] = id, true
  else
    lost[#lost + 1] = id
  end
end
if #done > 0 then
  redis.call('HDEL', held, unpack(done))
  redis.call('HDEL', jobs, unpack(done))
  redis.call('HDEL', meta, unpack(done))
end
return lost
