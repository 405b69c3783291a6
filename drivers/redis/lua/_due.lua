-- scheduled → ready: move up to `limit` (at most 1,000) due jobs, earliest first (KEYS meta ready
-- solo scheduled). A job is ready since it was due, however late somebody looked.
local function promote(limit)
  local due = redis.call('ZRANGE', scheduled, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
  local ids, entries = {}, { [ready] = {}, [solo] = {} }
  for i = 1, #due, 2 do
    ids[#ids + 1] = due[i]
  end
  if #ids == 0 then
    return 0
  end
  for i, record in ipairs(redis.call('HMGET', meta, unpack(ids))) do
    local entry = ids[i] .. struct.pack('>I6', tonumber(due[2 * i]))
    table.insert(entries[lane_of(record)], entry)
  end
  for lane, list in pairs(entries) do
    if #list > 0 then
      redis.call('RPUSH', lane, unpack(list))
    end
  end
  redis.call('ZREM', scheduled, unpack(ids))
  return #ids
end
