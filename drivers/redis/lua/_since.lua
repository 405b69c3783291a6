-- Note since when a job is ready, or will be (KEYS jobs); its payload stays as it is.
local function ready_since(id, ms)
  local record = redis.call('HGET', jobs, id)
  if record then
    record = string.sub(record, 1, 8) .. stamp(ms) .. string.sub(record, 17)
    redis.call('HSET', jobs, id, record)
  end
end
