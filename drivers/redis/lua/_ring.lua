-- Wake one idle worker (KEYS wake paused). One token is enough: whoever takes it rings again while
-- jobs are ready, and a token for each push would only wake workers for nothing. So would any token
-- while the queue is paused.
local function ring()
  if redis.call('EXISTS', wake, paused) == 0 then
    redis.call('RPUSH', wake, '1')
  end
end
