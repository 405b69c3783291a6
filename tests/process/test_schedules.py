"""Schedules of real daemons: two on one back-end, and monitors that are killed."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

from tests.process.harness import Daemon, until

JOBS = """
import os
from queued import Job

class Tick(Job):
    word: str = "tick"
    async def handle(self):
        line = f"{self.job_id} {self.word} {os.environ['HOST']}\\n"
        fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, line.encode())
        os.close(fd)
"""
CONFIG = """
connection: {connection}
imports: [work]
http: {{listen: "127.0.0.1:0"}}
log: {{format: json}}
schedule:
  beat: {{every: 1s, job: work.Tick, args: {{word: tock}}}}
queues: {{default: {{}}}}
"""


def events(daemon: Daemon, name: str) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in daemon.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def monitor_of(daemon: Daemon) -> int | None:
    monitor = daemon.status()["monitor"]
    return monitor["pid"] if monitor and monitor["state"] == "running" else None


def second(job_id: str) -> int:
    hours, minutes, seconds = map(int, re.fullmatch(r"beat:\d+T(..)(..)(..)Z", job_id).groups())  # type: ignore[union-attr]
    return hours * 3600 + minutes * 60 + seconds


def test_two_daemons_take_each_tick_once_also_when_monitors_are_killed(
    daemon: Callable[..., Daemon], connection: str, tmp_path: object
) -> None:
    ledger = f"{tmp_path}/ledger"
    config = CONFIG.format(connection=connection)
    hosts = [
        daemon(config, jobs=JOBS, LEDGER=ledger, HOST=str(number)).start() for number in range(2)
    ]

    def ran() -> list[str]:
        with suppress(FileNotFoundError), open(ledger) as file:  # noqa: PTH123
            return [line.split()[0] for line in file]
        return []

    until(lambda: len(ran()) >= 3, "the first ticks")
    for host in (*hosts, *hosts):
        before = len(ran())
        pid = until(lambda host=host: monitor_of(host), "a monitor")  # type: ignore[misc]
        os.kill(pid, signal.SIGKILL)
        until(lambda before=before: len(ran()) >= before + 2, "ticks to go on")  # type: ignore[misc]
    dispatched = [one["job_id"] for host in hosts for one in events(host, "schedule.tick")]
    until(lambda: set(dispatched) <= set(ran()), "what was dispatched to be run")
    for host in hosts:
        assert host.stop() == 0
    counted = Counter(ran())
    assert set(counted.values()) == {1}, "a tick was run twice"
    seconds = sorted(map(second, counted))
    assert {(b - a) % 86_400 for a, b in pairwise(seconds)} <= {1, 86_399}, "a tick was left out"
    with open(ledger) as file:  # noqa: PTH123
        assert {line.split()[1] for line in file} == {"tock"}


def test_schedules_come_and_go_with_a_reload(
    daemon: Callable[..., Daemon], tmp_path: object
) -> None:
    ledger = f"{tmp_path}/ledger"
    config = CONFIG.format(connection="sqlite:///queued.db")
    running = daemon(config, jobs=JOBS, LEDGER=ledger, HOST="0").start()
    until(lambda: events(running, "schedule.tick"), "a tick")
    listed = json.loads(running.run("schedule", "list", "--json").stdout)
    [beat] = listed
    assert (beat["name"], beat["every"], beat["queue"]) == ("beat", 1.0, "default")
    assert beat["last_tick"] < beat["next_tick"]
    assert "every 1s" in running.run("schedule", "list").stdout
    running.config.write_text(config.replace("beat: {every: 1s", 'nightly: {cron: "0 3 * * *"'))
    assert running.run("reload").stdout.splitlines() == [
        "schedule.beat: removed",
        "schedule.nightly: new",
    ]

    def listed_anew() -> bool:  # the monitor of before may answer once more
        page = running.get("/metrics")[1]
        nightly = 'queued_schedule_next_tick_timestamp_seconds{schedule="nightly"}'
        return nightly in page and 'schedule="beat"' not in page

    until(listed_anew, "the page of the new monitor")
    answer = json.loads(running.run("schedule", "run", "nightly", "--json").stdout)
    assert answer["enqueued"]
    until(lambda: answer["id"] in open(ledger).read(), "the job of `schedule run`")  # noqa: PTH123, SIM115
    wrong = running.run("schedule", "run", "nightl", check=False)
    assert wrong.returncode == 1
    assert 'did you mean "nightly"?' in wrong.stderr
