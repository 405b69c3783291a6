"""The producer, over real back-ends: what is acknowledged is there, and what is not is named."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import queued
from queued.drivers import driver_for, register_driver
from queued.drivers.base import MAX_BATCH, Driver, NewJob, State
from queued.drivers.memory import MemoryDriver
from queued.errors import ConfigError, DriverUnavailable, InvalidJob, PayloadTooLarge
from queued.jobs import payload
from queued.jobs.client import BATCH_BYTES, Clients, batches
from queued.jobs.ids import new_ids
from queued.jobs.job import Job
from queued.jobs.queue import Queue, Receipt, dispatch
from tests.contract.backends import BACKENDS, CleanUrl

SETTLED = 10.0
numbers = itertools.count()


class SendEmail(Job):
    queue = "emails"
    to: str

    async def handle(self) -> None: ...


class Note(Job):
    text: str = ""

    async def handle(self) -> None: ...


@pytest.fixture(scope="module", params=["memory", "valkey", "sqlite"])
def clean_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CleanUrl]:
    if request.param == "memory":  # its stores are the process's, and other suites number theirs
        yield lambda: f"memory://{__name__}-{next(numbers)}"
    else:
        yield from BACKENDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def url(clean_url: CleanUrl) -> str:
    return clean_url()


@pytest.fixture
async def queue(url: str) -> AsyncIterator[Queue]:
    async with Queue(url) as producer:
        yield producer


@pytest.fixture
async def driver(url: str) -> AsyncIterator[Driver]:
    opened = driver_for(url)
    await opened.open()
    yield opened
    await opened.close()


async def taken(driver: Driver, name: str, want: int = 1000) -> list[str]:
    """Return the ids that a worker would get, in order."""
    exchange = await driver.exchange(name, f"owner-{next(numbers)}", want=want, nonce=1)
    return [job.id for job in exchange.jobs]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SETTLED):
        while not condition():  # noqa: ASYNC110 - the next turn of the loop is what is waited for
            await asyncio.sleep(0)


# over every back-end


async def test_a_pushed_job_is_there_under_its_receipt(queue: Queue, driver: Driver) -> None:
    receipt = await queue.push(SendEmail(to="a@b.c"))

    stored = await driver.find(receipt.id, "emails")
    assert receipt.enqueued
    assert stored is not None
    assert payload.decode(stored.payload).to == "a@b.c"  # type: ignore[attr-defined]


async def test_the_queue_is_the_argument_then_the_class_then_default(queue: Queue) -> None:
    await queue.push(SendEmail(to="a"), queue="other")
    await queue.push(SendEmail(to="a"))
    await queue.push(Note())
    by_instance = Note()
    by_instance.queue = "mine"  # type: ignore[misc]
    await queue.push(by_instance)

    sizes = [await queue.size(name) for name in ("other", "emails", "default", "mine", "none")]
    assert sizes == [1, 1, 1, 1, 0]


async def test_one_instance_dispatched_again_is_another_job(queue: Queue) -> None:
    job = Note(text="x")
    receipts = [await queue.push(job) for _ in range(3)]

    assert len({receipt.id for receipt in receipts}) == 3
    assert await queue.size() == 3


async def test_the_same_id_is_enqueued_once(queue: Queue) -> None:
    receipts = [await queue.push(Note(), id="order-1") for _ in range(2)]
    at_once = await asyncio.gather(*(queue.push(Note(), id="order-2") for _ in range(3)))

    assert receipts == [Receipt("order-1", True), Receipt("order-1", False)]
    assert sorted(receipt.enqueued for receipt in at_once) == [False, False, True]
    assert await queue.size() == 2


@pytest.mark.parametrize("delay", [300, "5m", timedelta(minutes=5)])
async def test_later_schedules(queue: Queue, delay: Any) -> None:
    receipt = await queue.later(delay, Note())
    await queue.push(Note(), delay=delay)

    stats = await queue.stats()
    assert receipt.enqueued
    assert (stats.ready, stats.scheduled, await queue.size()) == (0, 2, 2)


async def test_stats_tell_states_and_ages(queue: Queue, driver: Driver) -> None:
    await queue.push(Note())
    await queue.push(Note())
    await taken(driver, "default", want=1)

    stats = await queue.stats("default")
    assert (stats.ready, stats.reserved, stats.failed) == (1, 1, 0)
    assert stats.oldest_ready_age_seconds >= 0


async def test_what_is_dispatched_at_once_keeps_its_order_and_receipts(
    queue: Queue, driver: Driver
) -> None:
    receipts = await asyncio.gather(*(queue.push(Note(text=str(n))) for n in range(300)))

    order = await taken(driver, "default")
    assert order == [receipt.id for receipt in receipts]


async def test_bulk_answers_in_the_order_given(queue: Queue, driver: Driver) -> None:
    jobs: list[Job] = [
        SendEmail(to=str(n)) if n % 3 == 0 else Note(text=str(n)) for n in range(2_500)
    ]
    receipts = await queue.bulk(jobs)

    assert len(receipts) == 2_500
    assert all(receipt.enqueued for receipt in receipts)
    expected = [receipt.id for n, receipt in enumerate(receipts) if n % 3]
    assert await taken(driver, "default") == expected[:1_000]
    for n in (0, 1_000, 2_499):
        stored = await driver.find(receipts[n].id)
        assert stored is not None
        assert vars(payload.decode(stored.payload)) == vars(jobs[n])


async def test_bulk_takes_a_queue_a_delay_a_generator_and_ids(queue: Queue) -> None:
    ids = new_ids(3)
    await queue.bulk((Note() for _ in range(3)), queue="later", delay="1h", ids=ids)
    again = await queue.bulk((Note() for _ in range(3)), queue="later", delay="1h", ids=ids)

    assert again == [Receipt(job_id, False) for job_id in ids]
    assert (await queue.stats("later")).scheduled == 3
    assert await queue.bulk([]) == []


async def test_bulk_enqueues_nothing_if_one_is_wrong(queue: Queue) -> None:
    jobs: list[Job] = [Note() for _ in range(1_500)]
    jobs[1_200] = SendEmail(to=3)  # type: ignore[arg-type]

    with pytest.raises(InvalidJob, match=r"^jobs\[1200\]: SendEmail\.to: .*got int"):
        await queue.bulk(jobs)
    assert await queue.size() == 0


async def test_a_wrong_job_is_refused_before_anything_is_sent(queue: Queue) -> None:
    with pytest.raises(InvalidJob, match=r"SendEmail\.to"):
        await queue.push(SendEmail(to=3))  # type: ignore[arg-type]
    with pytest.raises(PayloadTooLarge):
        await queue.push(SendEmail(to="x" * 2**21))
    assert await queue.size("emails") == 0


async def test_dispatch_inside_a_running_job_uses_the_same_client(queue: Queue) -> None:
    class Outer(Job):
        async def handle(self) -> None:
            await queue.push(Note(text="inner"))

    await queue.push(Outer())
    before = len(queue._clients._by_loop)
    await Outer().handle()

    assert len(queue._clients._by_loop) == before == 1
    assert await queue.size() == 2


with_connections = pytest.mark.parametrize("clean_url", ["valkey", "sqlite"], indirect=True)


@with_connections
def test_a_loop_that_ends_closes_its_connection_and_the_next_opens_another(url: str) -> None:
    queue = Queue(url)
    threads = threading.active_count()
    ids = [asyncio.run(queue.push(Note())).id for _ in range(3)]

    assert asyncio.run(queue.size()) == 3
    assert len(set(ids)) == 3
    assert len(queue._clients._by_loop) == 1  # the others went when their loops were closed
    deadline = time.monotonic() + SETTLED
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads  # one of an earlier test may have ended


def test_loops_in_many_threads_share_a_producer(url: str) -> None:
    queue = Queue(url)
    failures: list[BaseException] = []

    async def push_many() -> None:
        await asyncio.gather(*(queue.push(Note()) for _ in range(50)))

    def run() -> None:
        try:
            asyncio.run(push_many())
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert asyncio.run(queue.size()) == 200


async def test_what_is_dispatched_while_the_driver_opens_stays_in_order(url: str) -> None:
    queue = Queue(url)
    pushes = []
    for number in range(200):
        pushes.append(asyncio.create_task(queue.push(Note(text=str(number)))))
        await asyncio.sleep(0)
    ids = [receipt.id for receipt in await asyncio.gather(*pushes)]
    await queue.close()

    driver = driver_for(url)
    await driver.open()
    got = await driver.exchange("default", "me", want=200, nonce=1)
    await driver.close()
    assert [job.id for job in got.jobs] == ids


def test_loops_may_come_and_go_in_other_threads_meanwhile() -> None:
    clients = Clients()

    class Loop(asyncio.SelectorEventLoop):
        """Another thread's client comes while it is asked."""

        def is_closed(self) -> bool:
            if threading.current_thread() is threading.main_thread() and not others:
                others.append(asyncio.new_event_loop())
                thread = threading.Thread(target=use, args=(others[0],))
                thread.start()
                thread.join()
            return super().is_closed()

    async def current() -> None:
        clients.current("memory://")

    def use(loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(current())

    others: list[asyncio.AbstractEventLoop] = [asyncio.new_event_loop()]
    with contextlib.closing(Loop()) as first:
        use(first)
        others.clear()
        asyncio.run(current())
    others[0].close()


def push_in_child(queue: Queue) -> None:
    asyncio.run(queue.push(Note(text="child")))
    os._exit(0)


@with_connections
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_a_forked_process_has_its_own_connection(queue: Queue, url: str) -> None:
    await queue.push(Note(text="before"))

    def fork() -> int | None:
        child = multiprocessing.get_context("fork").Process(target=push_in_child, args=(queue,))
        child.start()
        child.join(60)
        return child.exitcode

    assert await asyncio.to_thread(fork) == 0
    await queue.push(Note(text="after"))
    assert await queue.size() == 3


async def test_closing_waits_for_what_is_on_its_way_and_later_uses_open_again(url: str) -> None:
    queue = Queue(url)
    pushes = [asyncio.create_task(queue.push(Note())) for _ in range(5)]
    await asyncio.sleep(0)
    await queue.close()

    assert [receipt.enqueued for receipt in await asyncio.gather(*pushes)] == [True] * 5
    await queue.push(Note())
    await queue.close()
    await queue.close()


# names, numbers and addresses


@pytest.fixture
async def memory() -> AsyncIterator[Queue]:
    async with Queue(f"memory://producer-{next(numbers)}") as producer:
        yield producer


@pytest.mark.parametrize("name", ["no spaces", "", "x" * 65, 3, "a\nb"])
async def test_a_queue_has_a_proper_name(memory: Queue, name: Any) -> None:
    if name != "":  # as an argument of push, nothing is as good as none
        with pytest.raises(InvalidJob, match="a queue's name"):
            await memory.push(Note(), queue=name)
    with pytest.raises(InvalidJob, match="a queue's name"):
        await memory.size(name)


@pytest.mark.parametrize("job_id", ["", "a b", "x" * 65, 7, "-x"])
async def test_an_id_has_a_proper_form(memory: Queue, job_id: Any) -> None:
    with pytest.raises(InvalidJob, match="expected an id"):
        await memory.push(Note(), id=job_id)
    with pytest.raises(InvalidJob, match=r"jobs\[1\]: expected an id"):
        await memory.bulk([Note(), Note()], ids=["fine", job_id])


@pytest.mark.parametrize("delay", [-1, "soon", float("nan"), timedelta(seconds=-1), [1]])
async def test_a_delay_is_a_duration(memory: Queue, delay: Any) -> None:
    with pytest.raises(InvalidJob, match="delay: "):
        await memory.push(Note(), delay=delay)


async def test_bulk_wants_as_many_ids_as_jobs(memory: Queue) -> None:
    with pytest.raises(InvalidJob, match="1 jobs and 2 ids"):
        await memory.bulk([Note()], ids=["a", "b"])


async def test_a_class_is_no_instance(memory: Queue) -> None:
    with pytest.raises(InvalidJob, match="expected an instance"):
        await memory.push(Note)  # type: ignore[arg-type]


async def test_an_unknown_scheme_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no driver"):
        await Queue("nosuch://host").push(Note())
    with pytest.raises(ConfigError, match="expected a URL"):
        Queue("localhost:6379")


async def test_connecting_elsewhere_takes_effect_at_once() -> None:
    first, second = (f"memory://producer-{next(numbers)}" for _ in range(2))
    queue = Queue(first)
    await queue.push(Note())
    queue.connect(second)

    assert await queue.size() == 0
    queue.connect(first)
    assert await queue.size() == 1
    await queue.close()


async def test_a_worker_lends_its_back_end_unless_the_program_named_one() -> None:
    own, worker = (f"memory://producer-{next(numbers)}" for _ in range(2))
    queue = Queue()
    queue.fall_back_to(worker)
    await queue.push(Note())
    assert await queue.size() == 1

    queue.connect(own)
    queue.fall_back_to(worker)
    assert await queue.size() == 0
    await queue.close()


async def test_the_program_s_producer_serves_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_CONNECTION", f"memory://producer-{next(numbers)}")
    monkeypatch.setattr(queued.queue, "_url", None)
    monkeypatch.setattr(queued.queue, "_found", None)
    receipt = await dispatch(Note(), queue="q", id="one")

    assert receipt == Receipt("one", True)
    assert await queued.queue.size("q") == 1
    await queued.queue.close()


async def test_nothing_configured_says_the_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUEUE_CONNECTION", raising=False)
    monkeypatch.delenv("QUEUED_CONFIG", raising=False)

    with pytest.raises(ConfigError, match="QUEUE_CONNECTION"):
        await Queue().push(Note())


# a back-end that fails


class Failing(MemoryDriver):
    """The memory driver behind a switch: real answers until it says otherwise."""

    refuse_after: int | None = None
    refused_opens = 0
    batches: list[int]
    gate: asyncio.Event | None = None
    error: Exception = DriverUnavailable("the server is down")
    closed = 0

    async def open(self) -> None:
        if type(self).refused_opens:
            type(self).refused_opens -= 1
            raise DriverUnavailable("cannot connect")

    async def close(self) -> None:
        type(self).closed += 1

    async def enqueue(self, queue: str, jobs: Any) -> list[bool]:
        kind = type(self)
        if kind.gate is not None:
            await kind.gate.wait()
        if kind.refuse_after is not None and len(kind.batches) >= kind.refuse_after:
            raise kind.error
        kind.batches.append(len(jobs))
        return await super().enqueue(queue, jobs)


@pytest.fixture
async def failing() -> AsyncIterator[tuple[Queue, type[Failing]]]:
    scheme = f"failing{next(numbers)}"
    kind = type("FailingHere", (Failing,), {"batches": []})
    register_driver(scheme, kind)
    queue = Queue(f"{scheme}://{scheme}")
    yield queue, kind
    await queue.close()


async def test_each_caller_is_told_of_its_own_job(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.refuse_after = 0
    ids = new_ids(5)
    errors = await asyncio.gather(
        *(queue.push(Note(), id=job_id) for job_id in ids), return_exceptions=True
    )

    assert [type(error) for error in errors] == [DriverUnavailable] * 5
    assert [error.ids for error in errors if isinstance(error, DriverUnavailable)] == [
        (job_id,) for job_id in ids
    ]
    assert "the server is down" in str(errors[0])
    assert ids[0] in str(errors[0])


async def test_one_failing_batch_does_not_touch_the_others(
    failing: tuple[Queue, type[Failing]],
) -> None:
    queue, kind = failing
    kind.refuse_after = 1
    results = await asyncio.gather(
        *(queue.push(Note(), queue=f"q{n % 2}") for n in range(10)), return_exceptions=True
    )

    assert [isinstance(result, Receipt) for result in results] == [True, False] * 5


async def test_any_error_reaches_each_caller(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.refuse_after, kind.error = 0, ValueError("a bug in a driver")
    errors = await asyncio.gather(*(queue.push(Note()) for _ in range(3)), return_exceptions=True)

    assert [str(error) for error in errors] == ["a bug in a driver"] * 3


async def test_a_driver_that_answers_too_little_leaves_nobody_waiting(
    failing: tuple[Queue, type[Failing]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def enqueue(self: Failing, queue: str, jobs: Any) -> list[bool]:
        return [True]

    queue, kind = failing
    monkeypatch.setattr(kind, "enqueue", enqueue)
    results = await asyncio.gather(*(queue.push(Note()) for _ in range(2)), return_exceptions=True)

    assert [str(error) for error in results] == ["memory gave 1 answers for 2 jobs"] * 2


async def test_closing_waits_for_a_bulk_too(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.gate = asyncio.Event()
    bulk = asyncio.create_task(queue.bulk([Note()]))
    await until(lambda: bool(queue._clients._by_loop))
    client = queue._client()
    await until(lambda: bool(client._sending))
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    kind.gate.set()

    assert (await bulk)[0].enqueued
    await closing
    assert kind.closed == 1


async def test_two_hundred_at_once_are_one_round_trip(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    await asyncio.gather(*(queue.push(Note()) for _ in range(200)))

    assert kind.batches == [200]


async def test_more_than_a_batch_is_cut(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    await asyncio.gather(*(queue.push(Note()) for _ in range(2_100)))

    assert sorted(kind.batches) == [100, 1_000, 1_000]


async def test_a_caller_that_is_cancelled_takes_nobody_with_it(
    failing: tuple[Queue, type[Failing]],
) -> None:
    queue, kind = failing
    kind.gate = asyncio.Event()
    pushes = [asyncio.create_task(queue.push(Note())) for _ in range(3)]
    before_the_turn_ends = asyncio.create_task(queue.push(Note(), id="never"))
    await until(lambda: bool(queue._clients._by_loop))
    before_the_turn_ends.cancel()
    await until(lambda: bool(next(iter(queue._clients._by_loop.values()))._sending))
    pushes[1].cancel()
    kind.gate.set()
    results = await asyncio.gather(*pushes, before_the_turn_ends, return_exceptions=True)

    assert isinstance(results[0], Receipt)
    assert isinstance(results[1], asyncio.CancelledError)
    assert isinstance(results[2], Receipt)
    assert isinstance(results[3], asyncio.CancelledError)


async def test_a_failed_open_is_tried_again_by_the_next_call(
    failing: tuple[Queue, type[Failing]],
) -> None:
    queue, kind = failing
    kind.refused_opens = 1
    errors = await asyncio.gather(
        *(queue.push(Note(), id=f"first-{n}") for n in range(2)), return_exceptions=True
    )

    assert [error.ids for error in errors if isinstance(error, DriverUnavailable)] == [
        ("first-0",),
        ("first-1",),
    ]
    assert kind.closed == 1  # what had been opened half
    assert (await queue.push(Note())).enqueued


async def test_size_says_unreachable_and_never_zero(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.refused_opens = 1

    with pytest.raises(DriverUnavailable, match="cannot connect"):
        await queue.size()
    assert await queue.size() == 0


async def test_bulk_names_what_was_not_acknowledged(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    kind.refuse_after = 2
    ids = new_ids(2_500)
    jobs = [Note() for _ in ids]

    with pytest.raises(
        DriverUnavailable, match=r"down; 2000 of 2500 jobs were acknowledged; 500 jobs may have"
    ) as caught:
        await queue.bulk(jobs, ids=ids)
    assert caught.value.ids == tuple(ids[2_000:])

    kind.refuse_after = None
    again = await queue.bulk(jobs, ids=ids)
    assert [receipt.enqueued for receipt in again] == [False] * 2_000 + [True] * 500


async def test_a_driver_is_closed_with_its_queue(failing: tuple[Queue, type[Failing]]) -> None:
    queue, kind = failing
    await queue.push(Note())
    await queue.close()

    assert kind.closed == 1


async def test_the_driver_runs_in_a_context_of_its_own(
    failing: tuple[Queue, type[Failing]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextvars

    job_id = contextvars.ContextVar("job_id", default="none")
    seen: list[str] = []
    queue, kind = failing

    async def enqueue(self: Failing, queue: str, jobs: Any) -> list[bool]:
        seen.append(job_id.get())
        return [True for _ in jobs]

    monkeypatch.setattr(kind, "enqueue", enqueue)
    job_id.set("first")
    await queue.push(Note())

    assert seen == ["none"]


# the module


def test_importing_queued_is_light() -> None:
    program = (
        "import sys, queued;"
        "heavy = {'pydantic', 'sqlalchemy', 'redis', 'yaml', 'uvloop', 'queued.daemon',"
        " 'queued.config'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert ran.stdout == "[]\n"


def test_public_names() -> None:
    assert set(queued.__all__) >= {
        "Job", "dispatch", "queue", "Queue", "Receipt", "Retry", "Fail", "register_driver", "errors"
    }  # fmt: skip
    assert all(hasattr(queued, name) for name in queued.__all__)
    assert isinstance(queued.queue, Queue)


async def test_the_guide_s_samples_work_unchanged(memory: Queue) -> None:
    queue = memory
    handled: list[dict[str, Any]] = []

    class SendNotificationJob(Job):
        async def handle(self) -> None:
            handled.append({"user_id": self.user_id, "try": self.attempts, "id": self.job_id})  # type: ignore[attr-defined]

    jobs: list[Job] = []
    for user_id in range(3):
        job = SendNotificationJob()
        job.user_id = user_id  # type: ignore[attr-defined]
        jobs.append(job)
    await queue.bulk(jobs)
    assert await queue.size("default") == 3

    driver = await queue._client().driver()
    exchange = await driver.exchange("default", "worker", want=3, nonce=1)
    for reservation in exchange.jobs:
        again = payload.decode(reservation.payload)
        again.job_id, again.attempts = reservation.id, 1
        await again.handle()

    assert [run["user_id"] for run in handled] == [0, 1, 2]
    assert (await driver.stats(["default"]))["default"].reserved == 3


async def test_a_stored_payload_is_what_the_driver_was_given(memory: Queue) -> None:
    receipt = await memory.push(Note(text="é"))
    driver = await memory._client().driver()
    stored = await driver.find(receipt.id)

    assert stored is not None
    assert stored.state is State.READY
    assert json.loads(stored.payload.split(b"\n")[1]) == {"text": "é"}
    assert NewJob("x", b"").delay == 0


def test_batches_are_bounded_in_number_and_in_bytes() -> None:
    many = range(2 * MAX_BATCH + 1)
    assert [len(batch) for batch in batches(many, [1] * len(many))] == [MAX_BATCH, MAX_BATCH, 1]
    half = BATCH_BYTES // 2
    assert list(batches("abc", [half, half, half])) == ["ab", "c"]
    assert list(batches("abc", [half, half + 1, half])) == ["a", "b", "c"]
    assert list(batches("abc", [BATCH_BYTES + 1, 1, 1])) == ["a", "bc"]


async def test_a_bulk_of_large_jobs_arrives_whole_and_in_order(queue: Queue) -> None:
    receipts = await queue.bulk([Note(text="x" * 900_000) for _ in range(40)])

    assert all(receipt.enqueued for receipt in receipts)
    assert await queue.size() == 40
