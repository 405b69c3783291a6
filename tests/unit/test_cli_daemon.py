"""start, status, reload, restart, stop: what they say, over a real control socket."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queued.cli.exits import Exit
from queued.daemon.master.control import ControlServer, Request
from queued.daemon.master.runtime import Runtime
from tests.unit.commands import Application, application

app = pytest.fixture(application)

STATS = {
    "ready": 12,
    "scheduled": 3,
    "reserved": 2,
    "failed": 1,
    "failed_last_hour": 1,
    "oldest_ready_age_seconds": 125.0,
}
STATUS: dict[str, Any] = {
    "pid": 4711,
    "version": "0.1.0",
    "state": "running",
    "quiet": False,
    "uptime": 3_700.0,
    "config": "/srv/app/queue.yaml",
    "connection": "redis://:***@h:6379/0",
    "connection_source": "QUEUE_CONNECTION",
    "http": "127.0.0.1:9470",
    "driver_up": True,
    "sampled_at": None,
    "queues": {"emails": STATS},
    "pools": {
        "emails": {
            "state": "backoff",
            "desired": 2,
            "busy": 3,
            "rss": 120 << 20,
            "exits": {"max_jobs": 4, "signal": 2},
            "last_crash": {
                "worker": "emails/2", "pid": 4710, "at": time.time(), "reason": "oom",
                "how": "SIGKILL", "peak_memory": 512 << 20,
            },
            "workers": [
                {
                    "name": "emails/1", "pid": 4712, "state": "running", "uptime": 61.4,
                    "rss": 60 << 20, "slots": 10, "settled": 1_234, "solo": False,
                    "jobs": [
                        {"id": "1", "job": "app.jobs.SendEmail", "seconds": 0.5},
                        {"id": "2", "job": "app.jobs.Digest", "seconds": 12.3},
                    ],
                },
                {
                    "name": "emails/2", "pid": None, "state": "backoff", "retry_in": 2.5,
                    "solo": False,
                },
                {"name": "emails/3", "pid": None, "state": "fatal", "solo": False},
                {
                    "name": "emails/solo", "pid": 4713, "state": "starting", "uptime": 0.2,
                    "rss": 60 << 20, "slots": 1, "settled": 0, "solo": True, "jobs": [],
                },
            ],
        },
        "parked": {
            "state": "stopped", "desired": 0, "busy": 0, "rss": 0, "exits": {}, "workers": [],
        },
    },
    "change": {"change": "restart", "phase": "importing"},
    "last_reload": {"at": 1.0, "ok": False, "error": "queue.yaml:3: queues.a.sleep: \x1b[31mx"},
    "unsettled": 1,
}  # fmt: skip


class Master:
    """A control server with answers of the test's, in a thread of its own."""

    def __init__(self, config: Path) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self._selector = selectors.DefaultSelector()
        path = Runtime.for_daemon(config).socket_path
        commands = dict.fromkeys(("status", "reload", "restart", "stop"), self._serve)
        self._server = ControlServer(path, self._selector, commands)
        self._ended = False
        self._thread = threading.Thread(target=self._loop)
        self._thread.start()

    def _serve(self, request: Request) -> None:
        self.asked.append((request.command, request.arguments))
        answer = self.answers[request.command]
        if isinstance(answer, str):
            request.refuse(answer)
        else:
            request.answer(**answer)

    def _loop(self) -> None:
        while not self._ended:
            for key, events in self._selector.select(0.02):
                key.data(events)

    def close(self) -> None:
        self._ended = True
        self._thread.join()
        self._server.close()
        self._selector.close()


@pytest.fixture
def master(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Master]]:
    monkeypatch.setenv("QUEUED_RUNTIME_DIR", str(tmp_path / "run"))
    made: list[Master] = []

    def make(**answers: Any) -> Master:
        made.append(Master(app.folder / "queue.yaml"))
        made[-1].answers = answers
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("command", ["status", "reload", "restart", "stop"])
def test_without_a_daemon(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("QUEUED_RUNTIME_DIR", str(tmp_path / "run"))
    line = app(command).refused(Exit.NOT_RUNNING)
    assert "start it with: queued start -c queue.yaml" in line
    line = app("status", "-c", "gone.yaml").refused(Exit.NOT_RUNNING)
    assert "there is no such file" in line


def test_a_socket_that_nobody_listens_on(app: Application, master: Callable[..., Master]) -> None:
    path = Runtime.for_daemon(app.folder / "queue.yaml").socket_path
    path.touch()
    app("status").refused(Exit.NOT_RUNNING)


def test_status_on_one_screen(app: Application, master: Callable[..., Master]) -> None:
    master(status=STATUS)
    answer = app("status")
    assert answer.code == Exit.OK
    lines = [line.rstrip() for line in answer.out.splitlines()]
    assert len(lines) < 25
    assert lines[:5] == [
        "daemon    running for 1h 1m, pid 4711, version 0.1.0",
        "config    /srv/app/queue.yaml",
        "back-end  redis://:***@h:6379/0 (QUEUE_CONNECTION), reachable",
        "http      http://127.0.0.1:9470/metrics",
        "change    restart: importing",
    ]
    rows = [" ".join(line.split()) for line in lines]
    assert "pool state workers busy memory exits" in rows
    assert "emails backoff 1/2 3/10 120 MiB 6 (signal 2, max_jobs 4)" in rows
    assert "parked stopped 0/0 0/0 0 B 0" in rows
    assert "worker pid up memory settled runs" in rows
    assert "emails/1 4712 1m 1s 60 MiB 1234 Digest for 12.3s, and 1 more" in rows
    assert "emails/solo 4713 0s 60 MiB 0 starting" in rows
    assert "emails 12 3 2 1 1 2m 5s" in rows
    assert "parked - - - - - -" in rows
    crash = next(line for line in lines if line.startswith("emails/2 crashed "))
    assert crash.endswith(" ago: SIGKILL, killed by the kernel for memory; peak memory 512 MiB")
    assert "emails/2 crashed; it starts again in 2.5 s" in lines
    assert any(line.startswith("emails/3 has crashed too often") for line in lines)
    assert "jobs of 1 dead worker wait to be taken back" in lines
    assert lines[-1].endswith("queues.a.sleep: \\x1b[31mx")


def test_status_of_a_daemon_that_sees_no_back_end(
    app: Application, master: Callable[..., Master]
) -> None:
    unseen = {"driver_up": None, "queues": {}, "http": None, "quiet": True, "unsettled": 0}
    server = master(status={**STATUS, **unseen})
    out = app("status").out
    assert "not asked yet" in out
    assert "http      off" in out
    assert "quiet: no jobs are started" in out
    server.answers["status"] = {**STATUS, "driver_up": False, "sampled_at": time.time() - 100}
    out = app("status").out
    assert "not reachable" in out
    assert "the queues were last seen 1m 40s ago" in out


def test_status_as_json(app: Application, master: Callable[..., Master]) -> None:
    master(status=STATUS)
    assert app("status", "--json").json == STATUS


def test_reload_says_what_changed(app: Application, master: Callable[..., Master]) -> None:
    server = master(reload={"changes": ["queues.emails: processes 1 → 2"]})
    assert app("reload").out == "queues.emails: processes 1 → 2\n"
    server.answers["reload"] = {"changes": []}
    assert app("reload").out == "nothing has changed\n"


def test_reload_shows_every_problem(app: Application, master: Callable[..., Master]) -> None:
    master(reload="queue.yaml:1: a: x\nqueue.yaml:2: b: y")
    answer = app("reload")
    assert answer.code == Exit.PROBLEM
    assert answer.err == "queued: queue.yaml:1: a: x\nqueued: queue.yaml:2: b: y\n"


def test_restart_of_all_and_of_one(app: Application, master: Callable[..., Master]) -> None:
    server = master(restart={"changes": []})
    assert app("restart").out == "every worker runs the new code\n"
    assert app("restart", "emails").out == "every worker of emails runs the new code\n"
    assert server.asked == [("restart", {}), ("restart", {"pool": "emails"})]
    server.answers["restart"] = "work.py:3: NameError: name 'x' is not defined"
    assert "work.py:3" in app("restart").refused(Exit.PROBLEM)


def test_stop(app: Application, master: Callable[..., Master]) -> None:
    master(stop={})
    assert app("stop").out == "stopped\n"


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("queues: [", "queue.yaml:1: not valid YAML"),
        ("queues: {a: {proceses: 1}}", 'did you mean "processes"?'),
        ("connection: memory://\nqueues: {a: }", "is private to one process"),
    ],
)
def test_start_refuses_a_wrong_configuration(app: Application, config: str, complaint: str) -> None:
    app.configure(config)
    assert complaint in app("start").refused(Exit.CONFIG)


def test_start_refuses_a_wrong_flag(app: Application) -> None:
    line = app("start", "--connection", "oracle://u:hunter2@h").refused(Exit.CONFIG)
    assert "--connection: no driver for oracle://" in line
    assert "hunter2" not in line
    assert "no such file" in app("start", "-c", "gone.yaml").refused(Exit.CONFIG)
