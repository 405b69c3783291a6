#!lua flags=allow-oom
-- release: reserved → ready at the head, ready since when it was
-- KEYS meta ready solo held wake
-- ARGV for each job: id, fence (8 bytes), charge, note
-- returns the ids that were lost
local meta, ready, solo, held, wake = unpack(KEYS)
-- include _ring
-- include _lane
-- include _settle

local is_ready = false
for i = #ARGV - 3, 1, -4 do -- the last one first, so that the first one ends up first
  local id = ARGV[i]
  if settle(id, ARGV[i + 1]) then
    local record = charge(id, ARGV[i + 2], ARGV[i + 3])
    redis.call('LPUSH', lane_of(record), id)
    is_ready = true
  end
end
if is_ready then
  ring()
end
return lost
