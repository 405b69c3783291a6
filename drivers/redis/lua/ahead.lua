#!lua flags=no-writes
-- ahead: how many ready jobs stand before one in its lane
-- KEYS meta ready solo
-- ARGV id, how many are looked at
-- returns how many; nothing: it is not among those
local meta, ready, solo = unpack(KEYS)
local id, limit = ARGV[1], ARGV[2]
-- include _lane

return redis.call('LPOS', lane_of(redis.call('HGET', meta, id)), id, 'MAXLEN', limit)
