"""start, status, reload, restart, stop: what they say, over a real control socket."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

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
RECENT = {
    "seconds": 60.0,
    "attempts": 48,
    "outcomes": {"succeeded": 36, "retried": 12},
    "failures": 12,
    "failure_ratio": 0.25,
    "finished_per_second": 0.6,
    "wait_p95": 4.0,
    "run_p95": 0.125,
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
    "recent": {"emails": {"1m": RECENT | {"finished_per_second": 1.5}, "5m": RECENT}},
    "monitor": {"state": "running"},
    "pools": {
        "emails": {
            "state": "backoff",
            "desired": 2,
            "busy": 3,
            "max_wait": 60.0,
            "max_failure_rate": 0.1,
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
                        {"id": "2", "job": "app.jobs.Digest", "seconds": 12.3, "timeout": 15.0},
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
        commands = dict.fromkeys(("status", "reload", "restart", "scale", "stop"), self._serve)
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


def rows(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_status_tells_of_refused_duplicates(
    app: Application, master: Callable[..., Master]
) -> None:
    told = "emails: 40 duplicates refused so far: another job held their unique key"
    master(status={**STATUS, "queues": {"emails": {**STATS, "refused_total": 40}}})
    assert told in app("status").out.splitlines()
    assert app("status", "--json").json["queues"]["emails"]["refused_total"] == 40


def test_status_on_one_screen(app: Application, master: Callable[..., Master]) -> None:
    master(status=STATUS)
    answer = app("status")
    assert answer.code == Exit.OK
    lines = [line.rstrip() for line in answer.out.splitlines()]
    assert len(lines) < 30
    assert lines[:5] == [
        "ready, with warnings:",
        "  pool emails: 1 of 2 workers running (backoff)",
        "  queue emails: a job has waited 2m 5s, max_wait is 1m",
        "  queue emails: 25% of 48 runs of the last 5m failed, max_failure_rate is 10%",
        (
            "  the last reload failed, and the configuration before it runs:"
            " queue.yaml:3: queues.a.sleep: \\x1b[31mx"
        ),
    ]
    assert lines[6:11] == [
        "daemon    running for 1h 1m, pid 4711, version 0.1.0",
        "config    /srv/app/queue.yaml",
        "back-end  redis://:***@h:6379/0 (QUEUE_CONNECTION), reachable",
        "http      http://127.0.0.1:9470/metrics",
        "change    restart: importing",
    ]
    seen = rows(answer.out)
    assert "pool state workers busy memory restarts" in seen
    assert "emails backoff 1/2 3/10 120 MiB 6 (signal 2, max_jobs 4)" in seen
    assert "parked stopped 0/0 0/0 0 B 0" in seen
    titles = "queue ready sched reserved failed oldest rate/s wait p95 run p95 fail%"
    assert titles in seen
    assert "emails 12 3 2 1 2m 5s 1.5 4s 125ms 25%" in seen
    assert "parked - - - - - - - - -" in seen
    assert "running now worker pid for id" in seen
    assert seen.index("Digest emails/1 4712 12.3s of 15s 2") == (
        seen.index("SendEmail emails/1 4712 500ms 1") - 1
    )
    crash = next(line for line in lines if line.startswith("emails/2 crashed "))
    assert crash.endswith(" ago: SIGKILL, killed by the kernel for memory; peak memory 512 MiB")
    assert "emails/2 crashed; it starts again in 2.5 s" in lines
    assert "look next: queued why emails; queued failed list --group (1 in the last hour)" in lines
    assert any(line.startswith("emails/3 has crashed too often") for line in lines)
    assert lines[-1] == "jobs of 1 dead worker wait to be taken back"


def test_the_workers_where_somebody_asks_for_them(
    app: Application, master: Callable[..., Master]
) -> None:
    master(status=STATUS)
    assert "settled" not in app("status").out
    seen = rows(app("status", "--workers").out)
    assert "worker pid state up memory settled running" in seen
    assert "emails/1 4712 running 1m 1s 60 MiB 1234 2" in seen
    assert "emails/solo 4713 starting 0s 60 MiB 0 0" in seen


def test_status_on_a_narrow_terminal_leaves_out_columns_of_the_queues(
    app: Application, master: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = {"since": time.time(), "by": "ada@host", "reason": ""}
    master(status=HEALTHY | {"queues": {"emails": STATS | {"paused": pause}}})
    narrow = Console(width=60, highlight=False)
    monkeypatch.setattr("queued.cli.watch.screen.console", lambda: narrow)
    monkeypatch.setattr("queued.cli.output.console", lambda: narrow)
    lines = app("status").out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("queue "))
    assert all(len(line) <= 60 for line in lines[at : at + 2])
    assert "oldest" in lines[at]
    assert "reserved" not in lines[at]


def test_status_of_more_jobs_than_fit(app: Application, master: Callable[..., Master]) -> None:
    worker = STATUS["pools"]["emails"]["workers"][0]
    jobs = [{"id": f"j{n}", "job": "a.B", "seconds": float(n), "timeout": None} for n in range(50)]
    pool = STATUS["pools"]["emails"] | {"workers": [worker | {"jobs": jobs}]}
    master(status=STATUS | {"pools": {"emails": pool}})
    lines = app("status").out.splitlines()
    assert len(lines) < 35
    assert [line.split()[-1] for line in lines if line.startswith("B ")] == [
        f"j{n}" for n in range(49, 41, -1)
    ]
    assert "and 42 more; --json has them all" in lines


HEALTHY: dict[str, Any] = STATUS | {
    "pools": {"emails": {
        "state": "running", "desired": 1, "busy": 0, "rss": 60 << 20, "exits": {},
        "workers": STATUS["pools"]["emails"]["workers"][:1],
    }},
    "monitor": {"state": "running"}, "last_reload": None, "unsettled": 0, "change": None,
    "recent": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "headline", "problem"),
    [
        ({}, "healthy", ""),
        ({"driver_up": None, "http": None}, "not ready", "the back-end has not answered yet"),
        ({"driver_up": False}, "not ready", "backend unreachable for "),
        ({"driver_up": False, "driver_error": "no route"}, "not ready", ": no route"),
        ({"driver_error": "the disk is full"}, "ready, with warnings",
         "the back-end refuses some calls: the disk is full"),
        ({"sampled_at": 1.0}, "ready, with warnings", "the queues were last seen "),
        ({"quiet": True}, "not ready", "the daemon is quiet"),
        ({"state": "starting"}, "not ready", "the daemon is starting"),
        ({"state": "stopping"}, "not ready", "the daemon is stopping"),
        ({"monitor": None}, "ready, with warnings", "the monitor is not running (gone)"),
        ({"unserved": {"emials": 3}}, "ready, with warnings",
         'emials: 3 jobs wait, and nobody serves that queue; did you mean "emails"? (queued'),
        ({"last_restart": {"at": 1.0, "ok": False, "error": "emails/1 never came up"}},
         "ready, with warnings", "the last restart failed, and the code before it runs: emails/1"),
        ({"pools": {"emails": HEALTHY["pools"]["emails"] | {"workers": [], "state": "fatal"}}},
         "not ready", "pool emails: no worker running (fatal)"),
    ],
)  # fmt: skip
def test_the_health_in_a_word_and_what_is_wrong(
    app: Application,
    master: Callable[..., Master],
    change: dict[str, Any],
    headline: str,
    problem: str,
) -> None:
    master(status=HEALTHY | change)
    first, *others = app("status").out.splitlines()
    assert first.partition(":")[0] == headline
    problems = [line.strip() for line in others[: others.index("")]]
    health = app("status", "--json").json["health"]
    assert health == {
        "healthy": headline == "healthy",
        "ready": headline != "not ready",
        "problems": problems,
    }
    assert problem in "".join(problems)
    assert bool(problem) == bool(problems)


def test_status_as_json(app: Application, master: Callable[..., Master]) -> None:
    master(status=STATUS)
    answer = app("status", "--json").json
    assert set(answer.pop("health")) == {"healthy", "ready", "problems"}
    assert answer == STATUS


def test_status_of_an_older_daemon(app: Application, master: Callable[..., Master]) -> None:
    """The commands are updated first: what a daemon does not tell is not shown."""
    older = {key: value for key, value in HEALTHY.items() if key != "recent"}
    master(status=older)
    answer = app("status")
    assert answer.code == Exit.OK
    assert "emails 12 3 2 1 2m 5s - - - -" in rows(answer.out)


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


@pytest.mark.parametrize(
    ("words", "answer", "line"),
    [
        ("4", {"before": 2, "processes": 4}, "emails: 2 → 4 workers"),
        ("2", {"before": 2, "processes": 2}, "emails: 2 workers"),
        ("9", {"before": 2, "processes": 9, "range": {"min": 1, "max": 8}},
         "emails: 2 → 9 workers, by hand; queued scale emails auto hands it back"),
        ("auto", {"before": 9, "processes": 8, "range": {"min": 1, "max": 8}},
         "emails: 9 → 8 workers, scaled within 1..8 from now on"),
    ],
)  # fmt: skip
def test_scale(
    app: Application,
    master: Callable[..., Master],
    words: str,
    answer: dict[str, Any],
    line: str,
) -> None:
    asked = master(scale=answer | {"pool": "emails"}).asked
    assert app("scale", "emails", words).out == f"{line}\n"
    assert app("scale", "emails", words, "--json").json == answer | {"pool": "emails"}
    assert asked[0] == ("scale", {"pool": "emails", "processes": answer_to(words)})


def answer_to(words: str) -> int | str:
    return words if words == "auto" else int(words)


def test_scale_takes_a_number_of_workers(app: Application) -> None:
    assert "expected a number of workers, or auto" in app("scale", "emails", "many").refused(2)


def test_the_range_of_a_pool_that_is_scaled(
    app: Application, master: Callable[..., Master]
) -> None:
    pool = HEALTHY["pools"]["emails"] | {"range": {"min": 1, "max": 8}}
    master(status=HEALTHY | {"pools": {"emails": pool}})
    assert "1/1 (1-8)" in app("status").out
