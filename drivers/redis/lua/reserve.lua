#!lua flags=allow-oom
-- reserve: ready → reserved, under a new fence; promotes what is due first
-- KEYS jobs meta ready solo scheduled owners held nonces fence hooks wake outbox paused bucket
-- ARGV owner, want (0: only look), nonce (0: none), lease in ms, lane (normal, solo); with a rate
--   limit also the ms in which a token comes, and the most there can be
-- returns 'retired' for a retired owner, else: ms until the next job is due (-1: none), how many
--   hooks are due, whether suspects wait, how many messages are to be forwarded, ms until there is a
--   token (-1: nothing holds, -2: paused); then the batches of jobs (see _reservations.lua)
local jobs, meta, ready, solo, scheduled, owners, held, nonces, fence, hooks, wake = unpack(KEYS)
local outbox, paused, bucket = unpack(KEYS, 12)
local owner, want, nonce, lease = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local lane = ARGV[5] == 'solo' and solo or ready
local every, burst = tonumber(ARGV[6]), tonumber(ARGV[7])
-- include _clock
-- include _ring
-- include _lane
-- include _due
-- include _schedule
-- include _reservations

-- An answer that takes longer than a client waits would be asked for again and again, in vain.
local ENOUGH = 16 * 1024 * 1024 -- bytes of records, after which no more are taken
local AT_ONCE = 64
local ROUNDING = 1e-6 -- of a token
local NOTHING, PAUSED = -1, -2 -- what holds jobs back, unless it is the ms until there is a token

local holds = redis.call('EXISTS', paused) == 1 and PAUSED or NOTHING

-- Up to `most` of the ready jobs, in batches; how many.
local function pop(most)
  local batches, count, bytes = {}, 0, 0
  local reserved = struct.pack('>I8', now)
  while count < most and bytes < ENOUGH do
    local ids = redis.call('LPOP', lane, math.min(most - count, AT_ONCE))
    if not ids then
      break
    end
    local first = redis.call('INCRBY', fence, #ids) - #ids + 1
    local records = redis.call('HMGET', jobs, unpack(ids))
    local entries, n = {}, 0
    for i, record in ipairs(records) do
      if record then -- else the job was removed behind our back, and is skipped
        entries[n + 1], entries[n + 2] = ids[i], struct.pack('>I8', first + i - 1) .. reserved
        n, bytes = n + 2, bytes + #record
      end
    end
    if n > 0 then
      redis.call('HSET', held, unpack(entries))
    end
    batches[#batches + 1] = { first, now, ids, records, notes(ids) }
    count = count + n / 2
  end
  return batches, count
end

-- As many as there are tokens for: see RateLimit in drivers/brakes.py. Stored are `opens`, the ms
-- when there is (or was) one token, and `every`.
local function pop_limited()
  local opens = redis.call('HGET', bucket, 'opens')
  local tokens = opens and math.min(math.max(1 + (now - opens) / every, 0), burst) or burst
  local batches, count = pop(math.min(want, math.floor(tokens + ROUNDING)))
  tokens = tokens - count
  if count > 0 or opens and now + every - opens < -1 then -- the latter: of a slower limit before
    opens = string.format('%.3f', now + (1 - tokens) * every)
    redis.call('HSET', bucket, 'opens', opens, 'every', ARGV[6])
  end
  if tokens + ROUNDING < 1 then
    holds = math.ceil((1 - tokens) * every)
  end
  return batches
end

local function take()
  local batches = {}
  if holds == NOTHING then
    batches = every and pop_limited() or pop(want)
  end
  if nonce ~= '0' then
    local since = batches[1] and batches[1][1] or redis.call('INCR', fence)
    redis.call('HSET', nonces, owner, nonce .. ':' .. string.format('%.0f', since))
  end
  return batches
end

-- What this call takes; for the owner's last nonce what it still holds of that batch, and for an
-- earlier one nothing: that is a late copy of a call that was answered, and nobody reads this answer.
local function batch()
  local last, first = string.match(redis.call('HGET', nonces, owner) or '', '^(%d+):(%d+)$')
  if nonce == '0' or not last or tonumber(nonce) > tonumber(last) then
    return take()
  end
  return nonce == last and reservations(held, tonumber(first)) or {}
end

local function is_retired()
  local expires = redis.call('ZSCORE', owners, owner)
  if not expires then
    redis.call('ZADD', owners, now + lease, owner)
  end
  return expires and tonumber(expires) < 0
end

local function ring_if_ready()
  if redis.call('EXISTS', ready) == 1 then
    ring()
  end
end

local due, taken = earliest(), {}
if want > 0 then
  if is_retired() then
    ring_if_ready() -- it may have listened, and heard
    return 'retired'
  end
  if holds == NOTHING and due and due <= now then
    promote(want)
    due = earliest()
  end
  taken = batch()
end
if #taken > 0 or holds == NOTHING then -- else the next one would hear the same
  ring_if_ready()
end

return {
  due and math.max(due - now, 0) or -1,
  redis.call('ZCOUNT', hooks, '-inf', now),
  holds == PAUSED and 0 or redis.call('EXISTS', solo),
  redis.call('XLEN', outbox),
  holds,
  unpack(taken),
}
