#!lua
-- restore: – → failed, for jobs that failed elsewhere; idempotent while the id exists
-- KEYS jobs meta failed records hooks counters keys sequels
-- ARGV for each job: id, times and payload, counts and history ('': none), µs of failing, record,
--      1 when its hook is pending, else 0; entry in `keys`, sequel (each '': none)
-- returns for each 1, or 0 when its id exists
local jobs, meta, failed, records, hooks, counters, keys, sequels = unpack(KEYS)
-- include _clock

local answer, count = {}, 0
for i = 1, #ARGV, 8 do
  local id = ARGV[i]
  local stored = redis.call('HSETNX', jobs, id, ARGV[i + 1])
  answer[#answer + 1] = stored
  if stored == 1 then
    count = count + 1
    if ARGV[i + 2] ~= '' then
      redis.call('HSET', meta, id, ARGV[i + 2])
    end
    redis.call('ZADD', failed, ARGV[i + 3], id)
    redis.call('HSET', records, id, ARGV[i + 4])
    if ARGV[i + 5] == '1' then
      redis.call('ZADD', hooks, now, id)
    end
    if ARGV[i + 6] ~= '' then
      redis.call('HSET', keys, id, ARGV[i + 6])
    end
    if ARGV[i + 7] ~= '' then
      redis.call('HSET', sequels, id, ARGV[i + 7])
    end
  end
end
if count > 0 then
  redis.call('HINCRBY', counters, 'enqueued', count)
end
return answer
