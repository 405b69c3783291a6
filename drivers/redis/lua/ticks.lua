#!lua flags=no-writes
-- ticks: the server's clock, and the last tick of each schedule of the queue
-- KEYS ticks
-- ARGV –
-- returns ms since the epoch; a name and a tick for each
local ticks = KEYS[1]
-- include _clock

return { now, redis.call('HGETALL', ticks) }
