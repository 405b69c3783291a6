"""How many commands a job costs the server, from its dispatch to its end.

Counted by what MONITOR shows. Those inside of scripts are told apart: they cost the server time,
but no client sends them. What it takes to start is subtracted: the difference between few jobs and
three times as many counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

import redis

from benchmarks.results import Metric
from benchmarks.scenarios.base import CONCURRENCY, Scenario, Size, redis_job
from benchmarks.server import Server
from benchmarks.stage import Stage


class Monitor:
    """Counts what MONITOR shows: ``sent`` by clients, ``scripted`` inside of their scripts."""

    def __init__(self) -> None:
        self.sent = 0
        self.scripted = 0

    def count(self, line: str) -> None:
        source = line.partition("[")[2].partition("]")[0]
        if source.endswith(" lua"):
            self.scripted += 1
        else:
            self.sent += 1


@contextmanager
def monitored(server: Server) -> Iterator[Monitor]:
    """Count commands; complete when the context has ended."""
    counted = Monitor()
    end = f"queued-bench-{id(counted)}"
    with server.client() as client, server.client() as other:
        connection = client.connection_pool.get_connection()
        connection.send_command("MONITOR")
        connection.read_response()

        def read() -> None:
            while end not in (line := _text(connection)):
                counted.count(line)

        reader = Thread(target=read, daemon=True)
        reader.start()
        try:
            yield counted
        finally:
            other.echo(end)
            reader.join(30)
            connection.disconnect()


def _text(connection: redis.Connection) -> str:
    answer = connection.read_response(disconnect_on_error=False)
    return answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)


def _commands(stage: Stage, size: Size) -> Mapping[str, float]:
    few, many = size.watched, 3 * size.watched
    some = _count(stage, few)
    more = _count(stage, many)
    return {name: (more[name] - some[name]) / (many - few) for name in more}


def _count(stage: Stage, jobs: int) -> Mapping[str, int]:
    fresh = stage.again()
    with monitored(fresh.server) as filled:
        fresh.enqueue("noop", jobs)
    with monitored(fresh.server) as drained, fresh.worker(1, CONCURRENCY) as worker:
        worker.until_done(jobs)
    return {
        "commands-enqueue": filled.sent,
        "commands-run": drained.sent,
        "commands-scripted": filled.scripted + drained.scripted,
    }


COMMANDS = Scenario(
    "commands",
    "commands for each job",
    [
        Metric("commands-enqueue", "commands to enqueue", "per job", lower=True),
        Metric("commands-run", "commands to run", "per job", lower=True),
        Metric("commands-scripted", "further ones in scripts", "per job", lower=True),
    ],
    redis_job("noop"),
    _commands,
    rounds=1,
)
