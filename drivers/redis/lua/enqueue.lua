#!lua
-- enqueue: – → ready, scheduled; idempotent while the id exists; refused whole when memory is full
-- KEYS jobs ready scheduled counters wake
-- ARGV for each job: id, payload, delay in ms
-- returns for each job 1, or 0 when its id exists
local jobs, ready, scheduled, counters, wake = unpack(KEYS)
-- include _clock
-- include _ring
-- include _schedule

local answer, at_once, total = {}, {}, 0
local before, at = earliest(), stamp(now)
for i = 1, #ARGV, 3 do
  local id, delay = ARGV[i], ARGV[i + 2]
  local times = at .. (delay == '0' and at or stamp(now + delay))
  local new = redis.call('HSETNX', jobs, id, times .. ARGV[i + 1])
  answer[#answer + 1] = new
  total = total + new
  if new == 1 then
    if delay == '0' then
      at_once[#at_once + 1] = id
    else
      redis.call('ZADD', scheduled, now + delay, id)
    end
  end
end
if #at_once > 0 then
  redis.call('RPUSH', ready, unpack(at_once))
end
if total > 0 then
  redis.call('HINCRBY', counters, 'enqueued', total)
end
if #at_once > 0 or earliest() ~= before then
  ring()
end
return answer
