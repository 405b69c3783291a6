#!lua
-- post: enqueue jobs of which any has a sequel; idempotent while the id exists; refused whole when
--   memory is full
-- KEYS jobs failed keys unique:
-- ARGV for each job: its parcel (see drivers/sequel.py) for this queue, the name that it is to hold
--   (empty: none) and for how many ms (0: until it is done)
-- returns the positions of the jobs whose id exists; of those whose name is held, with the holder's id
local jobs, failed, keys, unique = unpack(KEYS)
-- include _unique
-- include _follow

local refused = {}
for i = 1, #ARGV, 3 do
  local parcel, name, ms = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local id = pack_id(fields(parcel)[2])
  local other = name ~= '' and redis.call('HEXISTS', jobs, id) == 0 and holder(name)
  if other then
    refused[#refused + 1] = { (i + 2) / 3, other }
    redis.call('HINCRBY', counters, 'refused', 1)
  elseif not send(parcel) then
    refused[#refused + 1] = (i + 2) / 3
  elseif name ~= '' then
    redis.call('HSET', keys, id, hold(name, id, ms))
  end
end
return refused
