"""What holds in Redis between any two scripts, whatever was cut off, killed or failed over."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from struct import unpack
from typing import Any

import redis

from queued.drivers.redis.codec import unpack_id

SUSPECT_FROM = 2


def broken(admin: redis.Redis, queue: str, prefix: str = "queued") -> list[str]:
    """Return what is wrong with a queue's keys; empty when all is well.

    Each job is in exactly one place, with its payload; nothing is about a job that is not there; no
    fence was given that could be given again; each reservation has an owner that can be reaped.
    """
    # The client's own types say that every call may be awaited.
    client: Any = admin
    key = f"{prefix}:{{{queue}}}:".__add__
    jobs = set(client.hkeys(key("jobs")))
    lanes = {name: client.lrange(key(name), 0, -1) for name in ("ready", "solo")}
    failed, hooks = client.zrange(key("failed"), 0, -1), client.zrange(key("hooks"), 0, -1)
    held = {
        name.removeprefix(key("held:").encode()): client.hgetall(name)
        for name in client.keys(key("held:*").replace("{", r"\{").replace("}", r"\}"))
    }
    meta = client.hgetall(key("meta"))
    owners = set(client.zrange(key("owners"), 0, -1))
    fence = int(client.get(key("fence")) or 0)
    fences = [unpack(">Q", entry[:8])[0] for entries in held.values() for entry in entries.values()]
    scheduled = client.zrange(key("scheduled"), 0, -1)
    places = Counter(chain(*lanes.values(), scheduled, failed, *held.values()))

    wrong: list[str] = []

    def expect(what: str, cases: Any) -> None:
        wrong.extend(f"{what}: {_shown(case)}" for case in cases)

    expect("no payload", places.keys() - jobs)
    expect("in no place", jobs - places.keys())
    expect("in several places", (id_ for id_, count in places.items() if count > 1))
    expect("counts without a job", meta.keys() - jobs)
    expect("failed without a record", set(failed) ^ set(client.hkeys(key("records"))))
    expect("a hook without a failed job", set(hooks) - set(failed))
    expect("held by an unknown owner", held.keys() - owners)
    expect("a fence that may be given again", (str(one) for one in fences if one > fence))
    expect("a fence given twice", (str(one) for one, n in Counter(fences).items() if n > 1))
    for lane, ids in lanes.items():
        solo = {id_ for id_ in ids if _suspicion(meta.get(id_)) >= SUSPECT_FROM}
        expect(f"in the wrong lane ({lane})", solo ^ set(ids if lane == "solo" else ()))
    if places and queue.encode() not in client.smembers(f"{prefix}:queues"):
        wrong.append(f"queue {queue} is not listed")
    if int(client.hget(key("counters"), "enqueued") or 0) < len(jobs):
        wrong.append("more jobs than were ever enqueued")
    return wrong


def _suspicion(record: bytes | None) -> int:
    return int(record.partition(b"\n")[0].split(b",")[5]) if record else 0


def _shown(case: str | bytes) -> str:
    return case if isinstance(case, str) else unpack_id(case)
