"""Row 32: the connection is reset in the midst of each verb, and the call is made again.

Whatever the moment, the outcome is that of one undisturbed call: one job, one completion, every
count exact.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from queued.drivers.base import Charge, NewJob, QueueStats, Release, Reservation
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.scripts import scripts
from queued.errors import DriverUnavailable
from tests.chaos.invariants import broken
from tests.chaos.proxy import Moment, Proxy
from tests.contract.chains import batch_of, chained
from tests.contract.redis_steps import (
    fresh_server,  # noqa: F401 - a fixture
    opened,
)
from tests.contract.servers import Server, free_port, running, start_valkey
from tests.contract.steps import (
    ME,
    OTHER,
    Q,
    ack,
    drain,
    fail,
    names,
    release,
    reserve,
    retry,
    settle,
    until,
)

Held = list[Reservation]
Call = Callable[[RedisDriver, Held], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Verb:
    """A call, and the script in the midst of which it is cut off."""

    script: str
    call: Call


def settling(*ways: Callable[[Reservation], object], want: int = 2) -> Call:
    def call(driver: RedisDriver, held: Held) -> Awaitable[object]:
        settlements = [way(job) for way, job in zip(ways, held, strict=False)]
        return driver.exchange(Q, ME, settlements, want=want, nonce=10**6)  # type: ignore[arg-type]

    return call


VERBS = {
    "enqueue": Verb("enqueue", lambda d, _: d.enqueue(Q, [NewJob("new", b"new")])),
    "enqueue delayed": Verb("enqueue", lambda d, _: d.enqueue(Q, [NewJob("new", b"", 3600)])),
    "post": Verb("post", lambda d, _: d.enqueue(Q, [chained((Q, "new"), (Q, "next")).job])),
    "enqueue_batch": Verb(
        "enqueue_batch", lambda d, _: d.enqueue_batch(Q, batch_of((Q, "new"), home=Q))
    ),
    "deliver": Verb("deliver", lambda d, _: d.forward("elsewhere")),
    "reserve": Verb("reserve", lambda d, _: d.exchange(Q, ME, want=2, nonce=10**6)),
    "listen": Verb("reserve", lambda d, _: d.listen(Q, ME, seconds=0.05, want=2, nonce=10**6)),
    "ack": Verb("ack", settling(ack, ack)),
    "ack, answered for the next batch": Verb("reserve", settling(ack, ack)),
    "retry": Verb("retry", settling(lambda job: retry(job, 3600), retry)),
    "retry, and reserve again": Verb("retry", settling(retry, retry, want=6)),
    "release, and reserve again": Verb("release", settling(release, release)),
    "release": Verb("release", settling(lambda job: Release(job.id, job.fence, Charge.LOST))),
    "fail": Verb("fail", settling(lambda job: fail(job, note=b"once", hook=3600))),
    "renew": Verb("renew", lambda d, _: d.renew(Q, [ME, OTHER], 30)),
    "retire": Verb("retire", lambda d, _: d.retire(Q, ME)),
    "promote": Verb("promote", lambda d, _: d.promote(Q)),
    "requeue": Verb("requeue", lambda d, _: d.requeue(Q, ["failed"])),
    "forget": Verb("forget", lambda d, _: d.forget(Q, ["failed"])),
    "claim_hooks": Verb("claim_hooks", lambda d, _: d.claim_hooks(Q, 5, 3600)),
    "finish_hook": Verb("finish_hook", lambda d, _: d.finish_hook(Q, "failed")),
    "cancel": Verb("cancel", lambda d, _: d.cancel(Q, "waits-0001")),
    "purge": Verb("purge", lambda d, _: d.purge(Q)),
}


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def through(proxy: Proxy) -> AsyncIterator[RedisDriver]:
    async with opened(proxy.url) as driver:
        yield driver


@pytest.fixture
def admin(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port) as client:
        yield client


async def prepare(driver: RedisDriver, admin: redis.Redis) -> Held:
    """Make a queue that has something for each verb; return what ME holds."""
    admin.flushdb()
    await driver.enqueue(Q, [NewJob("failed", b"failed")])
    await settle(driver, fail(*await reserve(driver), hook=0.0))
    await driver.enqueue(
        Q, [NewJob(name, b"x") for name in (*names(2, "held"), *names(4, "waits"))]
    )
    await driver.enqueue("elsewhere", [chained(("elsewhere", "one"), (Q, "forwarded")).job])
    await drain(driver, queue="elsewhere")
    held = await reserve(driver, 2)
    await driver.enqueue(Q, [NewJob("due", b"x", 0.001)])

    async def is_due() -> bool:
        return (await driver.exchange(Q, ME)).next_due == 0.0

    await until(is_due)  # else a fast machine would be through with it all before that
    return held


async def outcome(driver: RedisDriver, admin: redis.Redis) -> tuple[object, ...]:
    """Return all that matters: the sums, and the state, counts and history of each job."""
    assert broken(admin, Q) == []
    await driver.promote(Q)  # whether the due one was promoted already is a matter of time
    stats = (await driver.stats([Q]))[Q]
    sums = QueueStats(*(stats.ready, stats.scheduled, stats.reserved, stats.failed))
    jobs = {}
    for name in ("new", "failed", "due", "forwarded", *names(2, "held"), *names(4, "waits")):
        info = await driver.find(name, Q)
        hook = info and info.failed and info.failed.hook_pending
        jobs[name] = info and (info.state, info.owner, info.counts, info.history, hook)
    return sums, stats.enqueued_total, stats.suspects, await driver.queues(), jobs


@pytest.mark.fault(32)
@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.name.lower())
async def test_a_call_that_is_cut_off_and_repeated_happens_once(
    admin: redis.Redis, proxy: Proxy, through: RedisDriver, moment: Moment
) -> None:
    for name, verb in VERBS.items():
        await verb.call(through, await prepare(through, admin))
        expected = await outcome(through, admin)

        held = await prepare(through, admin)
        proxy.reset(moment, scripts()[verb.script].sha.encode(), times=1)
        with pytest.raises(DriverUnavailable, match="cannot be reached"):
            await verb.call(through, held)
        assert proxy.left == 0, name
        await verb.call(through, held)
        assert await outcome(through, admin) == expected, f"{name}, reset {moment.value}"


async def test_a_cluster_that_keeps_the_queue_elsewhere_is_refused(tmp_path: Path) -> None:
    """MOVED: redis:// follows no cluster, and says so instead of losing its way."""
    args = ("--cluster-enabled", "yes", "--cluster-port")
    with (
        running(start_valkey(tmp_path / "a", *args, str(free_port()))) as owner,
        running(start_valkey(tmp_path / "b", *args, str(free_port()))) as other,
        redis.Redis(port=owner.port) as has_slots,
        redis.Redis(port=other.port) as has_none,
    ):
        has_slots.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        bus = other.command[other.command.index("--cluster-port") + 1]
        has_slots.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        async with opened(other.url) as driver:

            async def knows() -> bool:
                return b"cluster_state:ok" in has_none.execute_command("CLUSTER", "INFO")

            await until(knows)
            with pytest.raises(DriverUnavailable, match="does not follow clusters"):
                await driver.enqueue(Q, [NewJob("a", b"a")])
