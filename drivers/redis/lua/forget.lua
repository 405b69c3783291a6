#!lua flags=allow-oom
-- forget: failed → –
-- KEYS jobs meta failed records hooks keys sequels
-- ARGV ids
-- returns for each 1, or 0 when no such job failed
local jobs, meta, failed, records, hooks, keys, sequels = unpack(KEYS)

local answer, forgotten = {}, {}
for i, id in ipairs(ARGV) do
  answer[i] = redis.call('ZREM', failed, id)
  if answer[i] == 1 then
    forgotten[#forgotten + 1] = id
    for _, key in ipairs({ jobs, meta, records, keys }) do
      redis.call('HDEL', key, id)
    end
    redis.call('ZREM', hooks, id)
  end
end
if redis.call('EXISTS', sequels) == 1 then -- mostly nothing follows
  -- include _follow
  for _, id in ipairs(forgotten) do
    ended(id, 'gone')
  end
end
return answer
