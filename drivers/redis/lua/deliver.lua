#!lua flags=allow-oom
-- deliver: take what the outbox of another queue has for this one. Those messages come in the order of
--   their ids, from the first that the outbox still has; what has come before is passed over.
-- KEYS jobs received
-- ARGV the other queue; for each message its id, its kind (job, end), and itself
-- returns how many messages the outbox of this queue has
local received = KEYS[2]
-- include _follow

local function after(id, mark)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  local last_ms, last_number = string.match(mark, '^(%d+)-(%d+)$')
  ms, last_ms = tonumber(ms), tonumber(last_ms)
  return ms > last_ms or (ms == last_ms and tonumber(number) > tonumber(last_number))
end

local mark = redis.call('HGET', received, ARGV[1]) or '0-0'
for i = 2, #ARGV, 3 do
  if after(ARGV[i], mark) then
    mark = ARGV[i]
    if ARGV[i + 1] == 'job' then
      send(ARGV[i + 2])
    else
      count_end(unpack(fields(ARGV[i + 2])))
    end
  end
end
redis.call('HSET', received, ARGV[1], mark)
return redis.call('XLEN', outbox)
