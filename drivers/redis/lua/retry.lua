#!lua flags=allow-oom
-- retry: reserved → scheduled, or ready when the delay is 0; in one step, to the tail
-- KEYS jobs meta ready solo scheduled held wake paused
-- ARGV for each job: id, fence (8 bytes), charge, note, delay in ms
-- returns the ids that were lost
local jobs, meta, ready, solo, scheduled, held, wake, paused = unpack(KEYS)
-- include _clock
-- include _ring
-- include _lane
-- include _schedule
-- include _since
-- include _settle

local is_ready, before = false, earliest()
for i = 1, #ARGV, 5 do
  local id, delay = ARGV[i], ARGV[i + 4]
  if settle(id, ARGV[i + 1]) then
    local record = charge(id, ARGV[i + 2], ARGV[i + 3])
    ready_since(id, now + delay)
    if delay == '0' then
      redis.call('RPUSH', lane_of(record), id)
      is_ready = true
    else
      redis.call('ZADD', scheduled, now + delay, id)
    end
  end
end
if is_ready or earliest() ~= before then
  ring()
end
return lost
