#!lua flags=allow-oom
-- forget: failed → –
-- KEYS jobs meta failed records hooks keys sequels
-- ARGV ids
-- returns for each 1, or 0 when no such job failed
local jobs, meta, failed, records, hooks, keys, sequels = unpack(KEYS)
-- include _forget

local answer, forgotten = forget(ARGV)
if redis.call('EXISTS', sequels) == 1 then -- mostly nothing follows
  -- include _follow
  for _, id in ipairs(forgotten) do
    ended(id, 'gone')
  end
end
return answer
