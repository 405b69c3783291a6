-- What follows when jobs end (see drivers/sequel.py): included only where something may, since the
-- keys are many and mostly nothing does. KEYS[1] is any key of the queue.
-- include _clock
local base, here = string.match(KEYS[1], '^(.*{(.*)}:)')
local jobs, sequels, ready = base .. 'jobs', base .. 'sequels', base .. 'ready'
local scheduled, counters = base .. 'scheduled', base .. 'counters'
local wake, paused, outbox = base .. 'wake', base .. 'paused', base .. 'outbox'
-- include _ring
-- include _schedule

local KEEP_BATCH = 604800 -- seconds; drivers/sequel.py

local function fields(packed)
  local found, at = {}, 1
  while at <= #packed do
    found[#found + 1], at = struct.unpack('>I4c0', packed, at)
  end
  return found
end

-- The stored form of an id: see codec.pack_id.
local four = string.rep('[0-9a-f]', 4)
local uuid = '^' .. table.concat({ four .. four, four, four, four, four .. four .. four }, '%-') .. '$'

local function pack_id(id)
  if not string.find(id, uuid) then
    return #id == 15 and '::' .. id or ':' .. id
  end
  local hex = string.gsub(id, '-', '')
  return (string.gsub(hex, '%x%x', function(byte) return string.char(tonumber(byte, 16)) end))
end

-- enqueue: – → ready, scheduled; whether it is new.
local function put(id, payload, delay, sequel)
  local raw, due = pack_id(id), now + delay
  if redis.call('HSETNX', jobs, raw, stamp(now) .. stamp(due) .. payload) == 0 then
    return false
  end
  if sequel ~= '' then
    redis.call('HSET', sequels, raw, sequel)
  end
  redis.call('HINCRBY', counters, 'enqueued', 1)
  if delay == '0' then
    redis.call('RPUSH', ready, raw)
    ring()
  else
    schedule(due, raw)
  end
  return true
end

-- A stream's ids rise, whatever its clock does: they tell the target what it has had already.
local function post(target, kind, message)
  redis.call('XADD', outbox, '*', 'to', target, kind, message)
end

local count_end -- below

-- A member of a batch has ended.
local function tell(home, batch, member, ending)
  if home == here then
    count_end(batch, member, ending)
  else
    local message = struct.pack('>I4c0I4c0I4c0', #batch, batch, #member, member, #ending, ending)
    post(home, 'end', message)
  end
end

-- Whether a parcel is new. A member of a batch that is not, since somebody else's job has its id, will
-- never end, so that its batch must not wait for it.
local function send(parcel)
  local to, id, payload, delay, sequel = unpack(fields(parcel))
  if to ~= here then
    post(to, 'job', parcel)
    return true
  end
  local new = put(id, payload, delay, sequel)
  if not new and sequel ~= '' and redis.call('HGET', sequels, pack_id(id)) ~= sequel then
    local _, _, home, batch, member = unpack(fields(sequel))
    if batch ~= '' then
      tell(home, batch, member, 'gone')
    end
  end
  return new
end

-- Send one of a batch's callbacks, unless it was sent before.
local function call_back(record, name)
  local parcel = redis.call('HGET', record, name)
  if parcel then
    redis.call('HDEL', record, name)
    send(parcel)
  end
end

-- A member of a batch whose home is here has ended; that may be told twice, and late.
function count_end(batch, member, ending)
  local record, members = base .. 'batch:' .. batch, base .. 'members:' .. batch
  local raw = pack_id(member)
  local was = redis.call('HGET', members, raw)
  if not was then
    return -- all are done, or long over
  end
  if ending == 'failed' then
    call_back(record, 'catch')
  end
  if was == 'done' or was == ending or (was == 'gone' and ending == 'failed') then
    return
  end
  if was ~= '' then
    redis.call('HINCRBY', record, was, -1)
  end
  redis.call('HSET', members, raw, ending)
  redis.call('HINCRBY', record, ending, 1)
  local counts = redis.call('HMGET', record, 'total', 'done', 'failed', 'gone')
  local total, done, failed, gone = unpack(counts)
  if done == total then
    call_back(record, 'then')
    redis.call('DEL', members)
  end
  if done + failed + gone == tonumber(total) then
    call_back(record, 'finally')
    redis.call('HSETNX', record, 'finished', now)
    redis.call('EXPIRE', record, KEEP_BATCH)
    redis.call('EXPIRE', members, KEEP_BATCH)
  end
end

-- Carry out the sequel of a job that has ended: 'done', 'failed' or 'gone'.
local function ended(id, ending)
  local sequel = redis.call('HGET', sequels, id)
  if not sequel then
    return
  end
  local next_link, catch, home, batch, member = unpack(fields(sequel))
  if ending ~= 'failed' then -- a failed job may be run again
    redis.call('HDEL', sequels, id)
  end
  local parcel = ending == 'done' and next_link or ending == 'failed' and catch or ''
  if parcel ~= '' then
    send(parcel)
  end
  if batch ~= '' and not (ending == 'done' and next_link ~= '') then
    tell(home, batch, member, ending)
  end
end
