"""What a user gets wrong: each yields one clear line, the right exit code, and no traceback."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.servers import start_valkey
from tests.process.harness import Daemon, until

JOBS = """
from pathlib import Path
from queued import Job

class Touch(Job):
    path: str
    async def handle(self):
        Path(self.path).touch()
"""

GOOD = """
connection: sqlite:///queued.db
imports: [work]
http: {listen: "127.0.0.1:0"}
queues: {default: {}}
"""


def refused(running: Daemon) -> tuple[int, str]:
    """Start a daemon that must not start; return its exit code and what it said."""
    code = running.start(ready=False).wait(30)
    text = running.output()
    assert "Traceback" not in text
    assert not running.processes()
    return code, text


def test_a_missing_file(daemon: Callable[..., Daemon]) -> None:
    running = daemon(GOOD)
    running.config.unlink()
    code, text = refused(running)
    assert code == 78
    assert "queue.yaml" in text
    assert len(text.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("queues: [", "queue.yaml:1"),
        ("queues: {default: {proceses: 1}}", 'did you mean "processes"'),
        ("queues: {default: {processes: many}}", "queue.yaml:1: queues.default.processes"),
        ("queues: {default: {sleep: -1}}", "queue.yaml:1: queues.default.sleep"),
        ("conection: sqlite:///x.db\nqueues: {default: {}}", 'did you mean "connection"'),
        ("connection: oracle://x\nqueues: {default: {}}", "queue.yaml:1: connection"),
    ],
)
def test_a_wrong_file(daemon: Callable[..., Daemon], config: str, expected: str) -> None:
    code, text = refused(daemon(config))
    assert code == 78
    assert expected in text


def test_every_problem_is_reported_at_once(daemon: Callable[..., Daemon]) -> None:
    config = (
        "queues:\n  emails:\n    proceses: 2\n    timeout: soon\n  low: {sleep: x}\nimport: [a]\n"
    )
    _, text = refused(daemon(config))
    for place in ("queue.yaml:3:", "queue.yaml:4:", "queue.yaml:5:", "queue.yaml:6:"):
        assert place in text


def test_a_port_in_use(daemon: Callable[..., Daemon]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = refused(daemon(GOOD.replace("127.0.0.1:0", f"127.0.0.1:{port}"), jobs=JOBS))
    assert code != 0
    assert f"127.0.0.1:{port}" in text
    assert "in use" in text


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ("import nonsuch\n", "No module named 'nonsuch'"),
        ("x = 1\nx.y\n", "work.py"),
        ("def f(:\n", "work.py"),
        ("raise RuntimeError('not today')\n", "not today"),
    ],
)
def test_a_broken_import(daemon: Callable[..., Daemon], jobs: str, expected: str) -> None:
    code, text = refused(daemon(GOOD, jobs=jobs))
    assert code == 78
    assert expected in text


def test_a_missing_module(daemon: Callable[..., Daemon]) -> None:
    code, text = refused(daemon(GOOD))
    assert code == 78
    assert "work" in text


@pytest.mark.fault(48)
def test_a_second_master_is_refused(daemon: Callable[..., Daemon]) -> None:
    first = daemon(GOOD, jobs=JOBS).start()
    again = first.run("start", "-c", str(first.config), check=False)
    assert again.returncode == 75
    assert f"{first.pid}" in again.stderr
    assert "Traceback" not in again.stderr
    assert first.is_ready()


def test_an_unreachable_backend_is_waited_for(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    server = start_valkey(tmp_path / "valkey")
    server.stop()
    config = GOOD.replace("sqlite:///queued.db", server.url)
    running = daemon(config, jobs=JOBS).start(ready=False)
    until(lambda: running.get("/readyz")[0] == 503, "/readyz to say that the back-end is away")
    assert running.get("/healthz")[0] == 200

    dispatch = running.run("dispatch", "work.Touch", '{"path": "x"}', check=False)
    assert dispatch.returncode == 69
    assert "Traceback" not in dispatch.stderr

    server.start()
    until(running.is_ready, "the daemon to go on by itself")
    path = tmp_path / "touched"
    running.run("dispatch", "work.Touch", f'{{"path": "{path}"}}')
    until(path.exists, "a job to run")

    server.kill()
    until(lambda: running.get("/readyz")[0] == 503, "/readyz to notice that the server is gone")
    server.start()
    until(running.is_ready, "the daemon to go on once more")
    again = tmp_path / "again"
    running.run("dispatch", "work.Touch", f'{{"path": "{again}"}}')
    until(again.exists, "a job to run after the server's return")
    assert running.stop() == 0
    server.stop()


def test_an_unknown_job(daemon: Callable[..., Daemon]) -> None:
    running = daemon(GOOD, jobs=JOBS)
    unknown = running.run("dispatch", "work.Tuch", "{}", check=False)
    assert unknown.returncode == 1
    assert "work.Touch" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    wrong = running.run("dispatch", "work.Touch", '{"path": 7}', check=False)
    assert wrong.returncode == 1
    assert "path" in wrong.stderr
    broken = running.run("dispatch", "work.Touch", '{"path": ', check=False)
    assert broken.returncode in (1, 2)
    assert "Traceback" not in broken.stderr


def test_status_without_a_daemon(daemon: Callable[..., Daemon]) -> None:
    answer = daemon(GOOD).run("status", check=False)
    assert answer.returncode == 3
    assert "queued start" in answer.stderr
