"""The template's own process: it imports the user's code, and then forks a worker for each request.

What it hears and says is in ``template``, the master's side.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from queued.daemon.channel import Channel, Frame
from queued.daemon.master.fork import fork_for
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import MonitorSpec, WorkerSpec
from queued.errors import QueuedError

MAX_REQUEST = 512 * 1024
"""Bytes of one packet; a spec is about one kilobyte."""
IMPORT_PATIENCE = 5.0
"""Seconds that a fork waits for what other threads of the template are importing."""
IMPORT_FAILED = 78
MAX_SAID = 30_000
"""Characters of what is wrong with the imports: escaped, they still fit a packet."""


class Programs(Protocol):
    """What children run. The master loads none of it."""

    def load(self, imports: Sequence[str], folder: Path) -> list[str]:
        """Import the user's modules; return warnings; raise ``ImportFailed``."""

    def warm(self, url: str) -> None:
        """Import what every worker needs; raise ``QueuedError``."""

    def worker(self, spec: WorkerSpec, channel: Channel, board: Scoreboard) -> int: ...

    def monitor(
        self, spec: MonitorSpec, channel: Channel, listener: socket.socket | None
    ) -> int: ...


@dataclass(frozen=True, slots=True)
class Code:
    """What a template imports."""

    imports: tuple[str, ...]
    folder: Path
    url: str
    """The back-end, for its driver's modules."""


def run_template(sock: socket.socket, code: Code, programs: Programs, master: int) -> int:
    """Be a template, until its master lets go of ``sock``; return the exit code."""
    sock.setblocking(True)
    try:
        warnings = programs.load(code.imports, code.folder)
        programs.warm(code.url)
    except QueuedError as error:
        _say(sock, {"type": "failed", "error": "\n".join(_first(str(error).splitlines()))})
        return IMPORT_FAILED
    gc.collect()
    gc.freeze()  # what is here now is never collected, so its pages stay shared
    _say(sock, {"type": "ready", "warnings": _first(warnings)})
    while request := _request(sock):
        _answer(sock, request, programs, master)
    return 0


def import_and_work(
    code: Code, programs: Programs, spec: WorkerSpec, channel: Channel, board: Scoreboard
) -> int:
    """Be a worker that imports for itself, where there is no template; return the exit code."""
    try:
        programs.load(code.imports, code.folder)
    except QueuedError as error:
        channel.send({"type": "import_failed", "error": str(error)})
        return IMPORT_FAILED
    return programs.worker(spec, channel, board)


def _request(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    data, fds, _, _ = socket.recv_fds(sock, MAX_REQUEST, 2, socket.MSG_CMSG_CLOEXEC)
    return (json.loads(data), fds) if data else None


def _answer(
    sock: socket.socket, request: tuple[dict[str, Any], list[int]], programs: Programs, master: int
) -> None:
    frame, fds = request
    spec = WorkerSpec.from_json(frame["spec"])
    _let_threads_import()

    def run() -> int:
        channel = Channel(socket.socket(fileno=fds[0]))
        return programs.worker(spec, channel, Scoreboard.attach(fds[1]))

    try:
        pid = fork_for(master, run, close=[sock.fileno()])
    except OSError as error:
        died = isinstance(error, ChildProcessError)  # else there was no process to be had
        _say(sock, {"type": "unforked", "id": frame["id"], "error": str(error), "died": died})
    else:
        _say(sock, {"type": "forked", "id": frame["id"], "pid": pid})
    close_all(fds)


def _let_threads_import() -> None:
    """Wait for the imports of other threads: a fork in the middle of one leaves it locked for ever.

    The user's modules have been warned about their threads; this is the lock that they cannot see.
    """
    deadline = time.monotonic() + IMPORT_PATIENCE
    while threading.active_count() > 1 and time.monotonic() < deadline and _imports_under_way():
        time.sleep(0.005)


def _imports_under_way() -> bool:
    modules = [one for one in list(sys.modules.values()) if isinstance(one, ModuleType)]
    # Not by the modules' own __getattr__, which may import.
    specs = [object.__getattribute__(module, "__dict__").get("__spec__") for module in modules]
    return any(getattr(spec, "_initializing", False) for spec in specs)


def _first(lines: Sequence[str]) -> list[str]:
    """Return as many lines as a packet takes: one that is too long would never be sent."""
    found: list[str] = []
    room = MAX_SAID
    for line in lines:
        room -= len(line)
        if room < 0:
            return [*found, f"and {len(lines) - len(found)} more like these"]
        found.append(line)
    return found


def _say(sock: socket.socket, frame: Frame) -> None:
    with suppress(OSError):  # the master is gone: so are we, at the next request
        sock.send(json.dumps(frame).encode())


def close_all(fds: Sequence[int]) -> None:
    """Close what a request carries."""
    for fd in fds:
        os.close(fd)
