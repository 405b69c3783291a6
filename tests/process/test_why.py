"""``queued why``: each reason is caused for real, and told."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queued.drivers import driver_for
from queued.drivers.base import Charge, Driver, NewJob, Retry
from tests.contract.servers import Server, start_valkey
from tests.process.harness import Daemon, until
from tests.process.standins import Master

CONFIG = """
connection: {connection}
imports: [work]
http: {{listen: "127.0.0.1:0"}}
shutdown_grace: 30s
queues:
  default: {{concurrency: 2, timeout: 90s}}
  parked: {{processes: 0}}
"""
JOBS = """
import asyncio
from pathlib import Path
from queued import Job, Retry

class Slow(Job):
    async def handle(self):
        while not Path("release").exists():
            await asyncio.sleep(0.01)

class Wrong(Job):
    max_tries = 1
    async def handle(self):
        raise ValueError("no such station")

class Again(Job):
    retry_after = 3600
    async def handle(self):
        raise ConnectionError("no answer")
"""


@pytest.fixture
def ready(daemon: Callable[..., Daemon]) -> Callable[..., Daemon]:
    """Make daemons on SQLite."""

    def make(config: str = CONFIG, jobs: str = JOBS) -> Daemon:
        return daemon(config.format(connection="sqlite:///queued.db"), jobs=jobs)

    return make


@pytest.fixture
def running(ready: Callable[..., Daemon]) -> Daemon:
    return ready().start()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "valkey").mkdir()
    server = start_valkey(tmp_path / "valkey")
    yield server
    server.stop()


def push(running: Daemon, job: str = "Slow", *options: str) -> str:
    """Dispatch a job; return its id."""
    said = running.run("dispatch", f"work.{job}", "{}", "--json", *options)
    job_id: str = json.loads(said.stdout)["id"]
    return job_id


def url_of(running: Daemon) -> str:
    return f"sqlite:///{running.folder}/queued.db"


def with_driver(url: str, act: Callable[[Driver], Awaitable[Any]]) -> Any:
    async def acted() -> Any:
        driver = driver_for(url)
        await driver.open()
        try:
            return await act(driver)
        finally:
            await driver.close()

    return asyncio.run(acted())


def why(running: Daemon, *arguments: str, code: int = 0) -> dict[str, Any]:
    said = running.run("why", "--json", *arguments, check=False)
    assert said.returncode == code, said
    answer: dict[str, Any] = json.loads(said.stdout)
    return answer


def codes(answer: dict[str, Any]) -> list[str]:
    return [one["reason"] for one in answer["reasons"]]


def reason(answer: dict[str, Any], code: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in answer["reasons"] if one["reason"] == code)
    return found


def until_busy(running: Daemon, jobs: int, pool: str = "default") -> None:
    def runs() -> bool:
        return sum(len(one["jobs"]) for one in running.workers(pool) if one["pid"]) == jobs

    until(runs, f"{jobs} jobs to run")


def test_all_slots_are_busy_and_others_are_before_it(
    daemon: Callable[..., Daemon], connection: str
) -> None:
    running = daemon(CONFIG.format(connection=connection), jobs=JOBS).start()
    holders = [push(running) for _ in range(2)]
    until_busy(running, 2)
    waiting = [push(running) for _ in range(3)]
    answer = why(running, waiting[2])
    assert codes(answer) == ["slots_busy", "its_turn"]
    assert {one["id"] for one in answer["reasons"][0]["running"]} == set(holders)
    assert {one["worker"] for one in answer["reasons"][0]["running"]} == {"default/1"}
    assert answer["reasons"][1]["ahead"] == 2
    assert (answer["kind"], answer["queue"], answer["state"]) == ("job", "default", "ready")
    text = running.run("why", waiting[0]).stdout
    assert text.startswith(f"{waiting[0]} (work.Slow) of default is ready since 2")
    assert "- all 2 slots of default are busy, the longest for " in text
    assert f"    Slow {holders[0]} in default/1 for " in text
    assert "- it is the next\n" in text
    assert "\x1b" not in text

    queue = why(running, "default")
    assert (codes(queue), queue["kind"]) == (["slots_busy"], "queue")
    assert queue["counts"]["ready"] == 3
    assert running.run("why", "default").stdout.startswith("default: 3 ready (the oldest for ")

    runs = why(running, holders[0])
    assert codes(runs) == ["running"]
    assert (runs["reasons"][0]["worker"], runs["reasons"][0]["timeout"]) == ("default/1", 90.0)
    said = running.run("why", holders[0]).stdout
    pid = running.workers("default")[0]["pid"]
    told = f"it runs in default/1 (pid {pid} on {socket.gethostname()}) for "
    assert told in said
    assert " of at most 1m 30s\n" in said
    assert told in running.run("job", holders[0]).stdout
    held = json.loads(running.run("job", holders[0], "--json").stdout)["held"]
    assert (held["reason"], held["worker"], held["pid"]) == ("running", "default/1", pid)
    assert json.loads(running.run("job", waiting[0], "--json").stdout)["held"] is None


def test_scheduled_and_scheduled_again_after_an_error(running: Daemon) -> None:
    later = push(running, "Slow", "--delay", "2h")
    answer = why(running, later)
    assert codes(answer) == ["scheduled"]
    assert "in 1h 59m" in answer["reasons"][0]["text"]
    again = push(running, "Again")
    until(lambda: why(running, again)["state"] == "scheduled", "the retry")
    answer = why(running, again)
    assert codes(answer) == ["scheduled"]
    assert (
        "after 1 run; the last ended with ConnectionError: no answer"
        in (answer["reasons"][0]["text"])
    )
    queue = why(running, "default")
    assert codes(queue) == ["scheduled"]
    assert queue["reasons"][0]["scheduled"] == 2
    assert "the next for " in queue["reasons"][0]["text"]
    assert queue["reasons"][0]["next_due_at"] == pytest.approx(
        answer["reasons"][0]["due_at"], abs=60
    )


def test_failed(running: Daemon) -> None:
    wrong = push(running, "Wrong")
    until(lambda: why(running, wrong)["state"] == "failed", "the failure")
    answer = why(running, wrong)
    assert codes(answer) == ["failed"]
    assert answer["reasons"][0]["error"] == "ValueError: no such station"
    text = running.run("why", wrong).stdout
    assert "after 1 run: ValueError: no such station\n" in text
    assert f"queued failed retry {wrong} puts it back" in text


def test_nobody_knows_it(running: Daemon) -> None:
    push(running)
    answer = why(running, "defualt", code=1)
    assert codes(answer) == ["unknown"]
    said = running.run("why", "defualt", check=False)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("queued: no queue has a job 'defualt': it is done")
    assert said.stderr.endswith('nor is there a queue of that name; did you mean "default"?\n')
    answer = why(running, "default", "--queue", "default", code=1)  # a job of that name
    assert codes(answer) == ["unknown"]


def test_a_pool_that_is_parked_and_a_queue_without_one(running: Daemon) -> None:
    parked = push(running, "Slow", "--queue", "parked")
    assert codes(why(running, parked)) == ["parked", "its_turn"]
    assert codes(why(running, "parked")) == ["parked"]
    alien = push(running, "Slow", "--queue", "defaults")
    answer = why(running, alien)
    assert codes(answer) == ["no_pool", "its_turn"]
    text = answer["reasons"][0]["text"]
    assert "no pool serves defaults: queue.yaml has default, parked; did you mean" in text
    assert text.endswith("? If not, add it there, then: queued reload")


def test_nothing_waits(running: Daemon) -> None:
    answer = why(running, "default")
    assert codes(answer) == ["nothing_waits"]
    assert answer["counts"]["ready"] == 0


def test_no_daemon_runs(ready: Callable[..., Daemon]) -> None:
    waits = ready()
    assert codes(why(waits, "default")) == ["no_database", "daemon_not_running"]
    job = push(waits)
    answer = why(waits, job)
    assert codes(answer) == ["daemon_not_running", "its_turn"]
    assert "start it with: queued start -c queue.yaml" in answer["reasons"][0]["text"]
    later = push(waits, "Slow", "--delay", "1h")
    assert codes(why(waits, later)) == ["scheduled", "daemon_not_running"]
    alien = push(waits, "Slow", "--queue", "elsewhere")
    assert codes(why(waits, alien)) == ["daemon_not_running", "no_pool", "its_turn"]


def test_the_daemon_starts_nothing(ready: Callable[..., Daemon]) -> None:
    blocked = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\n"
    running = ready()
    job, holder = push(running, "Slow", "--delay", "1ms"), push(running)
    (running.folder / "work.py").write_text(blocked + JOBS)
    running.start(ready=False)
    until(lambda: "daemon_starting" in codes(why(running, job)), "the daemon to start")
    (running.folder / "go").touch()
    until_busy(running, 2)

    running.signal(signal.SIGTSTP)
    until(lambda: running.status()["quiet"], "it to be quiet")
    job = push(running)
    assert codes(why(running, job))[0] == "daemon_quiet"
    assert codes(why(running, "default"))[0] == "daemon_quiet"

    running.signal(signal.SIGTERM)
    until(lambda: running.status()["state"] == "stopping", "it to stop")
    assert codes(why(running, job))[0] == "daemon_stopping"
    assert codes(why(running, holder)) == ["running"]
    (running.folder / "release").touch()
    assert running.wait() == 0


def test_the_back_end_is_away(daemon: Callable[..., Daemon], valkey: Server) -> None:
    running = daemon(CONFIG.format(connection=valkey.url), jobs=JOBS).start()
    holder = push(running)
    until_busy(running, 1)
    job = push(running, "Slow", "--delay", "1h")
    valkey.kill()
    until(lambda: running.status()["driver_up"] is False, "the daemon to see it")
    answer = why(running, "default")
    assert codes(answer) == ["backend_down"]
    assert str(valkey.port) in answer["not_asked"]["back-end"]
    assert answer["counts"] is None
    text = running.run("why", "default").stdout
    assert text.startswith("default: nothing is known of its jobs\n- the back-end does not answer:")
    assert codes(why(running, holder)) == ["running", "backend_down"]  # the daemon knows
    assert codes(why(running, job, code=69)) == ["unknown", "backend_down"]
    said = running.run("why", job, check=False)
    assert (said.returncode, said.stdout) == (69, "")
    assert said.stderr.count("\n") == 1


def test_another_back_end_than_the_daemons(running: Daemon) -> None:
    other = f"sqlite:///{running.folder}/other.db"
    job = push(running, "Slow", "--connection", other)
    answer = why(running, job, "--connection", other)
    assert codes(answer) == ["other_backend", "its_turn"]
    assert answer["reasons"][0]["daemon"] == url_of(running)
    assert codes(why(running, job, code=1)) == ["unknown"]


def crash(running: Daemon, *job_ids: str) -> None:
    """Take jobs from the queue and crash with them, as often as makes each a suspect."""

    async def act(driver: Driver) -> None:
        await driver.enqueue(
            "default", [NewJob(one, b'{"v":1,"job":"work.Slow"}\n{}') for one in job_ids]
        )
        held = await driver.exchange("default", "crasher", want=len(job_ids), nonce=1)
        assert {one.id for one in held.jobs} == set(job_ids)
        ends = [Retry(one.id, one.fence, 0.0, Charge.CRASH) for one in held.jobs]
        await driver.exchange("default", "crasher", ends)
        await driver.retire("default", "crasher")

    with_driver(url_of(running), act)


def test_suspects_run_alone(ready: Callable[..., Daemon]) -> None:
    waits = ready(CONFIG.replace("concurrency: 2", "concurrency: 1"))  # one of them at a time
    push(waits)
    with_driver(url_of(waits), lambda driver: driver.purge("default"))
    crash(waits, "first", "second")
    assert codes(why(waits, "second")) == ["daemon_not_running", "suspect"]
    running = waits.start()
    until_busy(running, 1)
    (held,) = [one for one in ("first", "second") if why(running, one)["state"] == "reserved"]
    (other,) = {"first", "second"} - {held}
    assert reason(why(running, held), "running")["worker"] == "default/solo"
    answer = why(running, other)
    assert codes(answer) == ["suspect"]
    assert "its worker died 1 time while it ran; it runs alone" in answer["reasons"][0]["text"]
    assert [one["id"] for one in answer["reasons"][0]["running"]] == [held]
    assert codes(why(running, "default"))[0] == "suspect"


def test_others_hold_it(running: Daemon) -> None:
    """A worker of another host, which lives, and which then is gone."""
    owner = "aaaaaaaa-bbbbbbbb-default.7-1"

    async def take(driver: Driver) -> None:
        await driver.enqueue("remote", [NewJob("there", b"{}"), NewJob("waits", b"{}")])
        assert await driver.exchange("remote", owner, want=1, nonce=1, lease=3_600)

    with_driver(url_of(running), take)
    answer = why(running, "there")
    assert codes(answer) == ["reserved_elsewhere"]
    assert (
        "default/7 of another daemon, or of queued work, has had it" in answer["reasons"][0]["text"]
    )
    assert codes(why(running, "waits")) == ["no_pool", "its_turn", "served_elsewhere"]
    assert reason(why(running, "remote"), "served_elsewhere")["workers"] == 1

    with_driver(url_of(running), lambda driver: driver.retire("remote", owner))
    answer = why(running, "there")
    assert codes(answer) == ["owner_lost"]
    assert "is gone; its lease has run out; it goes back in moments" in answer["reasons"][0]["text"]


def test_workers_that_crash(master: Callable[..., Master]) -> None:
    config = """
connection: sqlite:///queued.db
http: false
queues: {default: {env: {ACT: "exit=3"}}}
"""
    job = [NewJob("waits", b"{}")]
    slow = master(config, QUEUED_TEST_FIRST_DELAY="600")
    slow.folder.joinpath("queued.db").touch()
    with_driver(url_of(slow), lambda driver: driver.enqueue("default", job))
    slow.start(ready=False)
    until(lambda: _pool_state(slow) == "backoff", "the long wait")
    answer = why(slow, "waits")
    assert codes(answer) == ["pool_backoff", "its_turn"]
    assert "crashed" in answer["reasons"][0]["text"]
    assert "the next start is in " in answer["reasons"][0]["text"]

    fast = master(config, QUEUED_TEST_FIRST_DELAY="0.001")
    with_driver(url_of(fast), lambda driver: driver.enqueue("default", job))
    fast.start(ready=False)
    until(lambda: _pool_state(fast) == "fatal", "the end of the loop")
    answer = why(fast, "waits")
    assert codes(answer) == ["pool_fatal", "its_turn"]
    assert "exit code 3; queued restart tries again" in answer["reasons"][0]["text"]
    assert codes(why(fast, "default")) == ["pool_fatal"]


def _pool_state(running: Master) -> str | None:
    if not running.folder.joinpath("run").exists():
        return None
    try:
        state: str = running.status()["pools"]["default"]["state"]
    except Exception:  # noqa: BLE001 - it is not up yet
        return None
    return state


def test_workers_that_do_not_come_up(master: Callable[..., Master]) -> None:
    config = "connection: sqlite:///queued.db\nhttp: false\nqueues: {default: {env: {ACT: mute}}}\n"
    running = master(config)
    with_driver(url_of(running), lambda driver: driver.enqueue("default", [NewJob("x", b"{}")]))
    running.start(ready=False)
    until(lambda: _pool_state(running) == "starting", "the worker to be forked")
    assert codes(why(running, "x")) == ["daemon_starting", "pool_starting", "its_turn"]


def test_a_slot_is_free_and_nobody_looks(ready: Callable[..., Daemon]) -> None:
    polling = "concurrency: 2, polling: true, sleep: 1h"
    running = ready(CONFIG.replace("concurrency: 2", polling)).start()
    job = push(running)
    answer = why(running, job)
    assert codes(answer) == ["free", "its_turn"]
    assert (
        "2 slots of default are free: a worker looks every 1h only" in answer["reasons"][0]["text"]
    )
    assert codes(why(running, "default")) == ["free"]


def test_a_daemon_that_does_not_answer(running: Daemon) -> None:
    job = push(running, "Slow", "--delay", "1h")
    running.signal(signal.SIGSTOP)
    try:
        text = running.run("why", job).stdout
    finally:
        running.signal(signal.SIGCONT)
    assert "\n- it is scheduled for " in text
    assert text.endswith("the daemon could not be asked: the daemon did not answer within 5 s\n")


def test_a_back_end_that_takes_no_writes(running: Daemon) -> None:
    job = push(running)
    until_busy(running, 1)
    with sqlite3.connect(running.folder / "queued.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")  # a backup that takes its time, say
        (running.folder / "release").touch()
        until_busy(running, 0)
        answer = why(running, job)
        other.execute("ROLLBACK")
    assert codes(answer) == ["reserved", "backend_down"]
    assert "default/1 has had it since " in answer["reasons"][0]["text"]
    assert "the back-end takes no writes: SQLite" in answer["reasons"][1]["text"]
    until(lambda: why(running, "default")["counts"]["reserved"] == 0, "it to be settled")
