#!lua flags=no-writes
-- batch: how far a batch is
-- KEYS batch: members:
-- ARGV id, how many failed members are named
-- returns nothing for an unknown id, else: total, done, failed, gone, ms of creation, ms when the last
--   member ended (false: not yet); then the ids of failed members
local record, members = KEYS[1] .. ARGV[1], KEYS[2] .. ARGV[1]
local most = tonumber(ARGV[2])

local answer = redis.call('HMGET', record, 'total', 'done', 'failed', 'gone', 'created', 'finished')
if not answer[1] then
  return false
end
if answer[3] ~= '0' then
  local entries = redis.call('HGETALL', members)
  for i = 1, #entries, 2 do
    if entries[i + 1] == 'failed' and #answer < 6 + most then
      answer[#answer + 1] = entries[i]
    end
  end
end
return answer
