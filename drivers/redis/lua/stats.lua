#!lua flags=no-writes
-- stats: a sample of the queue
-- KEYS jobs ready solo scheduled failed counters owners outbox paused bucket held:
-- ARGV –
-- returns the fields of QueueStats in drivers/values.py, in their order, times in ms; of a pause since
--   when (false: there is none), by whom and why
local jobs, ready, solo, scheduled, failed, counters, owners, outbox, paused, bucket, held_by =
  unpack(KEYS)
-- include _clock

local HOUR = 3600000
local LOOK_AT = 5000 -- reservations whose age is looked at: more would take longer than a sample may

local function age(lane)
  local head = redis.call('LINDEX', lane, 0)
  local record = head and redis.call('HGET', jobs, head)
  return record and now - math.floor(1000 * struct.unpack('>d', record, 9) + 0.5) or 0
end

local reserved, since, looked = 0, now, 0
for _, owner in ipairs(redis.call('ZRANGE', owners, 0, -1)) do
  local count = redis.call('HLEN', held_by .. owner)
  reserved = reserved + count
  if looked + count <= LOOK_AT then
    looked = looked + count
    for _, entry in ipairs(redis.call('HVALS', held_by .. owner)) do
      since = math.min(since, (struct.unpack('>I8', entry, 9)))
    end
  end
end

local suspects = redis.call('LLEN', solo)
return {
  redis.call('LLEN', ready) + suspects,
  redis.call('ZCARD', scheduled),
  reserved,
  redis.call('ZCARD', failed),
  suspects,
  tonumber(redis.call('HGET', counters, 'enqueued') or 0),
  redis.call('ZCOUNT', failed, (now - HOUR) * 1000, '+inf'),
  tonumber(redis.call('HGET', counters, 'refused') or 0),
  math.max(age(ready), age(solo), 0),
  now - since,
  redis.call('XLEN', outbox),
  math.max(math.ceil((redis.call('HGET', bucket, 'opens') or 0) - now), 0),
  redis.call('HMGET', paused, 'since', 'by', 'reason'),
}
