#!lua flags=allow-oom
-- retire: an owner may reserve no more; what it holds stays held until it is settled
-- KEYS jobs meta owners nonces held:
-- ARGV owner, 1 to leave an owner alone whose lease runs
-- returns for each job that it holds id, entry in `held`, record in `jobs`, record in `meta`
local jobs, meta, owners, nonces, held_by = unpack(KEYS)
local owner, only_expired = ARGV[1], ARGV[2] == '1'
-- include _clock
-- include _reservations

-- A retired owner is remembered by a negative score: the ms when it was retired.
local expires = tonumber(redis.call('ZSCORE', owners, owner) or 0)
if only_expired and expires > now then
  return {}
end
if expires >= 0 then
  redis.call('ZADD', owners, -now, owner)
  redis.call('HDEL', nonces, owner)
end
return reservations(held_by .. owner, 0)
