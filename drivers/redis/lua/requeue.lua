#!lua flags=allow-oom
-- requeue: failed → ready at the tail, with fresh counts; the history stays
-- KEYS jobs meta ready failed records hooks wake
-- ARGV ids
-- returns for each 1, or 0 when no such job failed
local jobs, meta, ready, failed, records, hooks, wake = unpack(KEYS)
-- include _clock
-- include _ring
-- include _since

local answer = {}
for i, id in ipairs(ARGV) do
  answer[i] = redis.call('ZREM', failed, id)
  if answer[i] == 1 then
    redis.call('HDEL', records, id)
    redis.call('ZREM', hooks, id)
    local record = redis.call('HGET', meta, id)
    local history = record and string.match(record, '\n.*$')
    if history then
      redis.call('HSET', meta, id, '0,0,0,0,0,0' .. history)
    else
      redis.call('HDEL', meta, id)
    end
    ready_since(id, now)
    redis.call('RPUSH', ready, id)
    ring()
  end
end
return answer
