#!lua flags=allow-oom
-- cancel: ready, scheduled → –
-- KEYS jobs meta ready solo scheduled failed
-- ARGV id
-- returns the state in which it was found (one that is reserved or failed stays); nothing: no such id
local jobs, meta, ready, solo, scheduled, failed = unpack(KEYS)
local id = ARGV[1]
-- include _waiting

local function remove()
  redis.call('HDEL', jobs, id)
  redis.call('HDEL', meta, id)
end

local record = redis.call('HGET', jobs, id)
if not record then
  return false
end
if redis.call('ZSCORE', failed, id) then
  return 'failed'
end
if redis.call('ZREM', scheduled, id) == 1 then
  remove()
  return 'scheduled'
end
local lane, entry = waiting(id, record)
if lane then
  redis.call('LREM', lane, 1, entry)
  remove()
  return 'ready'
end
return 'reserved'
