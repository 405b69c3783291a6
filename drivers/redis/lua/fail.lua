#!lua flags=allow-oom
-- fail: reserved → failed, with its record; payload, counts, history and sequel stay
-- KEYS jobs meta held failed records hooks keys sequels unique:
-- ARGV for each job: id, fence (8 bytes), charge, note, record, ms until the hook is due (-1: none)
-- returns the ids that were lost
local jobs, meta, held, failed, records, hooks, keys, sequels, unique = unpack(KEYS)
-- include _clock
-- include _settle
-- include _unique

local over = {}
local micros = time[1] * 1000000 + time[2] -- fine enough to tell which failed last
for i = 1, #ARGV, 6 do
  local id, hook = ARGV[i], tonumber(ARGV[i + 5])
  if settle(id, ARGV[i + 1]) then
    charge(id, ARGV[i + 2], ARGV[i + 3])
    let_go({ id })
    over[#over + 1] = id
    redis.call('ZADD', failed, micros, id)
    redis.call('HSET', records, id, ARGV[i + 4])
    if hook >= 0 then
      redis.call('ZADD', hooks, now + hook, id)
    end
  end
end
if redis.call('EXISTS', sequels) == 1 then -- mostly nothing follows
  -- include _follow
  for _, id in ipairs(over) do
    ended(id, 'failed')
  end
end
return lost
