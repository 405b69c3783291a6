-- Remove failed jobs (KEYS jobs meta failed records hooks keys). Returns for each id 1, or 0 when no such
-- job failed; and those that were removed.
local function forget(ids)
  local answer, forgotten = {}, {}
  for i, id in ipairs(ids) do
    answer[i] = redis.call('ZREM', failed, id)
    if answer[i] == 1 then
      forgotten[#forgotten + 1] = id
      for _, key in ipairs({ jobs, meta, records, keys }) do
        redis.call('HDEL', key, id)
      end
      redis.call('ZREM', hooks, id)
    end
  end
  return answer, forgotten
end
