-- What jobs hold (KEYS jobs failed keys unique:). Under `unique:`name stands who holds the name: `d`
-- until that job is done, `t` for a time that the server ends, and the job's id. `keys` has the same
-- letter and the name for each job that has one.

-- The id of the job that holds a name; nil: none. What was not given up (its job was removed behind
-- our back, or settled by an older queued) is free.
local function holder(name)
  local kind, id = string.match(redis.call('GET', unique .. name) or '', '^(.)(.*)$')
  if kind == 't' or id and redis.call('HEXISTS', jobs, id) == 1 and not redis.call('ZSCORE', failed, id) then
    return id
  end
end

-- For ms, or until the job is done when that is 0. Return what `keys` is to have of it.
local function hold(name, id, ms)
  if ms == '0' then
    redis.call('SET', unique .. name, 'd' .. id)
    return 'd' .. name
  end
  redis.call('SET', unique .. name, 't' .. id, 'PX', ms)
  return 't' .. name
end

-- End what jobs hold until they are done. Mostly no job of a queue holds anything.
local function let_go(ids)
  if redis.call('EXISTS', keys) == 0 then
    return false
  end
  for i, key in ipairs(redis.call('HMGET', keys, unpack(ids))) do
    if key and string.sub(key, 1, 1) == 'd' then
      local lock = unique .. string.sub(key, 2)
      if redis.call('GET', lock) == 'd' .. ids[i] then
        redis.call('DEL', lock)
      end
    end
  end
  return true
end

-- The same of jobs that leave.
local function leave(ids)
  if let_go(ids) then
    redis.call('HDEL', keys, unpack(ids))
  end
end
