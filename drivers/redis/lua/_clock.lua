-- The server's clock in ms, and how a time is stored in a record of `jobs`: seconds, as a double.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function stamp(ms)
  return struct.pack('>d', ms / 1000)
end
