"""Jobs of the worker's process tests. They leave a line each in the file $LEDGER."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from queued.jobs.job import Job


def note(job: Job, word: str) -> None:
    with Path(os.environ["LEDGER"]).open("a") as file:
        file.write(f"{job.job_id} {os.getpid()} {word}\n")


class Quick(Job):
    name = "process.quick"

    async def handle(self) -> None:
        note(self, "quick")


class Sleeps(Job):
    name = "process.sleeps"
    seconds: float = 3600

    async def handle(self) -> None:
        note(self, "begun")
        await asyncio.sleep(self.seconds)
        note(self, "ended")


class Thread(Job):
    name = "process.thread"

    def handle(self) -> None:
        note(self, "begun")
        time.sleep(3600)


class HoldsTheGil(Job):
    """Holds the interpreter, and so the loop, as C code may."""

    name = "process.holds_the_gil"

    async def handle(self) -> None:
        note(self, "begun")
        ctypes.PyDLL(None).sleep(3600)


class Forks(Job):
    """Leaves a process behind that lives on."""

    name = "process.forks"

    async def handle(self) -> None:
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        note(self, f"child={pid}")
        await asyncio.sleep(3600)


class Strays(Job):
    """Forks, and both processes return into the worker's loop."""

    name = "process.strays"
    awaits: bool = False

    async def handle(self) -> None:
        pid = os.fork()
        if pid == 0 and self.awaits:
            await asyncio.sleep(0.1)
            note(self, "status=came-back")
        if pid:
            _, status = os.waitpid(pid, 0)  # noqa: ASYNC222 - it blocks, for a moment
            note(self, f"status={os.waitstatus_to_exitcode(status)}")


class ForksInThread(Job):
    name = "process.forks_in_thread"

    def handle(self) -> None:
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        note(self, f"child={pid}")
        os.waitpid(pid, 0)
        note(self, "reaped")


class StraysInThread(Job):
    name = "process.strays_in_thread"

    def handle(self) -> None:
        pid = os.fork()
        if pid:
            _, status = os.waitpid(pid, 0)
            note(self, f"status={os.waitstatus_to_exitcode(status)}")


class Dies(Job):
    name = "process.dies"

    async def handle(self) -> None:
        note(self, "begun")
        os.kill(os.getpid(), signal.SIGKILL)


class Grows(Job):
    name = "process.grows"

    async def handle(self) -> None:
        note(self, "begun")
        HOARD.append(bytearray(os.urandom(1)) * (64 << 20))


HOARD: list[bytearray] = []


class Environment(Job):
    name = "process.environment"

    async def handle(self) -> None:
        note(self, f"{os.environ.get('MINE')}:{os.getpriority(os.PRIO_PROCESS, 0)}")


def main() -> int:
    """Be a worker of the test, or one of ``queued work``."""
    import socket

    from queued.daemon.channel import Channel
    from queued.daemon.scoreboard import Scoreboard
    from queued.daemon.spec import WorkerSpec
    from queued.daemon.worker import process
    from queued.daemon.worker.forked import run_worker
    from queued.daemon.worker.standalone import work

    if number := int(os.environ.get("TOLD_BEFORE_ITS_LOOP", "0")):
        process.disinherit = lambda *_: os.kill(os.getpid(), number)
    spec = WorkerSpec.from_json(sys.argv[1])
    if spec.standalone:
        return work(spec)
    channel, board = map(int, sys.argv[2:])
    code = run_worker(spec, Channel(socket.socket(fileno=channel)), Scoreboard.attach(board))
    os._exit(code)


if __name__ == "__main__":
    # Under its own name, so that the jobs are those of the module and not of a script.
    from tests.process import worker_jobs

    sys.exit(worker_jobs.main())
