-- Settling (KEYS held meta). A reservation that is not held under this fence is noted in `lost`.
local COLUMN = { error = 1, timeout = 2, crash = 3, lost = 4, release = 5 }
local SUSPICION = 6
local SUSPECT_FROM = 2 -- drivers/states.py
local HISTORY = 65536 -- bytes of notes kept; the oldest go first

local lost = {}

-- End a reservation; whether it was held.
local function settle(id, fence)
  local entry = redis.call('HGET', held, id)
  if entry and string.sub(entry, 1, 8) == fence then
    redis.call('HDEL', held, id)
    return true
  end
  lost[#lost + 1] = id
  return false
end

-- Charge one run and append its note; return the job's record in `meta` (false: none). The rules
-- are those of Counts.charged in drivers/values.py.
local function charge(id, kind, note)
  local record = redis.call('HGET', meta, id)
  if kind == 'none' and note == '' then
    return record
  end
  local line, history = string.match(record or '0,0,0,0,0,0', '^([%d,]+)\n?(.*)$')
  local counts = {}
  for count in string.gmatch(line, '%d+') do
    counts[#counts + 1] = tonumber(count)
  end
  if COLUMN[kind] then
    counts[COLUMN[kind]] = counts[COLUMN[kind]] + 1
  end
  if kind == 'error' or kind == 'timeout' then
    counts[SUSPICION] = 0
  elseif kind == 'crash' then
    counts[SUSPICION] = math.max(counts[SUSPICION], SUSPECT_FROM)
  elseif kind == 'lost' then
    counts[SUSPICION] = counts[SUSPICION] + 1
  end
  if note ~= '' then
    history = history .. note .. '\n'
    while #history > HISTORY do
      history = string.match(history, '\n(.+)$') or string.sub(history, -HISTORY)
    end
  end
  record = table.concat(counts, ',')
  if history ~= '' then
    record = record .. '\n' .. history
  end
  redis.call('HSET', meta, id, record)
  return record
end
