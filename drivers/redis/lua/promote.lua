#!lua flags=allow-oom
-- promote: scheduled → ready, the jobs that are due
-- KEYS meta ready solo scheduled wake paused
-- ARGV limit
-- returns how many
local meta, ready, solo, scheduled, wake, paused = unpack(KEYS)
-- include _clock
-- include _ring
-- include _lane
-- include _due

local count = promote(ARGV[1])
if count > 0 then
  ring()
end
return count
