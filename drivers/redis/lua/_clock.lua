-- The server's clock: `now` in ms, and `stamp` as six bytes, big-endian.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = struct.pack('>I6', now)
