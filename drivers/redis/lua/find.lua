#!lua flags=no-writes
-- find: where a job is
-- KEYS jobs meta scheduled failed records hooks owners keys held:
-- ARGV id
-- returns nothing for an unknown id, else: state, record in `jobs`, record in `meta` (false: none),
--   entry in `keys` (false: none), and
--   failed: as in _failed.lua · scheduled: ms when due · reserved: owner, entry in `held`
local jobs, meta, scheduled, failed, records, hooks, owners, keys, held_by = unpack(KEYS)
local id = ARGV[1]
-- include _failed

local record = redis.call('HGET', jobs, id)
if not record then
  return false
end
local notes, key = redis.call('HGET', meta, id), redis.call('HGET', keys, id)
if redis.call('ZSCORE', failed, id) then
  return { 'failed', record, notes, key, failure(id) }
end
local due = redis.call('ZSCORE', scheduled, id)
if due then
  return { 'scheduled', record, notes, key, due }
end
for _, owner in ipairs(redis.call('ZRANGE', owners, 0, -1)) do
  local entry = redis.call('HGET', held_by .. owner, id)
  if entry then
    return { 'reserved', record, notes, key, owner, entry }
  end
end
return { 'ready', record, notes, key } -- there is no other place, and to search the lists takes long
