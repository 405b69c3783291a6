#!lua flags=allow-oom
-- cancel: ready, scheduled → –
-- KEYS jobs meta ready solo scheduled failed keys sequels unique:
-- ARGV id
-- returns the state in which it was found (one that is reserved or failed stays); nothing: no such id
local jobs, meta, ready, solo, scheduled, failed, keys, sequels, unique = unpack(KEYS)
local id = ARGV[1]
-- include _lane
-- include _unique

local function remove()
  leave({ id })
  redis.call('HDEL', jobs, id)
  redis.call('HDEL', meta, id)
  if redis.call('EXISTS', sequels) == 1 then
    -- include _follow
    ended(id, 'gone')
  end
end

if redis.call('HEXISTS', jobs, id) == 0 then
  return false
end
if redis.call('ZSCORE', failed, id) then
  return 'failed'
end
if redis.call('ZREM', scheduled, id) == 1 then
  remove()
  return 'scheduled'
end
if redis.call('LREM', lane_of(redis.call('HGET', meta, id)), 1, id) == 1 then
  remove()
  return 'ready'
end
return 'reserved'
