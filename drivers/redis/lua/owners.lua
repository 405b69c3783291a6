#!lua flags=no-writes
-- owners: who lives or still holds jobs
-- KEYS owners held:
-- ARGV –
-- returns for each its name and the ms left of its lease (negative: it ran out, or it is retired)
local owners, held_by = unpack(KEYS)
-- include _clock

local answer = {}
local all = redis.call('ZRANGE', owners, 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
  local owner, expires = all[i], tonumber(all[i + 1])
  local left = math.abs(expires) - now -- of a retired owner, since when it is retired
  if expires < 0 or left == 0 then
    left = math.min(left, -1) -- also after the clock was set back
  end
  if left > 0 or redis.call('EXISTS', held_by .. owner) == 1 then
    answer[#answer + 1] = owner
    answer[#answer + 1] = left
  end
end
return answer
