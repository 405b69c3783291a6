#!lua flags=allow-oom
-- resume: reserve gives jobs again; wakes a worker, and each wakes the next while jobs are ready
-- KEYS paused wake
-- ARGV –
-- returns 1 if it was paused
local paused, wake = unpack(KEYS)
-- include _ring

local was_paused = redis.call('DEL', paused)
if was_paused == 1 then
  ring()
end
return was_paused
