-- When the earliest scheduled job is due (KEYS scheduled), in ms; nil when none is.
local function earliest()
  return tonumber(redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2])
end
