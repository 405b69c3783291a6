#!lua flags=allow-oom
-- purge: ready, scheduled → –, one step of it
-- KEYS jobs meta ready solo scheduled failed keys sequels unique:
-- ARGV limit (at most 1,000)
-- returns how many jobs it removed; 0 when none waits
local jobs, meta, ready, solo, scheduled, failed, keys, sequels, unique = unpack(KEYS)
local limit = tonumber(ARGV[1])
-- include _unique

-- All kinds in one step, and those that are ready last: what follows the jobs that go comes behind.
local function take()
  local ids = redis.call('ZRANGE', scheduled, 0, limit - 1)
  if #ids > 0 then
    redis.call('ZREM', scheduled, unpack(ids))
  end
  for _, lane in ipairs({ solo, ready }) do
    local some = #ids < limit and redis.call('LPOP', lane, limit - #ids) or {}
    for _, id in ipairs(some) do
      ids[#ids + 1] = id
    end
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
