"""The template: a process that imports the user's code once and forks workers on request.

Its master speaks to it over a socket of packets, so that a request and its descriptors are one:

    → {"type": "fork", "id": n, "spec": ...} with the worker's channel and scoreboard
    ← {"type": "ready", "warnings": [...]}       the imports are done
    ← {"type": "failed", "error": ...}           they are not; the process ends
    ← {"type": "forked", "id": n, "pid": ...}    or "unforked" with "error" and "died"

Workers share its memory and are up in milliseconds. They are the master's own children and live on
when the template dies. Where there is no subreaper (``InPlace``), the master forks them itself and
each imports for itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import deque
from contextlib import suppress

from queued.daemon.channel import Channel, Frame
from queued.daemon.master.fork import fork
from queued.daemon.master.template_process import (
    MAX_REQUEST,
    Code,
    Programs,
    close_all,
    import_and_work,
    run_template,
)
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import WorkerSpec

FORK_TIMEOUT = 10.0
"""Seconds from one answer to the next; one takes milliseconds."""
IMPORTS_WITHIN = 300.0
"""Seconds. An import that waits for ever would keep every later reload and restart waiting, too."""


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
        """Why its imports failed, as it has said."""
        self.hung = ""
        """What it was killed for."""
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
                lambda: run_template(theirs, code, programs, master), keep=[theirs.fileno()]
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
            close_all(fds)
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
            close_all(fds)

    def receive(self) -> list[Frame]:
        """Return what it has said, without blocking."""
        frames: list[Frame] = []
        while data := self._packet():
            try:
                frame = _understood(data)
            except (ValueError, LookupError, TypeError, RecursionError):
                self.kill()  # an import wrote to our socket: nothing more that comes can be trusted
                self.hung = "an import wrote to a socket of queued's"
                break
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

    def hangs(self, now: float) -> str:
        """Say what takes too long, the imports or an answer; nothing: it does not hang."""
        if not self.imported and now - self.started > IMPORTS_WITHIN:
            return f"the imports took longer than {IMPORTS_WITHIN:g} s"
        if self._pending and now - self._heard > FORK_TIMEOUT:
            return f"the template forked no worker for {FORK_TIMEOUT:g} s"
        return ""

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
            close_all(fds)
        self._requests.clear()
        self._pending.clear()
        self._sock.close()


def _understood(data: bytes) -> Frame:
    """Return a frame.

    :raises (ValueError, LookupError, TypeError, RecursionError): it is none of ours.
    """
    frame: Frame = json.loads(data)
    known: dict[str, dict[str, type]] = {
        "ready": {"warnings": list},
        "failed": {"error": str},
        "forked": {"id": int, "pid": int},
        "unforked": {"id": int, "error": str, "died": bool},
    }
    for name, kind in known[frame["type"]].items():
        if not isinstance(frame[name], kind):
            raise TypeError(name)
    return frame


class InPlace:
    """Stands in for a template where there is no subreaper: the master forks, workers import."""

    def __init__(self, code: Code, generation: int, programs: Programs, *, now: float) -> None:
        self.code = code
        self.generation = generation
        self.started = now
        self.ready = self.imported = True
        self.error = self.hung = ""
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
            lambda: import_and_work(self.code, self._programs, spec, channel, board),
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


# the process itself
