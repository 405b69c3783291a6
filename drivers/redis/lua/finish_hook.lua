#!lua flags=allow-oom
-- finish_hook: the hook of a failed job has run, or there is none
-- KEYS records hooks
-- ARGV id, record of the failure that it was for ('': whichever there is)
-- returns nothing
if ARGV[2] == '' or redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
