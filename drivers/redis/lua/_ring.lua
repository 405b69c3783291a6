-- Wake one idle worker (KEYS wake). One token is enough: whoever takes it rings again while jobs
-- are ready, and a token for each push would only wake workers for nothing.
local function ring()
  if redis.call('EXISTS', wake) == 0 then
    redis.call('RPUSH', wake, '1')
  end
end
