#!lua
-- tick: take a tick of a schedule, and enqueue its job in the same step; a tick is taken once
-- KEYS jobs ready counters wake paused ticks
-- ARGV schedule, the tick that was last ('': none), this one; then id and payload, if a job comes of it
-- returns 1; 0 when another tick was last: nothing has changed then
local jobs, ready, counters, wake, paused, ticks = unpack(KEYS)
-- include _clock
-- include _ring

local name, last, tick, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if (redis.call('HGET', ticks, name) or '') ~= last then
  return 0
end
redis.call('HSET', ticks, name, tick)
local at = stamp(now)
if id and redis.call('HSETNX', jobs, id, at .. at .. ARGV[5]) == 1 then
  redis.call('HINCRBY', counters, 'enqueued', 1)
  redis.call('RPUSH', ready, id)
  ring()
end
return 1
