#!lua
-- enqueue: – → ready, scheduled; idempotent while the id exists; refused whole when memory is full
-- KEYS jobs ready scheduled counters wake
-- ARGV for each job: id, payload, delay in ms
-- returns for each job 1, or 0 when its id exists
local jobs, ready, scheduled, counters, wake = unpack(KEYS)
-- include _clock
-- include _ring
-- include _schedule

local answer, entries, total = {}, {}, 0
local before = earliest()
for i = 1, #ARGV, 3 do
  local id, delay = ARGV[i], ARGV[i + 2]
  local new = redis.call('HSETNX', jobs, id, stamp .. ARGV[i + 1])
  answer[#answer + 1] = new
  total = total + new
  if new == 1 then
    if delay == '0' then
      entries[#entries + 1] = id .. stamp
    else
      redis.call('ZADD', scheduled, now + delay, id)
    end
  end
end
if #entries > 0 then
  redis.call('RPUSH', ready, unpack(entries))
end
if total > 0 then
  redis.call('HINCRBY', counters, 'enqueued', total)
end
if #entries > 0 or earliest() ~= before then
  ring()
end
return answer
