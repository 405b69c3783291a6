#!lua flags=no-writes
-- find: where a job is
-- KEYS jobs meta scheduled failed records hooks owners held:
-- ARGV id
-- returns nothing for an unknown id, else: state, record in `jobs`, record in `meta` (false: none), and
--   failed: as in _failed.lua · scheduled: ms when due · reserved: owner, entry in `held`
local jobs, meta, scheduled, failed, records, hooks, owners, held_by = unpack(KEYS)
local id = ARGV[1]
-- include _failed

local record = redis.call('HGET', jobs, id)
if not record then
  return false
end
local notes = redis.call('HGET', meta, id)
if redis.call('ZSCORE', failed, id) then
  return { 'failed', record, notes, failure(id) }
end
local due = redis.call('ZSCORE', scheduled, id)
if due then
  return { 'scheduled', record, notes, due }
end
for _, owner in ipairs(redis.call('ZRANGE', owners, 0, -1)) do
  local entry = redis.call('HGET', held_by .. owner, id)
  if entry then
    return { 'reserved', record, notes, owner, entry }
  end
end
return { 'ready', record, notes } -- there is no other place, and to search the lists takes long
