#!lua flags=allow-oom
-- finish_hook: the hook of a failed job has run, or there is none
-- KEYS hooks
-- ARGV id
-- returns nothing
redis.call('ZREM', KEYS[1], ARGV[1])
