"""The spans of a worker: what a run looks like in a trace, through real workers in this loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import threading
from types import SimpleNamespace

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from queued.daemon import logs
from queued.daemon.spec import LogSpec
from queued.daemon.worker import hooks as hooks_module
from queued.drivers.base import NewJob
from queued.drivers.memory import MemoryDriver
from queued.jobs.job import Job
from queued.jobs.outcome import Fail, Retry
from queued.jobs.queue import Queue
from queued.jobs.trace_context import TraceContext
from tests.unit.test_logs import as_json, output  # noqa: F401 - fixtures
from tests.unit.test_tracing import Raises, RaisesAtTheEnd
from tests.unit.traced import Traces, linked, tracing
from tests.unit.working import QUEUE, Shop, until

numbers = itertools.count()
seen: list = []
state = SimpleNamespace()


@pytest.fixture(autouse=True)
async def fresh():
    seen.clear()
    state.go = asyncio.Event()
    yield
    state.go.set()
    await asyncio.sleep(0)


@pytest.fixture
def traces():
    with tracing() as traces:
        yield traces


@pytest.fixture
async def queue(shop: Shop):
    """A producer whose jobs go to the shop."""
    url = f"memory://{__name__}-{next(numbers)}"
    shop.driver._store = MemoryDriver(url)._store
    producer = Queue(url)
    state.queue = producer
    yield producer
    await producer.close()


def current_span_id() -> int:
    return trace.get_current_span().get_span_context().span_id


class Note(Job):
    name = "test.traced_note"
    queue = QUEUE

    async def handle(self) -> None:
        seen.append(current_span_id())


class Plain(Note):
    name = "test.traced_plain"

    def handle(self) -> None:
        assert threading.current_thread() is not threading.main_thread()
        seen.append(current_span_id())


class Flaky(Note):
    name = "test.traced_flaky"
    retry_after = 0

    async def handle(self) -> None:
        if self.attempts == 1:
            raise ValueError("try redis://me:hunter2@host again")


class Breaks(Note):
    name = "test.traced_breaks"
    max_tries = 1
    why: str = "error"

    async def handle(self) -> None:
        if self.why == "fail":
            raise Fail("no such customer")
        raise KeyError("password=hunter2")

    async def failed(self, exception: Exception) -> None:
        seen.append(current_span_id())
        if self.why == "hook":
            raise OSError("password=hunter2")
        if self.why == "slow hook":
            await asyncio.sleep(3600)


class PlainHook(Breaks):
    name = "test.traced_plain_hook"

    def failed(self, exception: Exception) -> None:
        seen.append(current_span_id())


class Asks(Note):
    name = "test.traced_asks"

    async def handle(self) -> None:
        if self.attempts == 1:
            raise Retry("not yet", in_=0)


class Endless(Note):
    name = "test.traced_endless"
    max_tries = 1

    async def handle(self) -> None:
        seen.append("endless")
        await state.go.wait()


class Stubborn(Endless):
    name = "test.traced_stubborn"

    async def handle(self) -> None:
        seen.append("stubborn")
        while not state.go.is_set():
            try:
                await state.go.wait()
            except asyncio.CancelledError:
                continue


class Dispatches(Note):
    name = "test.traced_dispatches"

    async def handle(self) -> None:
        await state.queue.push(Note())


class Talks(Note):
    name = "test.traced_talks"

    async def handle(self) -> None:
        structlog.get_logger().info("outer")
        with trace.get_tracer("app").start_as_current_span("inner"):
            logging.getLogger("app").warning("inner")
        await asyncio.to_thread(structlog.get_logger().info, "thread")


async def test_a_run_is_a_child_of_its_dispatch(traces, queue, shop):
    receipt = await queue.push(Note())
    worker = await shop.clear()
    sent, run = traces.one(f"send {QUEUE}"), traces.one(f"process {QUEUE}")
    assert run.kind is SpanKind.CONSUMER
    assert run.context.trace_id == sent.context.trace_id
    assert run.parent.span_id == sent.context.span_id
    assert run.parent.is_remote
    assert linked(run) == [sent.context.span_id]
    assert run.status.status_code is StatusCode.UNSET
    assert dict(run.attributes) == {
        "messaging.system": "queued",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": QUEUE,
        "messaging.message.id": receipt.id,
        "messaging.client.id": f"{worker.spec.worker}@{socket.gethostname()}",
        "messaging.queued.job": "test.traced_note",
        "messaging.queued.attempt": 1,
        "messaging.queued.outcome": "succeeded",
    }
    assert seen == [run.context.span_id]


async def test_a_plain_handle_sees_its_span_in_its_thread(traces, queue, shop):
    await queue.push(Plain())
    await shop.clear()
    assert seen == [traces.one(f"process {QUEUE}").context.span_id]


async def test_each_of_many_runs_has_its_own(traces, queue, shop):
    await queue.bulk([Note() if n % 2 else Plain() for n in range(40)])
    await shop.clear()
    runs = traces.all(f"process {QUEUE}")
    assert sorted(seen) == sorted(run.context.span_id for run in runs)
    assert len(set(seen)) == 40


async def test_jobs_of_a_bulk_have_traces_of_their_own_with_a_link(traces, queue, shop):
    await queue.bulk([Note(), Note()])
    await shop.clear()
    sent, runs = traces.one(f"send {QUEUE}"), traces.all(f"process {QUEUE}")
    assert [linked(run) for run in runs] == [[sent.context.span_id]] * 2
    assert [run.parent for run in runs] == [None, None]
    assert len({span.context.trace_id for span in [sent, *runs]}) == 3


async def test_a_job_that_nobody_traced_begins_a_trace(traces, shop):
    await shop.push(Note())
    await shop.clear()
    run = traces.one(f"process {QUEUE}")
    assert run.parent is None
    assert linked(run) == []


async def test_a_context_of_zeros_is_none(traces, shop):
    zeros = TraceContext(f"00-{'0' * 32}-{'0' * 16}-01")
    (job_id,) = await shop.push(Note())
    job = (await shop.driver.find(job_id)).payload
    await shop.push_raw(zeros.in_job(NewJob("", job)).payload)
    await shop.clear()
    assert [run.parent for run in traces.all(f"process {QUEUE}")] == [None, None]


async def test_what_the_producer_did_not_sample_is_not_sampled_here(traces, queue, shop):
    unsampled = trace.SpanContext(7, 8, True, trace.TraceFlags(0))
    with trace.use_span(trace.NonRecordingSpan(unsampled)):
        await queue.push(Note())
    await shop.clear()
    assert traces.all() == []
    assert len(seen) == 1


async def test_a_retry_is_a_second_child_of_the_same_dispatch(traces, queue, shop):
    await queue.push(Flaky())
    await shop.clear()
    sent = traces.one(f"send {QUEUE}")
    first, second = traces.all(f"process {QUEUE}")
    assert {first.parent.span_id, second.parent.span_id} == {sent.context.span_id}
    assert first.attributes["messaging.queued.attempt"] == 1
    assert first.attributes["messaging.queued.outcome"] == "retried"
    assert first.attributes["error.type"] == "ValueError"
    assert first.status.status_code is StatusCode.ERROR
    assert first.status.description == "try redis://me:***@host again"
    (event,) = first.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "ValueError"
    assert event.attributes["exception.message"] == "try redis://me:***@host again"
    assert "in handle" in event.attributes["exception.stacktrace"]
    assert "hunter2" not in first.to_json()
    assert second.attributes["messaging.queued.attempt"] == 2
    assert second.attributes["messaging.queued.outcome"] == "succeeded"
    assert second.status.status_code is StatusCode.UNSET


async def test_a_retry_that_the_job_asks_for_is_no_error(traces, queue, shop):
    await queue.push(Asks())
    await shop.clear()
    first, second = traces.all(f"process {QUEUE}")
    assert first.attributes["messaging.queued.outcome"] == "retried"
    assert first.status.status_code is StatusCode.UNSET
    assert first.events == ()
    assert second.attributes["messaging.queued.outcome"] == "succeeded"


@pytest.mark.parametrize("kind", [Breaks, PlainHook])
async def test_failed_runs_in_the_trace_of_its_run(kind, traces, queue, shop):
    receipt = await queue.push(kind(why="fail"))
    async with shop.open():
        await until(lambda: traces.all(f"failed {QUEUE}"), "the hook's span")
    run, hook = traces.one(f"process {QUEUE}"), traces.one(f"failed {QUEUE}")
    assert run.attributes["messaging.queued.outcome"] == "failed"
    assert run.attributes["error.type"] == "queued.jobs.outcome.Fail"
    assert run.status.description == "no such customer"
    assert hook.kind is SpanKind.INTERNAL
    assert hook.parent.span_id == run.context.span_id
    assert hook.context.trace_id == run.context.trace_id
    assert hook.attributes["messaging.operation.name"] == "failed"
    assert hook.attributes["messaging.message.id"] == receipt.id
    assert hook.attributes["messaging.queued.job"] == kind.name
    assert hook.status.status_code is StatusCode.UNSET
    assert seen == [hook.context.span_id]


async def test_a_hook_that_raises_says_so(traces, queue, shop):
    await queue.push(Breaks(why="hook"))
    async with shop.open():
        await until(lambda: traces.all(f"failed {QUEUE}"), "the hook's span")
    hook = traces.one(f"failed {QUEUE}")
    assert hook.status.status_code is StatusCode.ERROR
    assert hook.attributes["error.type"] == "OSError"
    assert "hunter2" not in hook.to_json() + traces.one(f"process {QUEUE}").to_json()


async def test_a_hook_that_takes_too_long_says_so(traces, queue, shop):
    await queue.push(Breaks(why="slow hook"))
    async with shop.open() as worker:
        worker._hooks._limit = 0.01
        await until(lambda: traces.all(f"failed {QUEUE}"), "the hook's span")
    hook = traces.one(f"failed {QUEUE}")
    assert hook.attributes["error.type"] == "queued.errors.JobTimeout"


async def test_a_hook_that_is_left_to_another_worker_is_no_error(traces, queue, shop):
    await queue.push(Breaks(why="slow hook"))
    async with shop.open():
        await until(lambda: seen, "the hook to run")
    hook = traces.one(f"failed {QUEUE}")
    assert hook.attributes["messaging.queued.outcome"] == "released"
    assert hook.status.status_code is StatusCode.UNSET


async def test_a_hook_that_another_worker_runs_is_in_the_trace_of_the_dispatch(
    traces, queue, shop, monkeypatch
):
    monkeypatch.setattr(hooks_module.Hooks, "run", lambda *_: None)  # as if it had been killed
    monkeypatch.setattr("queued.jobs.outcome.HOOK_AFTER", 0.0)
    await queue.push(Breaks())
    async with shop.open():
        await until(lambda: traces.all(f"failed {QUEUE}"), "the hook's span")
    sent, hook = traces.one(f"send {QUEUE}"), traces.one(f"failed {QUEUE}")
    assert hook.parent.span_id == sent.context.span_id
    assert linked(hook) == [sent.context.span_id]


async def test_a_timeout_is_an_error(traces, queue, shop):
    await queue.push(Endless())
    await shop.clear(timeout=0.05)
    run = traces.one(f"process {QUEUE}")
    assert run.attributes["messaging.queued.outcome"] == "timed_out"
    assert run.attributes["error.type"] == "queued.errors.JobTimeout"
    assert "longer than its timeout" in run.status.description


async def test_what_is_handed_back_is_no_error(traces, queue, shop):
    await queue.push(Endless())
    async with shop.open() as worker:
        await until(lambda: seen, "the job to run")
        worker.life.quit()
        await worker.over
    run = traces.one(f"process {QUEUE}")
    assert run.attributes["messaging.queued.outcome"] == "released"
    assert run.status.status_code is StatusCode.UNSET


async def test_a_run_that_is_given_up_on_has_ended(traces, queue, shop, as_json):  # noqa: F811
    await queue.push(Stubborn())
    async with shop.open() as worker:
        await until(lambda: seen, "the job to run")
        worker.life.quit()
        await worker.over
    run = traces.one(f"process {QUEUE}")
    assert run.attributes["messaging.queued.outcome"] == "released"
    (line,) = [line for line in as_json.lines() if line["event"] == "job.released"]
    assert line["span_id"] == f"{run.context.span_id:016x}"


@pytest.mark.parametrize(
    ("raw", "error", "job"),
    [
        (b'{"v":1,"job":"test.traced_gone"}\n{}', "UnknownJob", "test.traced_gone"),
        (b"garbage", "CorruptPayload", "?"),
        (b'{"v":1,"job":"test.traced_note"}\n[]', "CorruptPayload", "test.traced_note"),
    ],
)
async def test_what_cannot_be_read_is_seen_too(raw, error, job, traces, shop):
    await shop.push_raw(raw)
    await shop.clear()
    run = traces.one(f"process {QUEUE}")
    assert run.attributes["messaging.queued.job"] == job
    assert run.attributes["messaging.queued.outcome"] == "failed"
    assert run.attributes["error.type"] == f"queued.errors.{error}"


async def test_what_a_job_dispatches_is_in_its_trace(traces, queue, shop):
    await queue.push(Dispatches())
    await shop.clear()
    await until(lambda: len(traces.all(f"process {QUEUE}")) == 2, "both jobs")
    first, second = traces.all(f"send {QUEUE}")
    run = next(
        one for one in traces.all() if one.attributes.get("messaging.queued.job") == Dispatches.name
    )
    assert second.parent.span_id == run.context.span_id
    assert {span.context.trace_id for span in traces.all()} == {first.context.trace_id}


async def test_lines_within_a_run_have_the_current_span(traces, queue, shop, as_json):  # noqa: F811
    await queue.push(Talks())
    await shop.clear()
    run, inner = traces.one(f"process {QUEUE}"), traces.one("inner")
    lines = {line["event"]: line for line in as_json.lines()}
    for event, span in (("outer", run), ("inner", inner), ("thread", run)):
        assert lines[event]["trace_id"] == f"{run.context.trace_id:032x}"
        assert lines[event]["span_id"] == f"{span.context.span_id:016x}"
    structlog.get_logger().info("outside")
    assert "trace_id" not in as_json.lines()[-1]


async def test_the_line_of_a_failure_has_the_ids_of_its_run(traces, queue, shop, as_json):  # noqa: F811
    await queue.push(Breaks(why="fail"))
    await shop.clear()
    run = traces.one(f"process {QUEUE}")
    (line,) = [line for line in as_json.lines() if line["event"] == "job.failed"]
    assert line["trace_id"] == f"{run.context.trace_id:032x}"
    assert line["span_id"] == f"{run.context.span_id:016x}"


async def test_a_terminal_has_no_room_for_ids(traces, output):  # noqa: F811
    logs.configure(LogSpec(format="console"), fd=output.writer)
    with traces.provider.get_tracer("app").start_as_current_span("here"):
        structlog.get_logger().info("said")
    text = output.text()
    assert "said" in text
    assert "trace_id" not in text


async def test_contexts_defeat_no_plan(traces, queue, shop):
    for _ in range(20):
        await queue.push(Note())
    worker = await shop.clear()
    assert len(worker._executor._plans) == 1
    assert len(traces.all(f"process {QUEUE}")) == 20


async def test_a_worker_that_does_not_trace_reads_over_them(queue, shop):
    with tracing():
        for _ in range(20):
            await queue.push(Note())
    worker = await shop.clear()
    assert len(worker._executor._plans) == 1
    assert seen == [0] * 20


@pytest.mark.parametrize("processor", [Raises, RaisesAtTheEnd])
async def test_a_broken_processor_costs_no_job(processor, queue, shop):
    traces = Traces()
    traces.provider.add_span_processor(processor())
    with tracing(traces.provider):
        await queue.push(Note())
        await queue.push(Breaks(why="fail"))
        await shop.clear()
    stats = await shop.stats()
    assert (stats.ready, stats.reserved, stats.failed) == (0, 0, 1)


class Opaque(trace.NonRecordingSpan):
    """A span of the user's that cannot say which it is."""

    def get_span_context(self):
        raise RuntimeError("get_span_context")


class OpaqueSpans(trace.TracerProvider, trace.Tracer):
    def get_tracer(self, *_, **__):
        return self

    def start_span(self, *_, **__):
        return Opaque(trace.INVALID_SPAN_CONTEXT)

    def start_as_current_span(self, *_, **__):
        raise NotImplementedError


async def test_a_broken_span_costs_neither_job_nor_worker_nor_line(queue, shop, as_json):  # noqa: F811
    with tracing(OpaqueSpans()):
        await queue.push(Breaks(why="fail"))
        await shop.clear()
    stats = await shop.stats()
    assert (stats.ready, stats.reserved, stats.failed) == (0, 0, 1)
    assert "job.failed" in {line["event"] for line in as_json.lines()}
