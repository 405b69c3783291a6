#!lua flags=allow-oom
-- purge: ready, scheduled → –, one step of it
-- KEYS jobs meta ready solo scheduled
-- ARGV limit (at most 1,000)
-- returns how many jobs it removed; 0 when none waits
local jobs, meta, ready, solo, scheduled = unpack(KEYS)
local limit = ARGV[1]

local function entries()
  for _, lane in ipairs({ ready, solo }) do
    local popped = redis.call('LPOP', lane, limit)
    if popped then
      for i, entry in ipairs(popped) do
        popped[i] = string.sub(entry, 1, -7)
      end
      return popped
    end
  end
  local ids = redis.call('ZRANGE', scheduled, 0, limit - 1)
  if #ids > 0 then
    redis.call('ZREM', scheduled, unpack(ids))
  end
  return ids
end

local ids = entries()
if #ids > 0 then
  redis.call('HDEL', jobs, unpack(ids))
  redis.call('HDEL', meta, unpack(ids))
end
return #ids
