#!lua flags=no-writes
-- failed: list failed jobs, newest first
-- KEYS jobs meta failed records hooks keys sequels
-- ARGV limit, offset
-- returns the failed jobs (see _failed.lua)
local jobs, meta, failed, records, hooks, keys, sequels = unpack(KEYS)
local limit, offset = tonumber(ARGV[1]), tonumber(ARGV[2])
-- include _failed

local answer = {}
if limit > 0 then -- an end of -1 means the last one
  for _, id in ipairs(redis.call('ZRANGE', failed, offset, offset + limit - 1, 'REV')) do
    answer[#answer + 1] = failure(id)
  end
end
return answer
