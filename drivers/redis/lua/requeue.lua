#!lua flags=allow-oom
-- requeue: failed → ready at the tail, with fresh counts; the history stays. It takes again what it
--   held until it failed; while another job holds that, it stays failed.
-- KEYS jobs meta ready failed records hooks wake paused keys unique:
-- ARGV ids
-- returns for each 1, or 0 when no such job failed or it stays failed
local jobs, meta, ready, failed, records, hooks, wake, paused, keys, unique = unpack(KEYS)
-- include _clock
-- include _ring
-- include _since
-- include _unique

-- Whether a failed job may wait again.
local function returns(id)
  local name = string.match(redis.call('HGET', keys, id) or '', '^d(.*)$')
  if name and holder(name) then
    return false
  end
  if name then
    hold(name, id, '0')
  end
  return true
end

local answer = {}
for i, id in ipairs(ARGV) do
  answer[i] = 0
  if redis.call('ZSCORE', failed, id) and returns(id) then
    answer[i] = redis.call('ZREM', failed, id)
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
