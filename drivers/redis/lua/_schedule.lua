-- When the earliest scheduled job is due (KEYS scheduled), in ms; nil when none is.
local function earliest()
  return tonumber(redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2])
end

-- Schedule jobs: for each ms when it is due, and its id. Wakes a worker when that is earlier than before.
local function schedule(...)
  local before = earliest()
  redis.call('ZADD', scheduled, ...)
  if earliest() ~= before then
    ring()
  end
end
