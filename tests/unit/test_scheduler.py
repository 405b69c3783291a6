"""The monitor's schedules on the memory driver, with its clock in the test's hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import structlog

from queued.daemon.metrics import Metrics
from queued.daemon.monitor import scheduler as scheduler_module
from queued.daemon.monitor.scheduler import LONGEST_REST, Scheduler, tick_id
from queued.daemon.reach import Reach
from queued.daemon.spec import ScheduleSpec
from queued.drivers.base import ID_PATTERN, Ack
from queued.drivers.memory import MemoryDriver, store

NIGHTLY = ScheduleSpec(job="app.Nightly", queue="q", cron="0 3 * * *", args={"days": 30})
START = int(datetime(2026, 11, 27, 2, 30, tzinfo=UTC).timestamp())
THREE = START + 1800
DAY = 86_400


class Clock:
    """What the back-end and the monitor take for the time."""

    def __init__(self) -> None:
        self.now = float(START)

    def time(self) -> float:
        return self.now

    monotonic = time


class Hosts:
    """One store, and monitors on it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.driver = MemoryDriver("memory://")
        self._nonces = count(1)

    def monitor(self, **schedules: ScheduleSpec) -> Scheduler:
        named = schedules or {"nightly": NIGHTLY}
        return Scheduler(self.driver, Reach("memory", Metrics()), named)

    async def jobs(self, queue: str = "q") -> list[str]:
        """Take what is ready, and be done with it; return the ids."""
        got = await self.driver.exchange(queue, "me", want=1000, nonce=next(self._nonces))
        await self.driver.exchange(queue, "me", [Ack(job.id, job.fence) for job in got.jobs])
        return [job.id for job in got.jobs]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    clock = Clock()
    monkeypatch.setattr(store, "time", clock)
    monkeypatch.setattr(scheduler_module, "time", clock)
    return Hosts(clock)


@pytest.fixture
def events() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield events


async def test_it_begins_now_and_ticks_in_time(hosts: Hosts) -> None:
    monitor = hosts.monitor()
    await monitor.turn()
    assert (monitor.last, monitor.next) == ({"nightly": START}, {"nightly": THREE})
    assert await hosts.jobs() == []
    hosts.clock.now = THREE - 0.5
    await monitor.turn()
    assert await hosts.jobs() == []
    hosts.clock.now = THREE + 0.1
    await monitor.turn()
    assert await hosts.jobs() == ["nightly:20261127T030000Z"]
    assert (monitor.last, monitor.next) == ({"nightly": THREE}, {"nightly": THREE + DAY})
    await monitor.turn()
    assert await hosts.jobs() == []


async def test_the_payload_is_that_of_a_dispatch(hosts: Hosts) -> None:
    monitor = hosts.monitor()
    await monitor.turn()
    hosts.clock.now = THREE
    await monitor.turn()
    info = await hosts.driver.find(tick_id("nightly", THREE))
    assert info is not None
    header, body = info.payload.split(b"\n")
    assert json.loads(header) == {"v": 1, "job": "app.Nightly"}
    assert json.loads(body) == {"days": 30}


async def test_each_tick_is_taken_by_one_of_many(hosts: Hosts) -> None:
    monitors = [hosts.monitor(fast=ScheduleSpec(job="x", queue="q", every=5)) for _ in range(3)]
    ids = []
    for second in range(60):
        hosts.clock.now = START + second
        for monitor in monitors:
            await monitor.turn()
        ids += await hosts.jobs()
    assert ids == [tick_id("fast", START + 5 * n) for n in range(1, 12)]


async def test_a_late_host_takes_nothing_again(hosts: Hosts) -> None:
    """It asked before, and acts after the others have taken the tick and its job is done."""
    slow, fast = hosts.monitor(), hosts.monitor()
    await fast.turn()
    hosts.clock.now = THREE
    stale = await hosts.driver.ticks("q")
    await fast.turn()
    assert len(await hosts.jobs()) == 1
    await slow._advance("nightly", stale.last["nightly"], int(stale.now))
    assert await hosts.jobs() == []


async def test_what_was_missed_is_left_out_and_said(hosts: Hosts, events: list[Any]) -> None:
    await hosts.monitor().turn()
    hosts.clock.now = THREE + 3 * DAY + 3600
    for monitor in (hosts.monitor(), hosts.monitor()):
        await monitor.turn()
    assert await hosts.jobs() == []
    [missed] = [one for one in events if one["event"] == "schedule.missed"]
    assert missed["tick"] == "2026-11-30T03:00:00+00:00"
    assert missed["next"] == "left out"


async def test_what_was_missed_is_run_once_if_asked_for(hosts: Hosts, events: list[Any]) -> None:
    spec = ScheduleSpec(job="x", queue="q", cron="0 3 * * *", catch_up=True)
    await hosts.monitor(nightly=spec).turn()
    hosts.clock.now = THREE + 3 * DAY + 3600
    for monitor in (hosts.monitor(nightly=spec), hosts.monitor(nightly=spec)):
        await monitor.turn()
    assert await hosts.jobs() == ["nightly:20261130T030000Z"]
    assert [one["next"] for one in events if one["event"] == "schedule.missed"] == ["run once now"]


async def test_a_tick_on_time_makes_up_for_those_before(hosts: Hosts) -> None:
    spec = ScheduleSpec(job="x", queue="q", every=600, catch_up=True)
    await hosts.monitor(often=spec).turn()
    hosts.clock.now = START + 3600 + 30
    await hosts.monitor(often=spec).turn()
    assert await hosts.jobs() == [tick_id("often", START + 3600)]


async def test_a_monitor_that_was_away_for_a_moment_leaves_no_tick_out(hosts: Hosts) -> None:
    spec = ScheduleSpec(job="x", queue="q", every=1)
    await hosts.monitor(fast=spec).turn()
    hosts.clock.now = START + 20
    await hosts.monitor(fast=spec).turn()
    assert await hosts.jobs() == [tick_id("fast", START + n) for n in range(1, 21)]


async def test_a_clock_that_was_set_back(hosts: Hosts, events: list[Any]) -> None:
    monitor = hosts.monitor()
    hosts.clock.now = START + 400 * DAY
    await monitor.turn()
    hosts.clock.now = START
    await hosts.monitor().turn()
    assert [one["event"] for one in events] == ["schedule.clock_set_back"]
    hosts.clock.now = THREE
    await hosts.monitor().turn()
    assert await hosts.jobs() == ["nightly:20261127T030000Z"]


async def test_between_ticks_the_back_end_is_left_in_peace(hosts: Hosts) -> None:
    asked = 0
    ticks = hosts.driver.ticks

    async def counted(queue: str) -> Any:
        nonlocal asked
        asked += 1
        return await ticks(queue)

    hosts.driver.ticks = counted  # type: ignore[method-assign]
    monitor = hosts.monitor()
    for _ in range(60):
        await monitor.turn()
        hosts.clock.now += 1
    assert asked <= 60 / LONGEST_REST + 1


async def test_queues_are_served_apart(hosts: Hosts) -> None:
    a = ScheduleSpec(job="x", queue="a", every=60)
    monitor = hosts.monitor(a=a, b=ScheduleSpec(job="x", queue="b", every=60))
    await monitor.turn()
    hosts.clock.now = START + 60
    await monitor.turn()
    assert await hosts.jobs("a") == [tick_id("a", START + 60)]
    assert await hosts.jobs("b") == [tick_id("b", START + 60)]


def test_ids_are_valid() -> None:
    assert ID_PATTERN.fullmatch(tick_id("n" * 40, START))
