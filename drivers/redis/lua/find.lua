#!lua flags=no-writes
-- find: where a job is
-- KEYS jobs meta scheduled failed records hooks owners keys sequels held:
-- ARGV id
-- returns nothing for an unknown id, else: state, record in `jobs`, record in `meta`, entry in `keys`,
--   sequel (each false: none), and
--   failed: as in _failed.lua · scheduled: ms when due · reserved: owner, entry in `held`
local jobs, meta, scheduled, failed, records, hooks, owners, keys, sequels, held_by = unpack(KEYS)
local id = ARGV[1]
-- include _failed

local record = redis.call('HGET', jobs, id)
if not record then
  return false
end
local notes, key = redis.call('HGET', meta, id), redis.call('HGET', keys, id)
local sequel = redis.call('HGET', sequels, id)
if redis.call('ZSCORE', failed, id) then
  return { 'failed', record, notes, key, sequel, failure(id) }
end
local due = redis.call('ZSCORE', scheduled, id)
if due then
  return { 'scheduled', record, notes, key, sequel, due }
end
for _, owner in ipairs(redis.call('ZRANGE', owners, 0, -1)) do
  local entry = redis.call('HGET', held_by .. owner, id)
  if entry then
    return { 'reserved', record, notes, key, sequel, owner, entry }
  end
end
-- There is no other place, and to search the lists takes long.
return { 'ready', record, notes, key, sequel }
