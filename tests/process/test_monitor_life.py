"""The monitor's own life: what it says of itself, what it outlives, and when it ends."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from queued.daemon.spec import QueueSpec
from queued.drivers import driver_for
from queued.drivers.base import Charge, Fail, NewJob
from queued.errors import DriverUnavailable
from tests.contract.servers import Server, start_valkey
from tests.process.monitored import RUNNING, Master, owner

LEASE = 6.0
"""Seconds: a monitor has begun before they are over, and gives up an answer only after them."""


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Server]:
    server = start_valkey(tmp_path / "valkey")
    yield server
    server.kill()


@pytest.fixture
async def master(valkey: Server) -> AsyncIterator[Master]:
    async with Master(valkey.url) as master:
        yield master


async def test_it_is_ready_when_the_back_end_answers_and_every_pool_runs(master: Master) -> None:
    await master.start()
    assert (await master.client.get("/healthz")).status_code == 200
    answer = await master.client.get("/readyz")
    assert answer.status_code == 503
    assert "the master has not told of its pools yet" in answer.json()["reasons"]

    fatal = RUNNING | {"state": "fatal", "workers": {"fatal": 1}}
    off = RUNNING | {"state": "stopped", "desired": 0, "workers": {}}
    master.tell_fleet(q=RUNNING, emails=fatal, off=off)
    answer = await master.until_get("/readyz", lambda answer: len(answer.json()["reasons"]) == 1)
    assert answer.json() == {
        "ready": False,
        "reasons": ["pool emails: no worker running (fatal)"],
    }
    master.tell_fleet(q=RUNNING, off=off)
    await master.until_get("/readyz", lambda answer: answer.status_code == 200)


async def test_it_outlives_the_back_end(master: Master, valkey: Server) -> None:
    await master.start()
    master.tell_fleet(owner())
    await master.until_get("/readyz", lambda answer: answer.status_code == 200)

    valkey.kill()
    answer = await master.until_get("/readyz", lambda answer: answer.status_code == 503)
    (reason,) = answer.json()["reasons"]
    assert reason.startswith("backend unreachable for ")
    assert (await master.client.get("/healthz")).status_code == 200
    await master.until(lambda: master.heard("sample", driver_up=False))
    page = await master.until_get("/metrics", lambda answer: "driver_up" in answer.text)
    assert 'queued_driver_up{driver="redis"} 0.0' in page.text

    master.tell_gone(owner(), {})
    valkey.start()
    await master.until_get("/readyz", lambda answer: answer.status_code == 200)
    await master.until(lambda: master.heard("settled", owner=owner()))


async def test_it_waits_for_a_back_end_that_is_not_there_yet(
    master: Master, valkey: Server
) -> None:
    valkey.kill()
    await master.start()
    master.tell_fleet()
    answer = await master.client.get("/readyz")
    assert answer.status_code == 503
    valkey.start()
    await master.until_get("/readyz", lambda answer: answer.status_code == 200)


async def test_after_an_outage_owners_renew_before_anyone_is_reaped(valkey: Server) -> None:
    """Leases run out while the server stands still: who renews when it goes on has lost nothing."""
    driver = driver_for(valkey.url)
    await driver.open()
    living, dead = (owner(index, install="bbbbbbbb") for index in (1, 2))
    for name in (living, dead):
        await driver.enqueue("q", [NewJob(f"of-{name}", b"x")])
        await driver.exchange("q", name, want=1, nonce=1, lease=LEASE)
    async with Master(valkey.url, lease=LEASE) as master:
        await master.start()
        await master.until(lambda: master.heard("sample", driver_up=True))
        valkey.pause()
        paused = time.monotonic()
        await master.until(lambda: master.heard("sample", driver_up=False))
        assert time.monotonic() - paused > LEASE
        valkey.resume()
        async with asyncio.timeout(60):
            while max((await driver.owners("q")).values()) < 30:
                with suppress(DriverUnavailable):
                    await driver.renew("q", [living], 60.0)
            while dead in await driver.owners("q"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    held = await driver.retire("q", living)
    assert [job.id for job in held] == [f"of-{living}"]
    lost = await driver.find(f"of-{dead}")
    assert lost
    assert lost.counts.lost == 1
    await driver.close()


@pytest.mark.parametrize("fault", [None, Server.kill, Server.pause])
async def test_sigterm_ends_it_and_ctrl_c_does_not(
    master: Master, valkey: Server, fault: Callable[[Server], None] | None
) -> None:
    await master.start()
    if fault:
        fault(valkey)
    assert master.process
    master.process.send_signal(signal.SIGINT)
    master.tell_gone(owner(), {})
    await master.client.get("/healthz")  # a connection that stays open
    started = time.monotonic()
    assert await master.end(signal.SIGTERM) == 0
    print(f"took {time.monotonic() - started:.2f} s")


async def test_it_goes_with_its_master(master: Master) -> None:
    await master.start()
    master.channel.close()
    assert await master.end(0) == 0


async def test_a_successor_takes_over_the_listener(master: Master) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        await master.start()
        assert (await master.client.get("/healthz")).status_code == 200
        await master.end(number)


async def test_nonsense_from_a_child_is_survived(master: Master) -> None:
    await master.start()
    master.channel.send_raw(b'{"type":"snapshot","child":"w1","pool":"q",nonsense')
    master.channel.send_raw(b'{"type":"snapshot","child":"w1","data":' + b"[" * 100_000)
    master.tell(type="snapshot", child="w2", pool="q", data={"counters": 7})
    master.tell_fleet(owner())
    await master.until_get("/readyz", lambda answer: answer.status_code == 200)
    assert (await master.client.get("/metrics")).status_code == 200


async def test_a_token_guards_it(valkey: Server) -> None:
    async with Master(valkey.url, http_token="s3cret") as master:
        await master.start()
        assert (await master.client.get("/metrics")).status_code == 401
        right = {"Authorization": "Bearer s3cret"}
        assert (await master.client.get("/metrics", headers=right)).status_code == 200


async def test_without_http_it_does_the_rest(valkey: Server) -> None:
    async with Master(valkey.url) as master:
        master.with_http = False
        await master.start()
        await master.until(lambda: master.heard("sample", driver_up=True))
        assert await master.end() == 0


async def test_the_master_is_told_what_queues_did_lately(valkey: Server) -> None:
    def ran(**outcomes: int) -> dict[str, object]:
        common = {"queue": "q", "job_class": "app.Send"}
        rows = [[common | {"outcome": name}, number] for name, number in outcomes.items()]
        return {"counters": {"attempts_total": rows}}

    async with Master(valkey.url, note_every=0.2) as master:
        await master.start()
        master.tell_fleet(owner())
        before = ran(failed=1_000)  # long ago: it is heard late, and does not count as recent
        master.tell(type="snapshot", child=owner(), pool="q", data=before)
        await master.until(lambda: any(one["recent"] for one in master.heard("sample")))
        counts = ran(failed=1_001, succeeded=3)
        master.tell(type="snapshot", child=owner(), pool="q", data=counts)
        last = await master.until(
            lambda: [
                rates
                for one in master.heard("sample")
                if (rates := one["recent"].get("q", {}).get("5m")) and rates["attempts"]
            ]
        )
        assert last[-1]["outcomes"] == {"failed": 1, "succeeded": 3}
        assert last[-1]["failure_ratio"] == 0.25


async def test_failed_jobs_are_pruned_by_age(master: Master) -> None:
    driver = driver_for(master.spec.url)
    await driver.open()
    await driver.enqueue("q", [NewJob("old", b""), NewJob("kept", b"")])
    await driver.enqueue("other", [NewJob("old", b"")])
    for queue in ("q", "other"):
        got = await driver.exchange(queue, owner(), want=2, nonce=1)
        fails = [
            Fail(job.id, job.fence, Charge.ERROR, b"{}", hook=3600.0 if job.id == "kept" else None)
            for job in got.jobs
        ]
        await driver.exchange(queue, owner(), fails)
    await asyncio.sleep(0.05)
    master.spec.queues["q"] = QueueSpec(retain_failed=0.01)
    master.spec.queues["other"] = QueueSpec(retain_failed=3600.0)
    await master.start()
    async with asyncio.timeout(60):
        while (await driver.stats(["q"]))["q"].failed > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert [job.id for job in await driver.failed("q")] == ["kept"]
    assert [job.id for job in await driver.failed("other")] == ["old"]
    await driver.close()
