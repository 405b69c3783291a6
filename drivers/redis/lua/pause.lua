#!lua flags=allow-oom
-- pause: from now on reserve gives nothing; a second time says who and why anew, and keeps since when
-- KEYS paused wake
-- ARGV by, reason
-- returns 1 if it was not paused before
local paused, wake = unpack(KEYS)
-- include _clock

local is_new = redis.call('HSETNX', paused, 'since', now)
redis.call('HSET', paused, 'by', ARGV[1], 'reason', ARGV[2])
redis.call('DEL', wake) -- nobody is to be woken by what came before
return is_new
