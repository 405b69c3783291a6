"""The producer's spans, and that a program which does not trace knows nothing of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from queued import batch, chain
from queued.drivers import register_driver
from queued.drivers.base import Ack
from queued.drivers.memory import MemoryDriver
from queued.drivers.sequel import Parcel, Sequel
from queued.errors import DriverUnavailable, InvalidJob
from queued.jobs import tracing as gate
from queued.jobs.job import Job
from queued.jobs.queue import Queue
from queued.jobs.trace_context import TraceContext
from tests.unit.traced import Traces, tracing

numbers = itertools.count()


class Mail(Job):
    queue = "emails"
    to: str

    async def handle(self) -> None: ...


class Other(Job):
    async def handle(self) -> None: ...


@pytest.fixture
def traces():
    with tracing() as traces:
        yield traces


@pytest.fixture
async def queue():
    producer = Queue(f"memory://{__name__}-{next(numbers)}")
    yield producer
    producer.sync.close()
    await producer.close()


async def context_of(queue: Queue, job_id: str, name: str = "emails") -> TraceContext | None:
    info = await (await queue._client().driver()).find(job_id)
    assert info
    assert info.queue == name
    return TraceContext.of(info.payload)


def traceparent(span) -> str:
    context = span.context
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


async def test_a_dispatch_is_a_span_whose_context_goes_with_the_job(traces, queue):
    with traces.provider.get_tracer("app").start_as_current_span("request") as request:
        receipt = await queue.push(Mail(to="a@b.c"))
    span = traces.one("send emails")
    assert span.kind is SpanKind.PRODUCER
    assert span.parent.span_id == request.get_span_context().span_id
    assert dict(span.attributes) == {
        "messaging.system": "queued",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "emails",
        "messaging.message.id": receipt.id,
        "server.address": queue._url.removeprefix("memory://"),
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope.name == "queued"
    assert await context_of(queue, receipt.id) == TraceContext(traceparent(span))


async def test_without_a_current_span_a_dispatch_begins_a_trace(traces, queue):
    receipt = await queue.later(5, Other())
    span = traces.one("send default")
    assert span.parent is None
    assert await context_of(queue, receipt.id, "default") == TraceContext(traceparent(span))


async def test_dispatches_of_one_turn_have_each_their_own(traces, queue):
    receipts = await asyncio.gather(*(queue.push(Mail(to="a@b.c")) for _ in range(3)))
    spans = {span.attributes["messaging.message.id"]: span for span in traces.all("send emails")}
    for receipt in receipts:
        sent = TraceContext(traceparent(spans[receipt.id]))
        assert await context_of(queue, receipt.id) == sent


async def test_a_tracestate_travels(traces, queue):
    state = trace.TraceState([("vendor", "1:2"), ("other", "x")])
    remote = trace.SpanContext(1, 2, True, trace.TraceFlags(1), state)
    with trace.use_span(trace.NonRecordingSpan(remote)):
        receipt = await queue.push(Mail(to="a@b.c"))
    assert (await context_of(queue, receipt.id)).tracestate == "vendor=1:2,other=x"


async def test_a_bulk_is_one_span_that_its_jobs_link_to(traces, queue):
    receipts = await queue.bulk([Mail(to=f"{n}@b.c") for n in range(2_500)])
    span = traces.one("send emails")
    assert span.kind is SpanKind.PRODUCER
    assert span.attributes["messaging.batch.message_count"] == 2_500
    assert "messaging.message.id" not in span.attributes
    for receipt in (receipts[0], receipts[-1]):
        sent = TraceContext(traceparent(span), link=True)
        assert await context_of(queue, receipt.id) == sent


async def test_a_bulk_to_several_queues_names_none(traces, queue):
    await queue.bulk([Mail(to="a@b.c"), Other()])
    span = traces.one("send")
    assert "messaging.destination.name" not in span.attributes


async def test_every_job_of_a_chain_and_a_batch_links_to_its_dispatch(traces, queue):
    chained = await chain([Mail(to="a@b.c"), Other()]).catch(Other()).dispatch(queue)
    batched = await batch([Mail(to="a@b.c")]).then(Other()).dispatch(queue)
    first, second = (TraceContext(traceparent(span), link=True) for span in traces.all())
    driver = await queue._client().driver()
    info = await driver.find(chained.ids[0])
    sequel = Sequel.of(info.sequel)
    for payload in (info.payload, *(Parcel.of(one).job.payload for one in sequel[:2])):
        assert TraceContext.of(payload) == first
    assert await context_of(queue, batched.ids[0]) == second
    [held] = [
        one for one in (await driver.exchange("emails", "me", want=2)).jobs if one.id in batched.ids
    ]
    await driver.exchange("emails", "me", [Ack(held.id, held.fence)])
    [then] = (await driver.exchange("default", "me", want=1)).jobs
    assert TraceContext.of(then.payload) == second


async def test_an_empty_bulk_is_no_span(traces, queue):
    assert await queue.bulk([]) == []
    assert traces.all() == []


async def test_what_is_refused_was_not_sent(traces, queue):
    with pytest.raises(InvalidJob):
        await queue.push(Mail(to=1))
    with pytest.raises(InvalidJob):
        await queue.bulk([Mail(to=1)])
    assert traces.all() == []


async def test_the_sync_verbs_see_the_span_of_their_caller(traces, queue):
    def push() -> None:
        with traces.provider.get_tracer("app").start_as_current_span("view"):
            queue.sync.push(Mail(to="a@b.c"))
            queue.sync.bulk([Other()])

    thread = threading.Thread(target=push)
    thread.start()
    await asyncio.to_thread(thread.join)
    view = traces.one("view").context.span_id
    assert traces.one("send emails").parent.span_id == view
    assert traces.one("send default").parent.span_id == view


class Away(MemoryDriver):
    async def enqueue(self, queue, jobs):
        raise DriverUnavailable("no answer from redis://user:hunter2@host")


async def test_a_failed_dispatch_says_so_and_no_secret(traces):
    register_driver("away", Away)
    async with Queue("away://me:hunter2@host:1234/0") as queue:
        with pytest.raises(DriverUnavailable):
            await queue.push(Mail(to="a@b.c"))
        with pytest.raises(DriverUnavailable):
            await queue.bulk([Mail(to="a@b.c")])
    for span in traces.all("send emails"):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "queued.errors.DriverUnavailable"
        assert span.attributes["server.address"] == "host"
        assert span.attributes["server.port"] == 1234
        assert [event.name for event in span.events] == ["exception"]
        assert "hunter2" not in span.to_json()
    assert len(traces.all()) == 2


async def test_what_is_not_sampled_says_so_to_the_worker(queue):
    with tracing(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)):
        receipt = await queue.push(Mail(to="a@b.c"))
    flags = (await context_of(queue, receipt.id)).traceparent[-2:]
    assert not int(flags, 16) & trace.TraceFlags.SAMPLED


async def test_a_provider_that_makes_no_spans_adds_nothing(queue):
    with tracing(NoOpTracerProvider()):
        one = await queue.push(Mail(to="a@b.c"))
        (many,) = await queue.bulk([Mail(to="a@b.c")])
    assert await context_of(queue, one.id) is None
    assert await context_of(queue, many.id) is None


async def test_the_api_without_a_provider_adds_nothing(queue):
    assert not gate.is_on()
    with trace.get_tracer("app").start_as_current_span("nothing"):
        receipt = await queue.push(Mail(to="a@b.c"))
    assert await context_of(queue, receipt.id) is None


class Raises:
    """A processor of the user's that is broken."""

    def on_start(self, span, parent_context=None):
        raise RuntimeError("on_start")

    def on_end(self, span):
        raise RuntimeError("on_end")

    def _on_ending(self, span):
        pass


class RaisesAtTheEnd(Raises):
    def on_start(self, span, parent_context=None):
        pass


@pytest.mark.parametrize("processor", [Raises, RaisesAtTheEnd])
async def test_a_broken_processor_costs_no_job(processor, queue):
    traces = Traces()
    traces.provider.add_span_processor(processor())
    with tracing(traces.provider):
        receipt = await queue.push(Mail(to="a@b.c"))
        await queue.bulk([Mail(to="a@b.c")])
    assert receipt.enqueued
    assert await queue.size("emails") == 2


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///queued.db",
        "redis+sentinel://a:1,b:2/x",
        "redis+sentinel://a:1/x",
        "redis+cluster://a,b",
        "redis://h:port",
    ],
)
def test_where_no_one_address_is_none_is_told(url):
    from queued.jobs import spans

    assert spans.server(url) == {}


PROGRAM = """
import asyncio, sys
{prelude}
import queued

class Note(queued.Job):
    name = "note"
    async def handle(self): ...

async def main():
    async with queued.Queue("memory://here") as queue:
        await queue.push(Note())
        await queue.bulk([Note()])
        await asyncio.to_thread(queue.sync.push, Note())
        driver = await queue._client().driver()
        answer = await driver.exchange("default", "owner", want=3, nonce=1)
        assert {{job.payload for job in answer.jobs}} == {{b'{{"v":1,"job":"note"}}\\n{{}}'}}

asyncio.run(main())
print(*(name for name in sys.modules if name.startswith("opentelemetry")))
"""
BLOCKED = """
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.parametrize("prelude", ["", BLOCKED], ids=["installed", "blocked"])
def test_a_program_that_does_not_trace_loads_nothing_of_it(prelude):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(prelude=prelude)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "error"},
        check=False,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, ""), ended.stderr
