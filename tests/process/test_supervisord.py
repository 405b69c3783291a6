"""The example for supervisord, run by supervisord itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.harness import PATIENCE, QUEUED, Daemon, until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/deploy/supervisor/queued.conf"
MAIN = """
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid
[unix_http_server]
file = {folder}/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{folder}/sock
[include]
files = {folder}/queued.conf
"""
CONFIG = """
connection: sqlite:///queued.db
imports: [work]
http: false
queues: {default: {}}
"""
JOBS = """
import asyncio
from pathlib import Path

from queued import Job

class Slow(Job):
    async def handle(self):
        Path("began").touch()
        while not Path("may-end").exists():
            await asyncio.sleep(0.05)
        Path("ended").touch()
"""


class Supervisord(Daemon):
    """The daemon as a program of supervisord, as the example says but for places and the user."""

    def supervise(self) -> None:
        text = EXAMPLE.read_text()
        for old, new in {
            "/opt/queued/bin/queued": str(QUEUED),
            "/etc/queued/queue.yaml": str(self.config),
            "user=queued\n": "",
            "=/var/lib/queued\n": f"={self.folder}\n",
            'HOME="/var/lib/queued"': f'HOME="{self.folder}"',
            "/var/log/supervisor": str(self.folder),
        }.items():
            assert old in text, f"the example has no {old}"
            text = text.replace(old, new)
        (self.folder / "queued.conf").write_text(text)
        (self.folder / "main.conf").write_text(MAIN.format(folder=self.folder))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.tool("supervisord"), "-n"],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        until(lambda: "queued" in self.control("status"), "supervisord")

    def tool(self, name: str) -> list[str | Path]:
        return [sys.executable, "-m", f"supervisor.{name}", "-c", self.folder / "main.conf"]

    def control(self, *words: str) -> str:
        done = subprocess.run(
            [*self.tool("supervisorctl"), *words],
            capture_output=True, text=True, check=False, env=self.environment,
            timeout=2 * PATIENCE,
        )  # fmt: skip
        return done.stdout

    def its_log(self) -> str:
        log = self.folder / "queued.log"
        return log.read_text() if log.exists() else ""


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., Supervisord]]:
    made: list[Supervisord] = []

    def make(config: str) -> Supervisord:
        # what `QUEUED_RUNTIME_DIR` says in other tests is the default's task here
        made.append(Supervisord(tmp_path, config, jobs=JOBS))
        made[-1].supervise()
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


def test_it_starts_reloads_and_drains(supervised: Callable[..., Supervisord]) -> None:
    one = supervised(CONFIG)
    until(lambda: "RUNNING" in one.control("status"), "startsecs to be over", every=0.2)
    one.run("dispatch", "-c", str(one.config), "work.Slow")
    until((one.folder / "began").exists, "the job")
    one.config.write_text(CONFIG.replace("{default: {}}", "{default: {}, other: {}}"))
    one.control("signal", "HUP", "queued")
    until(lambda: "reload.done" in one.its_log(), "the reload")
    stopping = subprocess.Popen([*one.tool("supervisorctl"), "stop", "queued"])
    until(lambda: "daemon.stopping" in one.its_log(), "the drain")
    (one.folder / "may-end").touch()
    assert stopping.wait(PATIENCE) == 0
    assert (one.folder / "ended").exists()
    assert "STOPPED" in one.control("status")
    assert "master.stopped" in one.its_log(), "it was not killed"


def test_a_wrong_queue_yaml_is_fatal_and_says_why(supervised: Callable[..., Supervisord]) -> None:
    one = supervised(CONFIG.replace("queues: {default: {}}", "queues: {default: {sleeep: 1}}"))
    until(lambda: "FATAL" in one.control("status"), "the last try", every=0.2)
    assert 'queues.default.sleeep: unknown key; did you mean "sleep"?' in one.its_log()
