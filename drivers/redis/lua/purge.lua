#!lua flags=allow-oom
-- purge: ready, scheduled → –, one step of it
-- KEYS jobs meta ready solo scheduled failed keys sequels unique:
-- ARGV limit (at most 1,000)
-- returns how many jobs it removed; 0 when none waits
local jobs, meta, ready, solo, scheduled, failed, keys, sequels, unique = unpack(KEYS)
local limit = ARGV[1]
-- include _unique

local function take()
  for _, lane in ipairs({ ready, solo }) do
    local ids = redis.call('LPOP', lane, limit)
    if ids then
      return ids
    end
  end
  local ids = redis.call('ZRANGE', scheduled, 0, limit - 1)
  if #ids > 0 then
    redis.call('ZREM', scheduled, unpack(ids))
  end
  return ids
end

local ids = take()
if #ids > 0 then
  leave(ids)
  redis.call('HDEL', jobs, unpack(ids))
  redis.call('HDEL', meta, unpack(ids))
  if redis.call('EXISTS', sequels) == 1 then -- mostly nothing follows
    -- include _follow
    for _, id in ipairs(ids) do
      ended(id, 'gone')
    end
  end
end
return #ids
