"""The Redis driver, for Redis 7.0 and Valkey 7.2 on: one Lua script for each verb.

What a queue is made of, every key under its hash tag (``queued:{emails}:jobs``):

    jobs          hash    id → when it was enqueued, since when it is ready or will be (doubles,
                          seconds), and its payload; in every state
    meta          hash    id → counts and history, of jobs that had an abnormal run
    ready, solo   lists   ids, a list for each lane
    scheduled     zset    id → ms when due
    held:<owner>  hash    id → fence, ms of reserving (8 bytes each)
    owners        zset    owner → ms when its lease ends; negative: when it was retired
    nonces        hash    owner → nonce and first fence of its last batch
    fence         number  the last fence; never falls
    failed        zset    id → µs of failing
    records       hash    id → why it failed
    hooks         zset    id → ms when its ``failed()`` is due
    counters      hash    enqueued → how many ever were
    paused        hash    since (ms), by, reason; missing: the queue is not paused
    bucket        hash    of a rate limit: opens (ms of its next token), every (ms for one)
    wake          list    a token, for the next idle worker
    sequels       hash    id → what follows when the job ends (see drivers/sequel.py)
    outbox        stream  what is to be forwarded to other queues: to, and a job or a member's end
    received      hash    queue → id of the last message that came from its outbox
    batch:<id>    hash    a batch's counts, and the callbacks that it has not sent yet
    members:<id>  hash    id → how a member ended (empty: it has not); gone when all are done

An id is stored as the 16 bytes of its UUID, or as text when it is none (see ``codec.pack_id``).
The names of all queues are the set ``queued:queues``. On a cluster every script also names the key
``never``, which never is: see docs/adr/0014.
"""

from queued.drivers.redis.driver import RedisDriver

__all__ = ["RedisDriver"]
