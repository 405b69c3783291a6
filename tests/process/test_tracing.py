"""Traces of a real daemon: set up in each worker after the fork, exported when it ends."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from queued.jobs.queue import Queue
from tests.process.harness import Daemon, until
from tests.unit.test_tracing import BLOCKED

ROOT = Path(__file__).parents[2]

TELEMETRY = """
import os, threading, time
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

HERE = Path(__file__).parent


class ToFile(SpanExporter):
    def export(self, spans):
        with (HERE / f"spans-{os.getpid()}.jsonl").open("a") as file:
            file.writelines(span.to_json(indent=None) + "\\n" for span in spans)
        return SpanExportResult.SUCCESS


class Hangs(SpanExporter):
    def export(self, spans):
        (HERE / f"hangs-{os.getpid()}").touch()
        time.sleep(600)


def setup(exporter=ToFile):
    provider = TracerProvider()
    # It exports nothing by itself before an hour has gone by.
    provider.add_span_processor(BatchSpanProcessor(exporter(), schedule_delay_millis=3_600_000))
    trace.set_tracer_provider(provider)


def hangs():
    setup(Hangs)


def raises():
    raise RuntimeError("no collector for me")


def forgets():
    pass
"""
JOBS = """
from queued import Job, dispatch


class Second(Job):
    queue = "second"

    def handle(self): ...


class First(Job):
    queue = "first"
    max_tries = 2
    retry_after = 0

    async def handle(self):
        if self.attempts == 1:
            raise ValueError("once")
        await dispatch(Second())
"""
PRODUCER = """
import asyncio

from opentelemetry import trace
from queued import dispatch, queue
from telemetry import setup
from work import First


async def main():
    with trace.get_tracer("app").start_as_current_span("request"):
        await dispatch(First())
    await queue.close()


setup()
asyncio.run(main())
trace.get_tracer_provider().shutdown()
"""
CONFIG = """
connection: {url}
imports: [work]
tracing: telemetry.{function}
http: {{listen: "127.0.0.1:0"}}
log: {{format: json}}
defaults: {{sleep: 0.1, concurrency: 2}}
queues:
  first: {{processes: 2}}
  second: {{}}
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queued.db"


@pytest.fixture
def traced(daemon: Callable[..., Daemon]) -> Callable[..., Daemon]:
    """Make daemons that trace by a function of telemetry.py."""

    def make(url: str, function: str, **environment: str) -> Daemon:
        one = daemon(CONFIG.format(url=url, function=function), jobs=JOBS, **environment)
        (one.folder / "telemetry.py").write_text(TELEMETRY)
        return one

    return make


def spans(one: Daemon) -> list[dict[str, Any]]:
    """Return what was exported, in the order in which it began."""
    files = one.folder.glob("spans-*.jsonl")
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return sorted(found, key=lambda span: span["start_time"])


def events(one: Daemon, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in one.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


async def left(url: str) -> int:
    async with Queue(url) as queue:
        found = [await queue.stats(name) for name in ("first", "second")]
    return sum(stats.size + stats.reserved + stats.failed for stats in found)


def work_off(url: str) -> None:
    until(lambda: asyncio.run(left(url)) == 0, "every job to be done")


def test_one_trace_goes_through_processes_and_queues(traced, connection):
    one = traced(connection, "setup").start()
    environment = one.environment | {"QUEUE_CONNECTION": connection}
    (one.folder / "producer.py").write_text(PRODUCER)
    subprocess.run([sys.executable, "producer.py"], cwd=one.folder, env=environment, check=True)
    work_off(connection)
    assert one.stop() == 0

    found = spans(one)
    names = ["request", "send first", "process first", "process first", "send second"]
    assert [span["name"] for span in found] == [*names, "process second"]
    assert len({span["context"]["trace_id"] for span in found}) == 1
    request, sent, failed, succeeded, sent_on, last = found
    assert sent["parent_id"] == request["context"]["span_id"]
    assert failed["parent_id"] == succeeded["parent_id"] == sent["context"]["span_id"]
    assert sent_on["parent_id"] == succeeded["context"]["span_id"]
    assert last["parent_id"] == sent_on["context"]["span_id"]
    outcomes = [one["attributes"]["messaging.queued.outcome"] for one in (failed, succeeded, last)]
    assert outcomes == ["retried", "succeeded", "succeeded"]

    (line,) = events(one, "job.retried")
    assert line["trace_id"] == failed["context"]["trace_id"].removeprefix("0x")
    assert line["span_id"] == failed["context"]["span_id"].removeprefix("0x")


def test_what_ends_with_a_recycled_worker_is_exported(traced, url):
    one = traced(url, "setup")
    one.config.write_text(one.config.read_text().replace("processes: 2", "max_jobs: 1"))
    one.start()
    one.run("dispatch", "work.First", "{}")
    work_off(url)
    ended = until(lambda: [span for span in spans(one) if span["name"] == "process first"], "spans")
    assert ended[0]["attributes"]["messaging.queued.outcome"] == "retried"


class Collector(ThreadingHTTPServer):
    """What an OpenTelemetry collector hears over OTLP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hear)
        self.names: list[str] = []
        self.services: set[str] = set()


class Hear(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.server.services.add(attributes["service.name"])
            for scope in resource.scope_spans:
                self.server.names += [span.name for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def test_the_setup_of_the_documentation_exports_to_a_collector(daemon, url, collector):
    page = (ROOT / "docs" / "tracing.md").read_text()
    _, snippet, *_ = page.split("```python\n# app/telemetry.py\n")
    config = CONFIG.format(url=url, function="setup").replace("telemetry.", "app.telemetry.")
    one = daemon(
        config.replace("second: {}", "second: {env: {OTEL_SERVICE_NAME: reports}}"),
        jobs=JOBS,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
        OTEL_SERVICE_NAME="mailer",
    )
    (one.folder / "app").mkdir()
    (one.folder / "app" / "telemetry.py").write_text(snippet.partition("```")[0])
    one.start()
    one.run("dispatch", "work.First", "{}")
    work_off(url)
    assert one.stop() == 0
    assert sorted(collector.names) == [*["process first"] * 2, "process second", "send second"]
    assert collector.services == {"mailer", "reports"}


def test_a_collector_that_hangs_holds_up_nothing(traced, url):
    one = traced(url, "hangs").start()
    one.run("dispatch", "work.First", "{}")
    work_off(url)
    assert one.stop() == 0
    assert list(one.folder.glob("hangs-*"))
    assert {line["worker"] for line in events(one, "tracing.not_flushed")} <= {
        "first/1",
        "first/2",
        "second/1",
    }
    assert events(one, "tracing.not_flushed")
    assert not events(one, "worker.crashed")


def test_a_setup_that_raises_costs_the_traces_and_no_job(traced, url):
    one = traced(url, "raises").start()
    one.run("dispatch", "work.First", "{}")
    work_off(url)
    line = events(one, "tracing.failed")[0]
    assert line["function"] == "telemetry:raises"
    assert "telemetry.py" in line["exception"]
    assert "no collector for me" in line["exception"]


def test_a_setup_that_sets_nothing_up_is_told_so(traced, url):
    one = traced(url, "forgets").start()
    assert "set_tracer_provider" in events(one, "tracing.off")[0]["hint"]


def test_a_function_that_is_not_there_is_refused(traced, url):
    one = traced(url, "setpu")
    said = 'telemetry has no function "setpu"; did you mean "setup"?'
    checked = one.run("check", check=False)
    assert checked.returncode == 1
    assert said in checked.stdout + checked.stderr
    one.start(ready=False)
    assert one.wait() == 78
    assert said in one.output()
    assert "Traceback" not in one.output()


def test_a_reload_takes_it_in(traced, url):
    one = traced(url, "setup")
    text = one.config.read_text()
    one.config.write_text(text.replace("tracing: telemetry.setup\n", ""))
    one.start()
    before = {worker["pid"] for worker in one.workers()}
    one.config.write_text(text)
    one.run("reload")
    until(lambda: before.isdisjoint(worker["pid"] for worker in one.workers()), "new workers")
    one.run("dispatch", "work.First", "{}")
    work_off(url)
    assert one.stop() == 0
    assert "process second" in {span["name"] for span in spans(one)}


def test_a_worker_alone_traces_too(traced, url):
    one = traced(url, "setup")
    one.run("dispatch", "work.First", "{}")
    one.run("work", "--queue", "first", "--max-jobs", "2")
    assert [span["name"] for span in spans(one)] == ["process first"] * 2 + ["send second"]


def test_without_the_packages_everything_runs(daemon, tmp_path, url):
    """As on a machine that has none of OpenTelemetry: its import fails in every process."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(f"import sys\n{BLOCKED}")
    config = CONFIG.format(url=url, function="x").replace("tracing: telemetry.x\n", "")
    one = daemon(config, jobs=JOBS, PYTHONPATH=str(tmp_path / "site"))
    blocked = [sys.executable, "-c", "import opentelemetry"]
    assert subprocess.run(blocked, env=one.environment, capture_output=True, check=False).returncode
    one.start()
    one.run("dispatch", "work.First", "{}")
    work_off(url)
    assert one.stop() == 0
