#!lua flags=allow-oom
-- fail: reserved → failed, with its record; payload, counts and history stay
-- KEYS jobs meta held failed records hooks keys unique:
-- ARGV for each job: id, fence (8 bytes), charge, note, record, ms until the hook is due (-1: none)
-- returns the ids that were lost
local jobs, meta, held, failed, records, hooks, keys, unique = unpack(KEYS)
-- include _clock
-- include _settle
-- include _unique

local micros = time[1] * 1000000 + time[2] -- fine enough to tell which failed last
for i = 1, #ARGV, 6 do
  local id, hook = ARGV[i], tonumber(ARGV[i + 5])
  if settle(id, ARGV[i + 1]) then
    charge(id, ARGV[i + 2], ARGV[i + 3])
    let_go({ id })
    redis.call('ZADD', failed, micros, id)
    redis.call('HSET', records, id, ARGV[i + 4])
    if hook >= 0 then
      redis.call('ZADD', hooks, now + hook, id)
    end
  end
end
return lost
