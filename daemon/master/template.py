"""The template: a process that imports the user's code once and forks workers on request.

Its master speaks to it over a socket of packets, so that a request and its descriptors are one:

    → {"type": "fork", "id": n, "spec": ...} with the worker's channel and scoreboard
    ← {"type": "ready", "warnings": [...]}       the imports are done
    ← {"type": "failed", "error": ...}           they are not; the process ends
    ← {"type": "forked", "id": n, "pid": ...}    or "unforked" with "error"

Workers share its memory and are up in milliseconds. They are the master's own children and live on
when the template dies. Where there is no subreaper (``InPlace``), the master forks them itself and
each imports for itself.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from queued.daemon.channel import Channel, Frame
from queued.daemon.master.fork import fork, fork_for
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import MonitorSpec, WorkerSpec
from queued.errors import QueuedError

MAX_REQUEST = 512 * 1024
"""Bytes of one packet; a spec is about one kilobyte."""
FORK_TIMEOUT = 10.0
"""Seconds from one answer to the next; one takes milliseconds."""
IMPORT_PATIENCE = 5.0
"""Seconds that a fork waits for what other threads of the template are importing."""
IMPORT_FAILED = 78


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


class Template:
    """The master's side of one template process."""

    def __init__(self, code: Code, generation: int, programs: Programs, *, now: float) -> None:
        self.code = code
        self.generation = generation
        self.started = now
        self.ready = False
        self.imported = False
        """It has been ready once."""
        self.error = ""
        """Why its imports failed."""
        self.closed = False
        """It is gone: what was asked of it and not answered never will be."""
        self._requests: deque[tuple[bytes, list[int]]] = deque()
        self._pending: set[int] = set()
        self._heard = now
        """When it last answered, or was asked while it had nothing to do."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._sock = ours
        master = os.getpid()
        with theirs:
            self.pid: int | None = fork(
                lambda: _main(theirs, code, programs, master), keep=[theirs.fileno()]
            )

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def pending(self) -> bool:
        """Whether a fork is under way whose pid is not known yet."""
        return bool(self._pending)

    def fork(
        self, key: int, spec: WorkerSpec, channel: Channel, board: Scoreboard, *, now: float
    ) -> None:
        """Ask for a worker; ``receive`` will say its pid under ``key``."""
        request = {"type": "fork", "id": key, "spec": spec.to_json()}
        # Duplicates, since the caller closes its ends at once and the socket may be full.
        fds = [os.dup(channel.fileno())]
        try:
            fds.append(os.dup(board.fd))
        except OSError:
            _close_all(fds)
            raise
        self._requests.append((json.dumps(request).encode(), fds))
        if not self._pending:
            self._heard = now
        self._pending.add(key)
        self.flush()

    def flush(self) -> None:
        """Send the requests that the socket takes."""
        while self._requests:
            data, fds = self._requests[0]
            try:
                socket.send_fds(self._sock, [data], fds)
            except BlockingIOError:
                return
            except OSError:  # it is dying; its exit says so
                pass
            self._requests.popleft()
            _close_all(fds)

    def receive(self) -> list[Frame]:
        """Return what it has said, without blocking."""
        frames = []
        while data := self._packet():
            frame = json.loads(data)
            if frame["type"] == "ready":
                self.ready = self.imported = True
            elif frame["type"] == "failed":
                self.error = frame["error"]
            else:
                self._pending.discard(frame["id"])
                self._heard = time.monotonic()
            frames.append(frame)
        return frames

    def _packet(self) -> bytes:
        try:
            data = self._sock.recv(MAX_REQUEST)
        except OSError:  # nothing there, or it is gone
            return b""
        if not data:  # it ends, or lives on without its end of the socket: it is of no use
            self.kill()
        return data

    def hangs(self, now: float) -> bool:
        """Tell whether it answers none of the requests that it has, for too long."""
        return bool(self._pending) and now - self._heard > FORK_TIMEOUT

    def kill(self) -> None:
        """End it, whatever it is doing. The master reaps it as any other child."""
        self.ready = False
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the socket; at its end the process ends too."""
        self.ready = False
        self.closed = True
        for _, fds in self._requests:
            _close_all(fds)
        self._requests.clear()
        self._pending.clear()
        self._sock.close()


class InPlace:
    """Stands in for a template where there is no subreaper: the master forks, workers import."""

    def __init__(self, code: Code, generation: int, programs: Programs, *, now: float) -> None:
        self.code = code
        self.generation = generation
        self.started = now
        self.ready = self.imported = True
        self.error = ""
        self.closed = False
        self.pid: int | None = None
        self.pending = False
        self._programs = programs
        self._answers: deque[Frame] = deque([{"type": "ready", "warnings": []}])

    def fork(
        self, key: int, spec: WorkerSpec, channel: Channel, board: Scoreboard, *, now: float
    ) -> None:
        del now
        pid = fork(
            lambda: _worker_in_place(self.code, self._programs, spec, channel, board),
            keep=[channel.fileno(), board.fd],
        )
        self._answers.append({"type": "forked", "id": key, "pid": pid})

    def receive(self) -> list[Frame]:
        frames = list(self._answers)
        self._answers.clear()
        return frames

    def kill(self) -> None:
        self.ready = False

    def close(self) -> None:
        self.closed = True


def _worker_in_place(
    code: Code, programs: Programs, spec: WorkerSpec, channel: Channel, board: Scoreboard
) -> int:
    try:
        programs.load(code.imports, code.folder)
    except QueuedError as error:
        channel.send({"type": "import_failed", "error": str(error)})
        return IMPORT_FAILED
    return programs.worker(spec, channel, board)


# the process itself


def _main(sock: socket.socket, code: Code, programs: Programs, master: int) -> int:
    sock.setblocking(True)
    try:
        warnings = programs.load(code.imports, code.folder)
        programs.warm(code.url)
    except QueuedError as error:
        _say(sock, {"type": "failed", "error": str(error)})
        return IMPORT_FAILED
    gc.collect()
    gc.freeze()  # what is here now is never collected, so its pages stay shared
    _say(sock, {"type": "ready", "warnings": warnings})
    while request := _request(sock):
        _answer(sock, request, programs, master)
    return 0


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
        _say(sock, {"type": "unforked", "id": frame["id"], "error": str(error)})
    else:
        _say(sock, {"type": "forked", "id": frame["id"], "pid": pid})
    _close_all(fds)


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


def _say(sock: socket.socket, frame: Frame) -> None:
    with suppress(OSError):  # the master is gone: so are we, at the next request
        sock.send(json.dumps(frame).encode())


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
