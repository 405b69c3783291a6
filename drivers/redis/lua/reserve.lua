#!lua flags=allow-oom
-- reserve: ready → reserved, under a new fence; promotes what is due first
-- KEYS jobs meta ready solo scheduled owners held nonces fence hooks wake outbox
-- ARGV owner, want (0: only look), nonce (0: none), lease in ms, lane (normal, solo)
-- returns 'retired' for a retired owner, else: ms until the next job is due (-1: none), how many
--   hooks are due, whether suspects wait, how many messages are to be forwarded; then the batches of jobs (see _reservations.lua)
local jobs, meta, ready, solo, scheduled, owners, held, nonces, fence, hooks, wake, outbox = unpack(KEYS)
local owner, want, nonce, lease = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local lane = ARGV[5] == 'solo' and solo or ready
-- include _clock
-- include _ring
-- include _lane
-- include _due
-- include _schedule
-- include _reservations

-- An answer that takes longer than a client waits would be asked for again and again, in vain.
local ENOUGH = 16 * 1024 * 1024 -- bytes of records, after which no more are taken
local AT_ONCE = 64

local function take()
  local batches, count, bytes, since = {}, 0, 0, nil
  local reserved = struct.pack('>I8', now)
  while count < want and bytes < ENOUGH do
    local ids = redis.call('LPOP', lane, math.min(want - count, AT_ONCE))
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
    count, since = count + n / 2, since or first
  end
  if nonce ~= '0' then
    since = since or redis.call('INCR', fence)
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
  if due and due <= now then
    promote(want)
    due = earliest()
  end
  taken = batch()
end
ring_if_ready()

return {
  due and math.max(due - now, 0) or -1,
  redis.call('ZCOUNT', hooks, '-inf', now),
  redis.call('EXISTS', solo),
  redis.call('XLEN', outbox),
  unpack(taken),
}
