#!lua flags=allow-oom
-- ack: reserved → done: nothing of the job is kept, and what follows it is sent
-- KEYS jobs meta held failed keys sequels unique:
-- ARGV n ids, then their n fences (8 bytes)
-- returns the ids that were lost
local jobs, meta, held, failed, keys, sequels, unique = unpack(KEYS)
-- include _unique

local n = #ARGV / 2
local done, lost = {}, {}
for i, entry in ipairs(redis.call('HMGET', held, unpack(ARGV, 1, n))) do
  local to = entry and string.sub(entry, 1, 8) == ARGV[n + i] and done or lost
  to[#to + 1] = ARGV[i]
end
if #done > 0 then
  if redis.call('HDEL', held, unpack(done)) < #done then
    local seen = {}
    for _, id in ipairs(done) do -- one was named twice
      if seen[id] then
        lost[#lost + 1] = id
      end
      seen[id] = true
    end
  end
  leave(done)
  redis.call('HDEL', jobs, unpack(done))
  if redis.call('EXISTS', meta) == 1 then -- mostly no job ran abnormally
    redis.call('HDEL', meta, unpack(done))
  end
  if redis.call('EXISTS', sequels) == 1 then -- mostly nothing follows
    -- include _follow
    for _, id in ipairs(done) do
      ended(id, 'done')
    end
  end
end
return lost
