-- The lane of a ready job (KEYS ready, solo), from its record in `meta` (false: none).
local SUSPECT_FROM = 2 -- drivers/states.py

local function lane_of(record)
  local suspicion = record and string.match(record, '^%d+,%d+,%d+,%d+,%d+,(%d+)')
  if suspicion and tonumber(suspicion) >= SUSPECT_FROM then
    return solo
  end
  return ready
end
