"""A daemon whose worker and monitor are tiny, so that tests see the master and nothing else.

Run as a program it is ``queued start`` with these. A queue's ``env: {ACT: ...}`` says what its
workers do beside waiting to be told to go; several acts are separated by spaces:

    mute            never ready                  boot             exits with code 9 before it is
    exit=CODE       exits once it is ready       close            closes every descriptor
    job[=N]         N jobs run, for ever         late             its jobs are past their deadline
    deaf            takes no notice of SIGTERM   recycle          settles a job and leaves: max_jobs
    family          has a child of its own       count            sends snapshots
    memory          leaves at once: max_memory   begin            begins a job, and settles none
    junk            writes nonsense to its channel

The monitor writes what it hears to ``heard.jsonl`` and takes its orders from files: ``suspects``
(names of queues), ``keep`` (settles nothing), ``monitor-exit`` (exits with 4).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from queued.config.load import load
from queued.daemon.channel import Channel
from queued.daemon.master import master, restart, template
from queued.daemon.master.control_client import ControlClient
from queued.daemon.master.master import run
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import MonitorSpec, WorkerSpec
from queued.errors import AlreadyRunning, ConfigError, ControlError, ImportFailed, QueuedError
from queued.jobs.imports import load as load_imports
from tests.process.harness import Daemon, until

ROOT = Path(__file__).resolve().parents[2]


JUNK = (
    b"[]",
    b"null",
    b"{}",
    b"\xff",
    b"[" * 100_000,
    b'{"type":"snapshot","data":' + b"[" * 100_000,
    b'{"type":["ready"]}',
    b'{"type":"leaving"}',
    b'{"type":"event"}',
    b'{"type":"event","event":"x","level":1,"self":2,"event_kw":{}}',
    b'{"type":"settled"}',
    b'{"type":"suspects","queues":7}',
    b'{"type":"sample"}',
    b'{"type":"snapshot",}',
    b'{"type":"snapshot","data":{"counters":7}}',
)
"""Frames that a job could write to its worker's channel."""


class Told:
    """Signals that have come."""

    def __init__(self, *numbers: int) -> None:
        self.numbers: set[int] = set()
        for number in numbers:
            signal.signal(number, lambda number, _: self.numbers.add(number))

    def __bool__(self) -> bool:
        return bool(self.numbers)


class StandIns:
    def load(self, imports: Sequence[str], folder: Path) -> list[str]:
        return load_imports(imports, folder)

    def warm(self, url: str) -> None:
        pass

    def worker(self, spec: WorkerSpec, channel: Channel, board: Scoreboard) -> int:
        acts = {name: value for name, _, value in map(split, spec.env.get("ACT", "").split())}
        if "boot" in acts:
            return 9
        told = Told(signal.SIGQUIT, *([] if "deaf" in acts else [signal.SIGTERM]))
        if "deaf" in acts:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if "mute" not in acts:
            channel.send({"type": "ready"})
        act(spec, acts, board)
        if "junk" in acts:
            for frame in JUNK:
                channel.send_raw(frame)
        if "exit" in acts:
            return int(acts["exit"])
        reason = "max_jobs" if "recycle" in acts else "max_memory" if "memory" in acts else ""
        if spec.solo:
            reason = "empty"
        while not told and not channel.closed and not reason:
            select.select([channel], [], [], 0.05)
            note_quiet(channel)
            board.beat(time.monotonic())
            if "count" in acts:
                channel.send(snapshot(spec), droppable=True)
        channel.send({"type": "leaving", "reason": reason or "drained"})
        return 0

    def monitor(self, spec: MonitorSpec, channel: Channel, listener: socket.socket | None) -> int:
        told = Told(signal.SIGTERM)
        channel.send({"type": "ready"})
        with Path("heard.jsonl").open("a", buffering=1) as heard:
            while not told and not channel.closed:
                if Path("monitor-exit").exists():
                    Path("monitor-exit").unlink()
                    return 4
                select.select([channel], [], [], 0.05)
                for frame in channel.receive():
                    heard.write(json.dumps(frame | {"monitor": os.getpid()}) + "\n")
                    if frame["type"] == "gone" and not Path("keep").exists():
                        channel.send({"type": "settled", "owner": frame["owner"]})
                channel.send({"type": "sample", "at": 1.0, "driver_up": True, "queues": {}})
                if Path("suspects").exists():
                    queues = Path("suspects").read_text().split()
                    channel.send({"type": "suspects", "queues": queues})
        return 0


def note_quiet(channel: Channel) -> None:
    if any(frame["type"] == "quiet" for frame in channel.receive()):
        Path(f"quiet-{os.getpid()}").touch()


def split(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def act(spec: WorkerSpec, acts: dict[str, str], board: Scoreboard) -> None:
    now = time.monotonic()
    if "recycle" in acts:
        board.begin(0, "job-0", "Recycled", 1, now, 0.0, 3, 0.0)
        board.clear(0)
    if "begin" in acts:
        board.begin(0, f"job-{spec.owner}", "Begun", 1, now, 0.0, 3, 0.0)
    for slot in range(int(acts.get("job", "0") or 1) if "job" in acts else 0):
        deadline = now if "late" in acts and slot == 0 else 0.0
        board.begin(slot, f"job-{spec.owner}-{slot}"[-64:], "Endless", 1, now, deadline, 3, 0.0)
    if "close" in acts:
        os.closerange(3, 1024)
        time.sleep(60)
    if "family" in acts and os.fork() == 0:
        Path(f"family-{os.getppid()}").write_text(str(os.getpid()))
        time.sleep(600)


def snapshot(spec: WorkerSpec) -> dict[str, Any]:
    series = [[{"queue": spec.pool}, 1]]
    data = {"counters": {"attempts_total": series}, "histograms": {}, "gauges": {}}
    return {"type": "snapshot", "seq": 1, "data": data}


class Master(Daemon):
    """The daemon with its stand-ins, as a process of its own."""

    def start(self, *arguments: str, ready: bool = True, program: Path = Path(__file__)) -> Master:
        import subprocess

        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, program, self.config, *arguments],
                cwd=self.folder,
                env=self.environment | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        if ready:
            until(self.is_ready, f"the daemon to be ready; its log:\n{self.output()}")
        return self

    def clean_up(self) -> None:
        super().clean_up()
        while self.processes():  # one that a worker has forked meanwhile
            super().clean_up()

    @property
    def client(self) -> ControlClient:
        return ControlClient(self.config, self.environment)

    def status(self) -> dict[str, Any]:
        return self.client.request("status", timeout=30.0)

    def is_ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, f"the daemon ended:\n{self.output()}"
        try:
            return self.status()["state"] == "running"
        except ControlError:
            return False

    def pids(self, pool: str | None = None) -> set[int]:
        """Return the pids of the workers that run."""
        return {one["pid"] for one in self.workers(pool) if one["state"] == "running"}

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of the log with an event."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def heard(self, kind: str) -> list[dict[str, Any]]:
        """Return the frames of a type that the monitor has heard."""
        path = self.folder / "heard.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [frame for frame in map(json.loads, lines) if frame["type"] == kind]

    def quieted(self) -> set[int]:
        """Return the pids of the workers that were told to start no more jobs."""
        return {int(path.name.partition("-")[2]) for path in self.folder.glob("quiet-*")}

    def edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))


def main() -> int:
    if "QUEUED_TEST_FIRST_DELAY" in os.environ:  # a crash loop takes half a minute otherwise
        restart.FIRST_DELAY = float(os.environ["QUEUED_TEST_FIRST_DELAY"])
    if "QUEUED_TEST_FORK_TIMEOUT" in os.environ:
        template.FORK_TIMEOUT = float(os.environ["QUEUED_TEST_FORK_TIMEOUT"])
    if "QUEUED_TEST_NO_SUBREAPER" in os.environ:  # as on macOS
        master.become_subreaper = lambda: False
    try:
        return run(load(Path(sys.argv[1])), programs=StandIns())
    except QueuedError as error:
        print(f"queued: {error}", file=sys.stderr)
        match error:
            case ConfigError() | ImportFailed():
                return 78
            case AlreadyRunning():
                return 75
        return 1


if __name__ == "__main__":
    sys.exit(main())
