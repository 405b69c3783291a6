-- Reservations are answered in batches: first fence (the others follow it), ms of reserving, ids,
-- records in `jobs` (false: was removed behind our back), records in `meta` (false or missing: none).

-- The records in `meta` of some jobs (KEYS meta). Mostly none has any.
local function notes(ids)
  return redis.call('EXISTS', meta) == 1 and redis.call('HMGET', meta, unpack(ids)) or {}
end

-- What an owner holds from fence `first` on, in the order in which it was reserved (KEYS jobs meta).
local function reservations(held, first)
  local entries, found, batches = redis.call('HGETALL', held), {}, {}
  for i = 1, #entries, 2 do
    local fence, reserved = struct.unpack('>I8I8', entries[i + 1])
    if fence >= first then
      found[#found + 1] = { fence, reserved, { entries[i] } }
    end
  end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  for _, batch in ipairs(found) do
    local id = batch[3][1]
    local record = redis.call('HGET', jobs, id)
    if record then
      batch[4], batch[5] = { record }, { redis.call('HGET', meta, id) }
      batches[#batches + 1] = batch
    else -- the job was removed: nothing is left to settle
      redis.call('HDEL', held, id)
    end
  end
  return batches
end
