#!lua flags=allow-oom
-- forget: failed → –
-- KEYS jobs meta failed records hooks keys
-- ARGV ids
-- returns for each 1, or 0 when no such job failed
local jobs, meta, failed, records, hooks, keys = unpack(KEYS)

local answer = {}
for i, id in ipairs(ARGV) do
  answer[i] = redis.call('ZREM', failed, id)
  if answer[i] == 1 then
    for _, key in ipairs({ jobs, meta, records, keys }) do
      redis.call('HDEL', key, id)
    end
    redis.call('ZREM', hooks, id)
  end
end
return answer
