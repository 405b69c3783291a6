-- What an owner holds from fence `first` on, in the order in which it was reserved (KEYS jobs meta):
-- a flat list of id, entry in `held`, record in `jobs`, record in `meta` (false: none).
local function reservations(held, first)
  local entries, list = redis.call('HGETALL', held), {}
  local ids, entry_of, fence_of = {}, {}, {}
  for i = 1, #entries, 2 do
    local id, entry = entries[i], entries[i + 1]
    local fence = struct.unpack('>I8', entry)
    if fence >= first then
      ids[#ids + 1], entry_of[id], fence_of[id] = id, entry, fence
    end
  end
  table.sort(ids, function(a, b) return fence_of[a] < fence_of[b] end)
  for _, id in ipairs(ids) do
    local record, n = redis.call('HGET', jobs, id), #list
    if record then
      list[n + 1], list[n + 2], list[n + 3] = id, entry_of[id], record
      list[n + 4] = redis.call('HGET', meta, id)
    else -- the job was removed: nothing is left to settle
      redis.call('HDEL', held, id)
    end
  end
  return list
end
