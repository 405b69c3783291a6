-- Find a ready job (KEYS ready solo): its list and its entry there; nil when it is in neither. A job
-- that ran never is ready since it was enqueued, which the server looks up by itself; one that was
-- promoted or retried is looked for entry by entry.
local function waiting(id, record)
  local entry = id .. string.sub(record, 1, 6)
  for _, lane in ipairs({ ready, solo }) do
    if redis.call('LPOS', lane, entry) then
      return lane, entry
    end
  end
  for _, lane in ipairs({ ready, solo }) do
    for start = 0, redis.call('LLEN', lane) - 1, 1000 do
      for _, found in ipairs(redis.call('LRANGE', lane, start, start + 999)) do
        if string.sub(found, 1, -7) == id then
          return lane, found
        end
      end
    end
  end
end
