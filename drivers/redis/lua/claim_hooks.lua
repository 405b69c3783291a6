#!lua flags=allow-oom
-- claim_hooks: take failed jobs whose hook is due, and put each hook off
-- KEYS jobs meta failed records hooks keys sequels
-- ARGV limit, ms to put off
-- returns the failed jobs (see _failed.lua)
local jobs, meta, failed, records, hooks, keys, sequels = unpack(KEYS)
-- include _clock
-- include _failed

local answer = {}
for _, id in ipairs(redis.call('ZRANGE', hooks, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', hooks, now + ARGV[2], id)
  answer[#answer + 1] = failure(id)
end
return answer
