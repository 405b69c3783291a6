#!lua
-- enqueue: – → ready, scheduled; idempotent while the id exists; refused whole when memory is full
-- KEYS jobs ready scheduled counters wake paused failed keys unique:
-- ARGV n, then n ids, n payloads, n delays in ms unless all are 0; where any is to be unique n names
--   (empty: none) and n times in ms (0: until it is done)
-- returns the positions of the jobs whose id exists; of those whose name is held, with the holder's id
local jobs, ready, scheduled, counters, wake, paused, failed, keys, unique = unpack(KEYS)
-- include _clock
-- include _ring
-- include _schedule
-- include _unique

local n = tonumber(ARGV[1])
local refused, records, at_once, delayed, seen = {}, {}, {}, {}, {}
local held, named, duplicates = {}, {}, 0
local count, at = 0, stamp(now)
local twice = at .. at
for i, existing in ipairs(redis.call('HMGET', jobs, unpack(ARGV, 2, n + 1))) do
  local id, delay = ARGV[1 + i], ARGV[1 + 2 * n + i] or '0'
  local name = ARGV[1 + 3 * n + i] or ''
  local other = name ~= '' and (held[name] or holder(name))
  if existing or seen[id] then
    refused[#refused + 1] = i
  elseif other then
    refused[#refused + 1] = { i, other }
    duplicates = duplicates + 1
  else
    if name ~= '' then
      held[name] = id
      named[#named + 1], named[#named + 2] = id, hold(name, id, ARGV[1 + 4 * n + i])
    end
    local times = twice
    if delay == '0' then
      at_once[#at_once + 1] = id
    else
      local due = now + delay
      times = at .. stamp(due)
      delayed[#delayed + 1], delayed[#delayed + 2] = due, id
    end
    records[2 * count + 1], records[2 * count + 2] = id, times .. ARGV[1 + n + i]
    count, seen[id] = count + 1, true
  end
end

if count > 0 then
  redis.call('HSET', jobs, unpack(records))
  redis.call('HINCRBY', counters, 'enqueued', count)
end
if #named > 0 then
  redis.call('HSET', keys, unpack(named))
end
if duplicates > 0 then
  redis.call('HINCRBY', counters, 'refused', duplicates)
end
if #at_once > 0 then
  redis.call('RPUSH', ready, unpack(at_once))
  ring()
end
if #delayed > 0 then
  schedule(unpack(delayed))
end
return refused
