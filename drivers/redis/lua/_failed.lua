-- A failed job (KEYS jobs meta failed records hooks keys sequels): id, µs of failing, record in
-- `jobs`, failure record, record in `meta`, ms when its hook is due, entry in `keys`, sequel (the last
-- four false: none). What was removed behind our back is shown as empty, so that it can be forgotten.
local function failure(id)
  return {
    id,
    redis.call('ZSCORE', failed, id),
    redis.call('HGET', jobs, id) or struct.pack('>dd', 0, 0),
    redis.call('HGET', records, id) or '',
    redis.call('HGET', meta, id),
    redis.call('ZSCORE', hooks, id),
    redis.call('HGET', keys, id),
    redis.call('HGET', sequels, id),
  }
end
