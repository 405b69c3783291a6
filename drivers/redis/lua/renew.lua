#!lua flags=allow-oom
-- renew: set the leases of owners that are not retired; one not known yet is registered. Owners that
--   were retired, or whose lease ran out, over ten minutes ago and that hold nothing are forgotten.
-- KEYS owners nonces held:
-- ARGV lease in ms, owners
-- returns the owners that are retired
local owners, nonces, held_by = unpack(KEYS)
-- include _clock

local FORGET_AFTER = 600000 -- no call of theirs is on its way any more, and every sample counts them

local retired = {}
for i = 2, #ARGV do
  local owner = ARGV[i]
  local expires = redis.call('ZSCORE', owners, owner)
  if expires and tonumber(expires) < 0 then
    retired[#retired + 1] = owner
  else
    redis.call('ZADD', owners, now + ARGV[1], owner)
  end
end

local old = now - FORGET_AFTER -- retired owners have negative scores
for _, owner in ipairs(redis.call('ZRANGE', owners, -old, old, 'BYSCORE', 'LIMIT', 0, 1000)) do
  if redis.call('EXISTS', held_by .. owner) == 0 then
    redis.call('ZREM', owners, owner)
    redis.call('HDEL', nonces, owner)
  end
end
return retired
