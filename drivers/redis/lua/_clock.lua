-- The server's clock in ms, and how a time is stored in a record of `jobs`: six bytes, big-endian.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function stamp(ms)
  return struct.pack('>I6', ms)
end
