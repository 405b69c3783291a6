"""Alerts of a real monitor, posted to a real receiver, across kills of the monitor."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Verifier

from queued.daemon.spec import QueueSpec, WebhookSpec
from queued.drivers import driver_for
from queued.drivers.base import NewJob
from queued.jobs.job import Job
from queued.jobs.queue import Queue
from tests.contract.servers import Server, start_valkey
from tests.process.harness import Daemon, until
from tests.process.monitored import RUNNING, Master, owner
from tests.receiver import HANG, Receiver, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FATAL = RUNNING | {"state": "fatal", "workers": {"fatal": 1}}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Server]:
    server = start_valkey(tmp_path / "valkey")
    yield server
    server.kill()


@pytest.fixture
async def master(valkey: Server, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Master]:
    settings = {
        # an answer that was too late has the same notice come twice
        "webhook": WebhookSpec(url=receiver.url, secret=SECRET, timeout=20.0),
        "episodes": str(tmp_path / "episodes"),
        "steadiness": 0.01,
        "note_every": 0.2,
    }
    async with Master(valkey.url, **settings) as master:
        yield master


async def test_a_pool_that_is_given_up_and_comes_back(master: Master, receiver: Receiver) -> None:
    await master.start()
    master.tell_fleet(owner(), q=FATAL)
    await master.until(lambda: receiver.of_type("alert.opened"))
    master.tell_fleet(owner())
    await master.until(lambda: receiver.of_type("alert.resolved"))
    opened, resolved = (Verifier(SECRET).verify(one.body, one.headers) for one in receiver.received)
    assert opened["data"]["alert"] == resolved["data"]["alert"] == "pool.fatal"
    assert opened["data"]["subject"] == "q"
    assert opened["data"]["episode"] == resolved["data"]["episode"]
    assert "given up" in opened["data"]["message"]
    assert "1 of 1 workers run; it lasted" in resolved["data"]["message"]


async def test_jobs_that_wait_and_runs_that_fail(master: Master, receiver: Receiver) -> None:
    master.spec.queues["q"] = QueueSpec(max_wait=0.1, max_failure_rate=0.1)
    driver = driver_for(master.spec.url)
    await driver.open()
    await driver.enqueue("q", [NewJob("a", b"{}")])
    await master.start()
    master.tell_fleet(owner())
    rows = [[{"queue": "q", "job_class": "x", "outcome": "failed"}, 0]]
    master.tell(type="snapshot", child=owner(), data={"counters": {"attempts_total": rows}})
    await master.until(lambda: any("q" in one["recent"] for one in master.heard("sample")))
    rows[0][1] = 30
    master.tell(type="snapshot", child=owner(), data={"counters": {"attempts_total": rows}})
    await master.until(lambda: len(receiver.of_type("alert.opened")) == 2)
    await driver.cancel("q", "a")
    rows = [*rows, [{"queue": "q", "job_class": "x", "outcome": "succeeded"}, 3_000]]
    master.tell(type="snapshot", child=owner(), data={"counters": {"attempts_total": rows}})
    master.tell_fleet(owner())
    await master.until(lambda: len(receiver.of_type("alert.resolved")) == 2)
    said = {one.json["data"]["alert"]: one.json["data"] for one in receiver.received[:2]}
    assert set(said) == {"queue.late", "queue.failing"}
    assert said["queue.failing"]["value"] == 1.0
    assert said["queue.late"]["threshold"] == 0.1
    await driver.close()


async def test_the_back_end_that_does_not_answer(
    master: Master, receiver: Receiver, valkey: Server
) -> None:
    await master.start()
    master.tell_fleet(owner())
    await master.until(lambda: master.heard("sample", driver_up=True))
    valkey.kill()
    await master.until(lambda: receiver.of_type("alert.opened"))
    valkey.start()
    await master.until(lambda: receiver.of_type("alert.resolved"))
    assert {one.json["data"]["alert"] for one in receiver.received} == {"backend.unreachable"}


async def test_a_killed_monitor_is_followed_by_one_that_knows(
    master: Master, receiver: Receiver
) -> None:
    await master.start()
    master.tell_fleet(owner(), q=FATAL)
    await master.until(lambda: receiver.of_type("alert.opened"))
    await master.until(lambda: '"outbox": []' in Path(str(master.spec.episodes)).read_text())
    await master.end(signal.SIGKILL)

    await master.start()
    master.tell_fleet(owner(), q=FATAL)
    await master.until(lambda: master.heard("sample", driver_up=True))
    master.tell_fleet(owner())
    [resolved] = await master.until(lambda: receiver.of_type("alert.resolved"))
    [opened] = receiver.of_type("alert.opened")  # it was not said again
    assert resolved.json["data"]["episode"] == opened.json["data"]["episode"]


async def test_what_was_under_way_when_the_monitor_died_is_delivered_by_the_next(
    master: Master, receiver: Receiver
) -> None:
    receiver.answers = [HANG, 500, 200]
    await master.start()
    master.tell_fleet(owner(), q=FATAL)
    await master.until(lambda: receiver.received)
    # the receiver hangs, and everything else goes on
    assert (await master.client.get("/healthz")).status_code == 200
    seen = len(master.heard("sample", driver_up=True))
    await master.until(lambda: len(master.heard("sample", driver_up=True)) > seen)
    await master.end(signal.SIGKILL)

    await master.start()
    master.tell_fleet(owner(), q=FATAL)
    await master.until(lambda: len(receiver.received) == 3)
    assert len(set(receiver.ids)) == 1
    await master.until(lambda: '"outbox": []' in Path(str(master.spec.episodes)).read_text())


async def test_a_hanging_receiver_does_not_keep_the_monitor(
    master: Master, receiver: Receiver
) -> None:
    receiver.answers = [HANG]
    await master.start()
    master.tell_fleet(owner(), q=FATAL)
    await master.until(lambda: receiver.received)
    assert await master.end(signal.SIGTERM) == 0


JOBS = """
from queued import Job

class Broken(Job):
    max_tries = 1
    async def handle(self): raise ValueError("token=hunter3 is wrong")
"""


class Broken(Job):
    """The same, as its producer has it."""

    name = "work.Broken"

    async def handle(self) -> None: ...


def test_a_daemon_tells_of_jobs_that_fail(
    daemon: Callable[..., Daemon], receiver: Receiver
) -> None:
    config = """
imports: [work]
http: {listen: "127.0.0.1:0"}
log: {format: json}
webhook: {url: "${HOOK}", secret: "${file:secret}"}
queues: {default: {sleep: 100ms, max_failure_rate: 10%}}
"""
    one = daemon(config, jobs=JOBS, HOOK=receiver.url)
    (one.folder / "secret").write_text(SECRET + "\n")
    one.start()
    until(lambda: one.status()["recent"], "two looks at the counts", seconds=60)
    producer = Queue()
    producer.connect(f"sqlite:///{one.folder}/queued.db")
    producer.sync.bulk([Broken() for _ in range(25)])
    producer.sync.close()
    until(lambda: receiver.of_type("alert.opened"), "an alert")
    assert one.status()["pools"]["default"]["max_failure_rate"] == 0.1
    until(lambda: one.status()["recent"]["default"]["5m"]["failures"], "status to tell, too")
    [got] = receiver.of_type("alert.opened")
    data = Verifier(SECRET).verify(got.body, got.headers)["data"]
    assert (data["alert"], data["subject"]) == ("queue.failing", "default")
    assert data["value"] > 0.1
    assert '"event": "alert.opened"' in one.output()
    one.stop()
    assert "hunter2" not in one.output()  # the URL
    assert SECRET not in one.output()
    assert "hunter3" not in one.output()
