"""What becomes of a job that runs, whatever it does."""

import asyncio
import contextvars
import functools
import json
import threading
import time
from types import SimpleNamespace

import pytest
import structlog

from queued.daemon.scoreboard import SlotState
from queued.daemon.spec import LogSpec
from queued.drivers.base import Counts
from queued.errors import CorruptPayload, UnknownJob
from queued.jobs import outcome
from queued.jobs.job import Job
from tests.unit.working import QUEUE, counted, observed, until

seen: list = []
"""What jobs tell the test."""


@pytest.fixture(autouse=True)
def fresh():
    seen.clear()
    state.go = asyncio.Event()  # of this test's loop


class Note(Job):
    name = "test.note"
    text: str = ""

    async def handle(self) -> None:
        seen.append((self.job_id, self.attempts, self.text))


class Plain(Job):
    name = "test.plain"

    def handle(self) -> None:
        seen.append(threading.current_thread().name)


class Raises(Job):
    name = "test.raises"
    kind: str

    async def handle(self) -> None:
        seen.append(self.attempts)
        error = ERRORS[self.kind]()
        raise error


class PlainRaises(Job):
    name = "test.plain_raises"
    kind: str

    def handle(self) -> None:
        seen.append(self.attempts)
        error = ERRORS[self.kind]()
        raise error


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def several() -> BaseException:
    return BaseExceptionGroup("several", [ValueError("one"), KeyboardInterrupt()])


ERRORS = {
    "error": lambda: ValueError("wrong"),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
    "stop": StopIteration,
    "timeout": TimeoutError,
    "group": several,
    "unprintable": Unprintable,
    "unknown job": lambda: UnknownJob("it looked one up"),
    "corrupt payload": lambda: CorruptPayload("it read one"),
}


async def test_a_job_runs_once_and_is_gone(shop):
    [one, two] = await shop.push(Note(text="a"), Note(text="b"))
    worker = await shop.clear()
    assert sorted(seen) == [(one, 1, "a"), (two, 1, "b")]
    assert await shop.driver.find(one) is None
    assert counted(worker, "attempts_total", job_class="test.note", outcome="succeeded") == 2
    assert observed(worker, "job_run_seconds", job_class="test.note") == 2
    assert observed(worker, "job_wait_seconds", queue=QUEUE) == 2
    assert observed(worker, "job_end_to_end_seconds", queue=QUEUE) == 2
    assert worker.exit_code == 0


async def test_a_plain_function_runs_in_a_thread_of_the_worker(shop):
    await shop.push(Plain())
    await shop.clear()
    assert seen[0].startswith("job")


class ReturnsCoroutine(Job):
    name = "test.returns_coroutine"

    def handle(self):
        async def inner() -> None:
            await asyncio.sleep(0)
            seen.append(threading.current_thread() is threading.main_thread())

        return inner()


class Decorated(Job):
    name = "test.decorated"

    async def _work(self) -> None:
        seen.append("worked")

    handle = functools.partialmethod(_work)


@pytest.mark.parametrize("job", [ReturnsCoroutine(), Decorated()], ids=["plain", "partial"])
async def test_a_plain_function_that_returns_a_coroutine_is_awaited(shop, job):
    await shop.push(job)
    await shop.clear()
    assert seen
    assert seen[0]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("make", [Raises, PlainRaises])
async def test_whatever_a_job_raises_fails_its_attempt_and_the_worker_lives(shop, make, kind):
    [job_id, _] = await shop.push(make(kind=kind), Note())
    worker = await shop.clear(max_tries=2, retry_after=0)
    assert sorted(one for one in seen if isinstance(one, int)) == [1, 2]
    assert len(seen) == 3
    info = await shop.driver.find(job_id)
    assert info.counts == Counts(errors=2)
    assert info.failed
    record = json.loads(info.failed.record)
    assert record["reason"] == "max_tries"
    assert record["worker"] == f"{QUEUE}/1"
    assert len(info.history.splitlines()) == 2
    name = make.__queued__.name
    assert counted(worker, "attempts_total", job_class=name, outcome="retried") == 1
    assert counted(worker, "attempts_total", job_class=name, outcome="failed") == 1


async def test_the_traceback_begins_in_the_users_own_code(shop):
    await shop.push(PlainRaises(kind="error"))
    await shop.clear(max_tries=1)
    [failed] = await shop.driver.failed(QUEUE)
    trace = json.loads(failed.record)["traceback"]
    assert "ValueError: wrong" in trace
    assert "daemon/worker/executor.py" not in trace
    assert "threads.py" not in trace


class Wishes(Job):
    name = "test.wishes"
    wish: str

    async def handle(self) -> None:
        if self.wish == "retry":
            raise outcome.Retry("not yet", in_=3600)
        raise outcome.Fail("never")


async def test_a_job_may_ask_for_another_try_at_its_own_time(shop):
    [job_id] = await shop.push(Wishes(wish="retry"))
    worker = await shop.clear()
    info = await shop.driver.find(job_id)
    assert info.due_at > time.time() + 3000
    assert counted(worker, "job_errors_total") == 0


async def test_a_job_may_say_that_it_will_never_work(shop):
    [job_id] = await shop.push(Wishes(wish="fail"))
    await shop.clear(max_tries=5)
    info = await shop.driver.find(job_id)
    assert json.loads(info.failed.record)["reason"] == "fail"
    assert info.counts.tries == 1


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"v":1,"job":"test.nobody"}\n{}', "unknown_job"),
        (b'{"v":1,"job":"test.note"}\n{"text":3}', "corrupt_payload"),
        (b'{"v":1,"job":"test.note"}', "corrupt_payload"),
        (b"\x00garbage", "corrupt_payload"),
        (b"", "corrupt_payload"),
    ],
)
async def test_what_cannot_be_read_fails_at_once_and_is_kept(shop, payload, reason):
    [job_id] = await shop.push_raw(payload)
    worker = await shop.clear(max_tries=5)
    info = await shop.driver.find(job_id)
    assert json.loads(info.failed.record)["reason"] == reason
    assert info.payload == payload
    assert counted(worker, "attempts_total", outcome="failed") == 1
    assert counted(worker, "attempts_total", job_class="test.nobody") == 0


class Legacy(Job):
    name = "test.legacy"

    def __init__(self) -> None:
        super().__init__()
        self.user_id = None
        seen.append("made")

    async def handle(self) -> None:
        seen.append(self.user_id)
        self.user_id = "changed"


async def test_each_attempt_has_a_fresh_instance(shop):
    job = Legacy()
    job.user_id = 7
    await shop.push(job, job)
    seen.clear()
    await shop.clear()
    assert seen.count("made") == 2
    assert seen.count(7) == 2


leaky: contextvars.ContextVar[str] = contextvars.ContextVar("leaky", default="clean")


class Leaks(Job):
    name = "test.leaks"

    async def handle(self) -> None:
        seen.append(leaky.get())
        seen.append(structlog.contextvars.get_contextvars().get("mine"))
        leaky.set("dirty")
        structlog.contextvars.bind_contextvars(mine="dirty")
        asyncio.current_task().cancel()


async def test_neither_context_nor_cancellation_leaks_into_another_job(shop):
    await shop.push(*[Leaks() for _ in range(5)])
    await shop.clear(concurrency=1, max_tries=1)
    assert seen == ["clean", None] * 5


class Logs(Job):
    name = "test.logs"
    plain: bool = False

    async def handle(self) -> None:
        await asyncio.sleep(0)
        seen.append(structlog.contextvars.get_contextvars())
        await asyncio.to_thread(
            lambda: seen.append(structlog.contextvars.get_contextvars()),
        )


class PlainLogs(Job):
    name = "test.plain_logs"

    def handle(self) -> None:
        seen.append(structlog.contextvars.get_contextvars())


@pytest.mark.parametrize("job", [Logs(), PlainLogs()], ids=["async", "plain"])
async def test_the_context_of_a_run_names_job_and_attempt(shop, job):
    [job_id] = await shop.push(job)
    await shop.clear()
    expected = {"job_id": job_id, "job": type(job).__queued__.name, "attempt": 1, "queue": QUEUE}
    assert seen
    assert all(found == expected for found in seen)


class Looks(Job):
    """RouteMQ's style, so that its constructor is code of the user's that runs at decoding."""

    name = "test.looks"

    def __init__(self) -> None:
        super().__init__()
        if boards:
            seen.append([slot.state for slot in boards[0].read()])

    async def handle(self) -> None:
        [slot] = boards[0].read()
        seen.append(slot)
        raise ValueError("x")


boards: list = []


async def test_the_scoreboard_is_told_before_and_after_any_of_the_users_code(shop):
    [job_id] = await shop.push(Looks())
    async with shop.open(max_tries=3, retry_after=9, timeout=60):
        boards.append(shop.board)
        await until(lambda: len(seen) == 2, "the run")
        at_decoding, slot = seen
        assert at_decoding == [SlotState.RUNNING]
        assert slot.job_id == job_id
        assert slot.job == "test.looks"
        assert slot.max_tries == 3
        assert slot.retry_in == 9
        assert slot.deadline - slot.started == pytest.approx(60)
        await until(lambda: shop.board.settled == 1, "its settlement")
        assert shop.board.read() == []
        assert shop.board.began == 1
    boards.clear()


class Waits(Job):
    name = "test.waits"
    fails: bool = False

    async def handle(self) -> None:
        seen.append(self.job_id)
        await state.go.wait()
        if self.fails:
            raise ValueError("wrong")


state = SimpleNamespace()


async def test_a_finished_job_stands_on_the_scoreboard_until_it_is_settled(shop):
    ids = await shop.push(Waits(), Waits(fails=True))
    async with shop.open(max_tries=1):
        await until(lambda: len(seen) == 2, "both runs")
        shop.driver.down = True
        state.go.set()
        await until(
            lambda: (
                {slot.state for slot in shop.board.read()}
                == {SlotState.FINISHED_OK, SlotState.FINISHED_ERROR}
            ),
            "both ends",
        )
        assert {slot.job_id for slot in shop.board.read()} == set(ids)
        assert shop.board.settled == 0
        shop.driver.down = False
        await until(lambda: shop.board.settled == 2, "the settlements")
        assert shop.board.read() == []


async def test_slots_are_used_again(shop):
    await shop.push(*[Note() for _ in range(50)])
    worker = await shop.clear(concurrency=3)
    assert len(seen) == 50
    assert shop.board.settled == 50
    assert worker.exit_code == 0


class Together(Job):
    name = "test.together"

    async def handle(self) -> None:
        seen.append(1)
        running.append(1)
        peak.append(len(running))
        await asyncio.sleep(0.001)
        running.pop()


running: list = []
peak: list = []


async def test_no_more_than_concurrency_run_at_a_time(shop):
    await shop.push(*[Together() for _ in range(40)])
    await shop.clear(concurrency=4)
    assert len(seen) == 40
    assert max(peak) == 4


async def test_a_failed_attempt_is_one_line_with_its_traceback_and_a_success_is_none(shop):
    await shop.push(Note(), Raises(kind="error"))
    with structlog.testing.capture_logs() as lines:
        await shop.clear(max_tries=1)
    lines = [line for line in lines if line["log_level"] != "debug"]
    [line] = lines
    assert line["event"] == "job.failed"
    assert line["log_level"] == "error"
    assert line["job"] == "test.raises"
    assert line["error"] == "ValueError: wrong"
    assert isinstance(line["exc_info"], ValueError)


async def test_all_attempts_are_logged_when_that_is_wanted(shop):
    await shop.push(Note())
    with structlog.testing.capture_logs() as lines:
        await shop.clear(log=LogSpec(jobs="all"))
    assert [line["event"] for line in lines if line["log_level"] == "info"] == ["job.succeeded"]


async def test_errors_are_counted_by_kind_the_first_ten_apart(shop):
    kinds = [type(f"Error{number}", (Exception,), {}) for number in range(12)]
    for number, kind in enumerate(kinds):
        ERRORS[f"kind{number}"] = kind
    await shop.push(*[Raises(kind=f"kind{number}") for number in range(12)])
    worker = await shop.clear(max_tries=1, concurrency=1)
    assert counted(worker, "job_errors_total", error="Error9") == 1
    assert counted(worker, "job_errors_total", error="Error10") == 0
    assert counted(worker, "job_errors_total", error="other") == 2
    assert counted(worker, "dropped_labelsets_total") == 2
