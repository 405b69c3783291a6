"""queue.sync: from plain code, from threads, inside a running loop, after a fork, at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queued.drivers import driver_for, register_driver
from queued.drivers.memory import MemoryDriver
from queued.errors import DriverUnavailable, InvalidJob
from queued.jobs import sync
from queued.jobs.job import Job
from queued.jobs.queue import Queue
from queued.jobs.receipt import Receipt
from tests.contract.backends import BACKENDS, CleanUrl
from tests.unit.producing import Note, clean_urls, numbers

clean_url = pytest.fixture(scope="module", params=["memory", "valkey", "sqlite"])(clean_urls)


@pytest.fixture
def queue(clean_url: CleanUrl) -> Iterator[Queue]:
    producer = Queue(clean_url())
    yield producer
    producer.sync.close()


@pytest.fixture
def memory() -> Iterator[Queue]:
    producer = Queue(f"memory://sync-{next(numbers)}")
    yield producer
    producer.sync.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CleanUrl]:
    yield from BACKENDS["valkey"](tmp_path_factory.mktemp("server"))


def test_the_same_verbs_without_a_loop(queue: Queue) -> None:
    first = queue.sync.push(Note(text="a"), id="one")
    again = queue.sync.dispatch(Note(text="a"), id="one")
    later = queue.sync.later("5m", Note())
    many = queue.sync.bulk(Note(text=str(n)) for n in range(1_200))

    assert (first, again) == (Receipt("one", True), Receipt("one", False))
    assert later.enqueued
    assert len({receipt.id for receipt in many}) == 1_200
    assert queue.sync.size() == 1_202
    assert (queue.sync.stats().ready, queue.sync.stats().scheduled) == (1_201, 1)


def test_threads_share_the_portal(queue: Queue) -> None:
    receipts: list[Receipt] = []

    def push() -> None:
        receipts.extend(queue.sync.push(Note()) for _ in range(20))

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({receipt.id for receipt in receipts}) == 160
    assert queue.sync.size() == 160
    assert [t.name for t in threading.enumerate()].count("queued-sync") == 1


async def test_it_works_in_the_thread_of_a_running_loop(queue: Queue) -> None:
    queue.sync.push(Note())
    await queue.push(Note())

    assert queue.sync.size() == await queue.size() == 2
    await queue.close()


def test_after_closing_it_opens_again(queue: Queue) -> None:
    queue.sync.push(Note())
    queue.sync.close()
    queue.sync.close()

    assert queue.sync.push(Note()).enqueued


def test_errors_come_as_they_are(memory: Queue) -> None:
    with pytest.raises(InvalidJob, match=r"Note\.text"):
        memory.sync.push(Note(text=3))  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match=r"jobs\[1\]"):
        memory.sync.bulk([Note(), Note(text=3)])  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match="a queue's name"):
        memory.sync.size("a b")


def test_an_unreachable_back_end_is_said_and_the_id_named() -> None:
    class Down(MemoryDriver):
        async def open(self) -> None:
            raise DriverUnavailable("nobody there")

    register_driver("down", Down)
    with pytest.raises(DriverUnavailable, match="nobody there") as caught:
        Queue("down://").sync.push(Note(), id="one")
    assert caught.value.ids == ("one",)


def test_validate_runs_in_the_callers_thread(memory: Queue) -> None:
    seen: list[threading.Thread] = []

    class Checked(Job):
        def validate(self) -> None:
            seen.append(threading.current_thread())

        async def handle(self) -> None: ...

    memory.sync.push(Checked())

    assert seen == [threading.current_thread()]


def test_a_call_from_its_own_thread_is_refused_and_hangs_nothing(memory: Queue) -> None:
    async def inside() -> None:
        memory.sync.size()

    with pytest.raises(RuntimeError, match="from its own thread"):
        sync._portal().call(inside)


def test_an_interrupted_call_leaves_the_portal_usable() -> None:
    entered, seen, name = threading.Event(), threading.Event(), f"slow{next(numbers)}"

    class Slow(MemoryDriver):
        slow = True
        cancelled = False

        async def enqueue(self, queue: str, jobs: Any) -> list[bool]:
            if self.slow:
                entered.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    type(self).cancelled = True
                    raise
            return await super().enqueue(queue, jobs)

    register_driver(name, Slow)
    queue = Queue(f"{name}://x")

    def interrupted(*_: object) -> None:
        if not seen.is_set():
            seen.set()
            raise KeyboardInterrupt

    def interrupt() -> None:
        entered.wait(30)
        os.kill(os.getpid(), signal.SIGINT)
        while not seen.wait(0.1):  # one that comes just before a thread blocks does not wake it
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, interrupted)
    interrupter = threading.Thread(target=interrupt, daemon=True)
    interrupter.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            queue.sync.push(Note())
    finally:
        interrupter.join()
        signal.signal(signal.SIGINT, before)
    Slow.slow = False

    assert queue.sync.push(Note()).enqueued
    assert queue.sync.size() == 1


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


PRELUDE = """
import os, sys, threading
from queued import Job, Queue
class Note(Job):
    name = "note"
    text: str = ""
    async def handle(self): ...
queue = Queue(sys.argv[1])
"""


def size(url: str) -> int:
    async def ask() -> int:
        async with Queue(url) as queue:
            return await queue.size()

    return asyncio.run(ask())


@pytest.fixture(params=["valkey", "sqlite"])
def shared_url(request: pytest.FixtureRequest, server: CleanUrl, tmp_path: Path) -> str:
    if request.param == "valkey":
        return server()
    return f"sqlite:///{tmp_path}/queue.db"


def test_a_program_ends_by_itself_and_cleanly(shared_url: str) -> None:
    ran = run(f"{PRELUDE}queue.sync.push(Note()); queue.sync.bulk([Note()])", shared_url)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert size(shared_url) == 2


def test_a_program_that_ends_by_an_error_ends(shared_url: str) -> None:
    ran = run(f"{PRELUDE}queue.sync.push(Note()); raise SystemExit(3)", shared_url)

    assert (ran.returncode, ran.stderr) == (3, "")


def test_a_thread_may_push_after_the_main_thread_has_ended(shared_url: str) -> None:
    program = f"""{PRELUDE}
def work():
    threading.main_thread().join()
    queue.sync.push(Note())
queue.sync.push(Note())
threading.Thread(target=work).start()
"""
    ran = run(program, shared_url)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert size(shared_url) == 2


def test_a_handler_at_exit_may_push(shared_url: str) -> None:
    program = f"""{PRELUDE}
import atexit
queue.sync.push(Note())
atexit.register(lambda: queue.sync.push(Note()))
"""
    ran = run(program, shared_url)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert size(shared_url) == 2


def test_forked_processes_have_portals_of_their_own(shared_url: str) -> None:
    program = f"""{PRELUDE}
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
queue.sync.push(Note())
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        queue.sync.push(Note())
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
queue.sync.push(Note())
sys.exit(max(codes))
"""
    ran = run(program, shared_url)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert size(shared_url) == 5


def test_a_fork_while_the_portal_is_being_used_does_not_hang_the_child(shared_url: str) -> None:
    program = f"""{PRELUDE}
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
from queued.jobs import sync
queue.sync.push(Note())
sync._process.lock.acquire()  # as another thread might hold it
pid = os.fork()
if pid == 0:
    queue.sync.push(Note())
    os._exit(0)
sync._process.lock.release()
sys.exit(os.waitpid(pid, 0)[1])
"""
    ran = run(program, shared_url)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert size(shared_url) == 2


async def test_the_driver_is_closed_when_the_portal_ends() -> None:
    closed = threading.Event()

    class Closing(MemoryDriver):
        async def close(self) -> None:
            closed.set()

    register_driver("closing", Closing)
    queue = Queue("closing://x")
    portal = sync.Portal()
    portal.call(queue.push, Note())
    portal.close()

    assert closed.is_set()
    assert not portal.alive
    assert driver_for("closing://x") is not None
