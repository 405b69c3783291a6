"""The janitor over the reference driver: what it settles, and when it keeps its hands off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from queued.daemon.metrics import Metrics
from queued.daemon.monitor.janitor import Janitor
from queued.daemon.monitor.reclaim import Dossier
from queued.daemon.reach import Reach
from queued.daemon.verdict import Sentence, Verdict
from queued.drivers import driver_for
from queued.drivers.base import Ack, Driver, Lane, NewJob, State
from queued.errors import DriverUnavailable, OwnerLost, QueueUnavailable

DEAD = Dossier(worker="q/1", at=1.0, signal=9)
OURS = "aaaaaaaa-11111111-"
OWNER = f"{OURS}q.1-1"


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    driver = driver_for("memory://")
    await driver.open()
    yield driver
    await driver.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def janitor(driver: Driver, metrics: Metrics) -> Janitor:
    return Janitor(driver, metrics, reap_after=0.0, second_look=0.0)


async def reserve(driver: Driver, owner: str, *ids: str, lease: float = 30.0) -> None:
    """Let ``owner`` hold the jobs of these ids."""
    await driver.enqueue("q", [NewJob(one, b'{"v":1,"job":"a.B"}\n{}') for one in ids])
    answer = await driver.exchange("q", owner, want=len(ids), nonce=1, lease=lease)
    assert [job.id for job in answer.jobs] == list(ids)


def verdicts(first_fence: int = 1, **named: Verdict) -> dict[str, Sentence]:
    """Judge jobs that were reserved in this order, the first one under ``first_fence``."""
    return {
        job: Sentence(one, "a.B", fence, 3, 60.0, ran=1.0)
        for fence, (job, one) in enumerate(named.items(), first_fence)
    }


def counted(metrics: Metrics, name: str, label: str) -> dict[str, float]:
    series = metrics.snapshot()["counters"][name]
    return {labels[label]: value for labels, value in series}


async def test_a_dead_owners_jobs_are_settled_each_by_its_verdict(
    driver: Driver, janitor: Janitor, metrics: Metrics
) -> None:
    await reserve(driver, OWNER, "fin", "sus", "tim", "bys", "not")
    sentences = verdicts(
        fin=Verdict.FINISHED,
        sus=Verdict.SUSPECT,
        tim=Verdict.TIMED_OUT,
        bys=Verdict.BYSTANDER,
    )
    assert await janitor.bury("q", OWNER, sentences, DEAD) == 5

    assert await driver.find("fin") is None
    found = {job: await driver.find(job) for job in ("sus", "tim", "bys", "not")}
    assert {job: one and one.state for job, one in found.items()} == {
        "sus": State.READY,
        "tim": State.SCHEDULED,
        "bys": State.READY,
        "not": State.READY,
    }
    assert found["sus"]
    assert found["sus"].counts.suspicion == 1
    assert found["tim"]
    assert found["tim"].counts.timeouts == 1
    assert found["not"]
    assert found["not"].counts.runs == 0

    reasons = counted(metrics, "jobs_reclaimed_total", "reason")
    assert reasons == dict.fromkeys(
        ("finished", "suspect", "timed_out", "bystander", "not_started"), 1
    )
    outcomes = counted(metrics, "attempts_total", "outcome")
    assert outcomes == {"lost": 1, "timed_out": 1, "released": 1}


async def test_a_burial_is_done_once_however_often_it_is_asked_for(
    driver: Driver, janitor: Janitor, metrics: Metrics
) -> None:
    await reserve(driver, OWNER, "one")
    sentences = verdicts(one=Verdict.CRASHED)
    assert await janitor.bury("q", OWNER, sentences, DEAD) == 1
    assert await janitor.bury("q", OWNER, sentences, DEAD) == 0
    job = await driver.find("one")
    assert job
    assert job.counts.crashes == 1
    assert counted(metrics, "jobs_reclaimed_total", "reason") == {"crashed": 1}
    with pytest.raises(OwnerLost):
        await driver.exchange("q", OWNER, want=1, nonce=2)


async def test_a_verdict_on_an_earlier_run_of_an_id_says_nothing_of_the_next(
    driver: Driver, janitor: Janitor
) -> None:
    await reserve(driver, OWNER, "again")
    await driver.exchange("q", OWNER, [Ack("again", 1)])  # its slot is not cleared yet
    await driver.enqueue("q", [NewJob("again", b"{}")])
    (held,) = (await driver.exchange("q", OWNER, want=1, nonce=2)).jobs
    assert held.fence == 2
    await janitor.bury("q", OWNER, verdicts(1, again=Verdict.FINISHED), DEAD)
    found = await driver.find("again")
    assert found
    assert found.state is State.READY


async def test_what_a_janitor_left_half_done_the_next_one_finishes(
    driver: Driver, janitor: Janitor
) -> None:
    await reserve(driver, OWNER, "one")
    await driver.retire("q", OWNER)  # and here the first janitor died
    assert await janitor.bury("q", OWNER, verdicts(one=Verdict.FINISHED), DEAD) == 1
    assert await driver.find("one") is None


async def test_a_job_fails_at_its_third_crash_and_its_hook_is_due(
    driver: Driver, janitor: Janitor
) -> None:
    await driver.enqueue("q", [NewJob("pill", b"{}\n{}")])
    for life in range(3):
        owner = f"{OURS}q.1-{life}"
        async with asyncio.timeout(10):
            while not await _reserve_any(driver, owner):  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # after the second crash there is a delay
        await janitor.bury("q", owner, verdicts(life + 1, pill=Verdict.CRASHED), DEAD)
    (failed,) = await driver.failed("q")
    assert failed.id == "pill"
    assert failed.counts.crashes == 3
    assert failed.hook_pending
    assert failed.history.count(b"JobCrashed: its worker was killed by SIGKILL") == 3


async def _reserve_any(driver: Driver, owner: str) -> bool:
    for nonce, lane in enumerate(Lane, start=1):
        answer = await driver.exchange("q", owner, want=1, nonce=nonce, lane=lane)
        if answer.jobs:
            return True
    return False


async def test_an_owner_without_a_lease_is_reaped(
    driver: Driver, janitor: Janitor, metrics: Metrics
) -> None:
    stranger = "bbbbbbbb-22222222-q.1-1"
    await reserve(driver, stranger, "lost", lease=0.01)
    await reserve(driver, "bbbbbbbb-22222222-q.2-1", "kept")
    await asyncio.sleep(0.02)
    await janitor.sample(["q"])
    assert await janitor.reap(["q"], OURS) == 1
    lost, kept = await driver.find("lost"), await driver.find("kept")
    assert lost
    assert lost.state is State.READY
    assert lost.counts.lost == 1
    assert kept
    assert kept.state is State.RESERVED
    assert counted(metrics, "jobs_reclaimed_total", "reason") == {"lease_expired": 1}


async def test_our_own_owners_are_left_to_their_verdicts(driver: Driver, janitor: Janitor) -> None:
    await reserve(driver, OWNER, "one", lease=0.01)
    await asyncio.sleep(0.02)
    await janitor.sample(["q"])
    assert await janitor.reap(["q"], OURS) == 0


async def test_one_of_ours_that_was_buried_and_came_back_is_reaped(
    driver: Driver, janitor: Janitor
) -> None:
    """A back-end that failed over may have forgotten the burial; nobody renews that lease."""
    await reserve(driver, OWNER, "one", lease=0.01)
    await asyncio.sleep(0.02)
    await janitor.sample(["q"])
    assert await janitor.reap(["q"], OURS, living={OWNER}) == 0
    assert await janitor.reap(["q"], OURS, living=set()) == 1


@pytest.mark.fault(35)
async def test_a_clock_that_is_set_ahead_ends_no_lease(
    driver: Driver, janitor: Janitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The back-end's clock; ours goes on as it did, and it is by ours that the lease runs on."""
    stranger = "bbbbbbbb-22222222-q.1-1"
    await reserve(driver, stranger, "one", lease=30.0)
    assert await janitor.reap(["q"], OURS) == 0  # it has seen the lease run
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert (await driver.owners("q"))[stranger] < -3000
    assert await janitor.reap(["q"], OURS) == 0
    await driver.renew("q", [stranger], 30.0)
    assert (await driver.owners("q"))[stranger] > 20


async def test_an_owner_that_renews_at_the_last_moment_lives(driver: Driver) -> None:
    janitor = Janitor(driver, Metrics(), reap_after=0.0, second_look=0.2)
    stranger = "bbbbbbbb-22222222-q.1-1"
    await reserve(driver, stranger, "one", lease=0.01)
    await asyncio.sleep(0.02)
    await janitor.sample(["q"])
    reaping = asyncio.create_task(janitor.reap(["q"], OURS))
    await asyncio.sleep(0)
    await driver.renew("q", [stranger], 30.0)
    assert await reaping == 0


class Steady:
    """A janitor that waits 10 s, by a clock of ours, and an owner whose lease it has seen run."""

    def __init__(self, driver: Driver, metrics: Metrics) -> None:
        self.now = 0.0
        self.driver = driver
        reach = Reach(driver.name, metrics, clock=lambda: self.now)
        self.janitor = Janitor(driver, metrics, reach=reach, reap_after=10.0, second_look=0.0)

    async def lose_an_owner(self) -> None:
        await reserve(self.driver, "bbbbbbbb-22222222-q.1-1", "one", lease=0.5)
        assert await self.reaped() == 0
        await asyncio.sleep(0.6)

    async def answered_for(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            await self.janitor.sample(["q"])

    async def reaped(self) -> int:
        return await self.janitor.reap(["q"], OURS)


@pytest.mark.fault(33)
async def test_nobody_is_reaped_until_the_back_end_has_answered_for_a_lease(
    driver: Driver, metrics: Metrics
) -> None:
    steady = Steady(driver, metrics)
    await steady.lose_an_owner()
    await steady.answered_for(9)
    assert await steady.reaped() == 0
    await steady.answered_for(1)
    assert await steady.reaped() == 1


@pytest.mark.fault(33)
async def test_an_outage_starts_the_wait_anew(driver: Driver, metrics: Metrics) -> None:
    steady = Steady(driver, metrics)
    await steady.lose_an_owner()
    await steady.answered_for(20)
    with pytest.raises(DriverUnavailable), steady.janitor.reach.watch("stats"):
        raise DriverUnavailable("gone")
    await steady.answered_for(10)  # the first of them ends the outage
    assert await steady.reaped() == 0
    await steady.answered_for(1)
    assert await steady.reaped() == 1


@pytest.mark.parametrize("verb", ["renew", "promote", "owners"])
async def test_a_queue_that_was_locked_gives_its_owners_a_leases_time(
    driver: Driver, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """They could not renew either, while the back-end answered for all other queues."""
    steady = Steady(driver, metrics)
    await steady.lose_an_owner()
    await steady.answered_for(10)

    async def refuse(*_: object) -> None:
        raise QueueUnavailable("locked")

    with monkeypatch.context() as locked:
        locked.setattr(driver, verb, refuse)
        calls = {
            "renew": lambda: steady.janitor.renew({"q": [OWNER]}),
            "promote": lambda: steady.janitor.promote(["q"]),
            "owners": steady.reaped,
        }
        with pytest.raises(QueueUnavailable):
            await calls[verb]()
    assert steady.janitor.reach.steady == 10.0
    assert await steady.reaped() == 0


async def test_earlier_boots_of_this_install_are_buried_at_once(
    driver: Driver, janitor: Janitor, metrics: Metrics
) -> None:
    await reserve(driver, "aaaaaaaa-00000000-q.1-9", "earlier")
    await reserve(driver, OWNER, "ours")
    await reserve(driver, "bbbbbbbb-00000000-q.1-9", "theirs")
    assert await janitor.bury_predecessors(["q"], "aaaaaaaa", "11111111") == 1
    states = {job: await driver.find(job) for job in ("earlier", "ours", "theirs")}
    assert {job: one and one.state for job, one in states.items()} == {
        "earlier": State.READY,
        "ours": State.RESERVED,
        "theirs": State.RESERVED,
    }
    assert counted(metrics, "jobs_reclaimed_total", "reason") == {"earlier_boot": 1}


async def test_leases_of_the_living_are_renewed(driver: Driver, janitor: Janitor) -> None:
    await reserve(driver, OWNER, "one", lease=1.0)
    await janitor.renew({"q": [OWNER], "idle": []})
    assert (await driver.owners("q"))[OWNER] > 20


async def test_whatever_is_due_is_promoted(driver: Driver, janitor: Janitor) -> None:
    for batch in range(3):
        await driver.enqueue("q", [NewJob(f"{batch}-{n}", b"x", 0.01) for n in range(1000)])
    await asyncio.sleep(0.02)
    assert await janitor.promote(["q", "empty"]) == 3000
    assert (await janitor.sample(["q"]))["q"].ready == 3000


async def test_a_standalone_janitor_promotes_and_reaps_by_itself(driver: Driver) -> None:
    janitor = Janitor(driver, Metrics(), lease=0.2, second_look=0.0)
    await driver.enqueue("q", [NewJob("due", b"x", 0.05)])
    running = asyncio.create_task(janitor.run(lambda: ["q"], OURS))
    async with asyncio.timeout(20):
        while (await driver.stats(["q"]))["q"].ready != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
