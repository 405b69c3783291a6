-- scheduled → ready: move up to `limit` (at most 1,000) due jobs, earliest first (KEYS meta ready
-- solo scheduled). Their records say already that they are ready since they were due.
local function promote(limit)
  local ids = redis.call('ZRANGE', scheduled, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
  if #ids == 0 then
    return 0
  end
  local promoted = { [ready] = {}, [solo] = {} }
  for i, record in ipairs(redis.call('HMGET', meta, unpack(ids))) do
    table.insert(promoted[lane_of(record)], ids[i])
  end
  for lane, list in pairs(promoted) do
    if #list > 0 then
      redis.call('RPUSH', lane, unpack(list))
    end
  end
  redis.call('ZREM', scheduled, unpack(ids))
  return #ids
end
