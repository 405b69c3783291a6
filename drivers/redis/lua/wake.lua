#!lua flags=allow-oom
-- wake: pass on a wake-up
-- KEYS wake
-- ARGV –
-- returns nothing
local wake = KEYS[1]
-- include _ring

ring()
