"""The control socket: JSON lines between a running master and the commands that speak to it.

    → {"cmd": "restart", "pool": "emails"}
    ← {"ok": true, ...}  or  {"ok": false, "error": "..."}

The server never blocks, and a reply may come later: a restart answers when its outcome is known.
The socket is 0600 in a folder of 0700: who can connect is who runs the daemon.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from queued.daemon.master.runtime import reachable

log = structlog.get_logger()

MAX_LINE = 64 * 1024
"""Bytes of a request; a longer one ends the connection."""
MAX_CLIENTS = 64
BREATHER = 1.0
"""Seconds without listening, when the system has no descriptor to spare."""

Commands = Mapping[str, Callable[["Request"], None]]


class Request:
    """One command from a client; answered once, now or later."""

    def __init__(self, connection: _Connection, line: bytes) -> None:
        self._connection = connection
        try:
            values = json.loads(line)
            self.command = str(values.pop("cmd"))
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            values, self.command = {}, ""
        self.arguments: dict[str, Any] = values

    def answer(self, **values: Any) -> None:
        self._connection.send({"ok": True, **values})

    def refuse(self, error: str) -> None:
        self._connection.send({"ok": False, "error": error})


class _Connection:
    """A client; bytes in, lines out."""

    def __init__(self, sock: socket.socket, server: ControlServer) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._server = server
        self._incoming = b""
        self._outgoing = b""

    def handle(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ:
            self._read()

    def _read(self) -> None:
        try:
            data = self.sock.recv(MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._incoming += data
        if not data or len(self._incoming) > MAX_LINE:
            self._server.forget(self)
            return
        *lines, self._incoming = self._incoming.split(b"\n")
        for line in lines:
            self._server.serve(Request(self, line))

    def send(self, reply: dict[str, Any]) -> None:
        """Send a reply; one to a client that is gone goes nowhere."""
        self._outgoing += json.dumps(reply).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self.sock.send(self._outgoing) :]
        except BlockingIOError:
            pass
        except OSError:
            self._server.forget(self)
            return
        self._server.watch(self, writing=bool(self._outgoing))


class ControlServer:
    """Listens on the runtime's socket, within the selector of the master's loop.

    The selector's data are callables that take the events. Only the holder of the lock makes one,
    so a socket that is there already is left over and replaced.
    """

    def __init__(self, path: Path, selector: selectors.BaseSelector, commands: Commands) -> None:
        self._path = path
        self._selector = selector
        self._commands = commands
        self._clients: set[_Connection] = set()
        path.unlink(missing_ok=True)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        before = os.umask(0o177)
        try:
            with reachable(path) as name:
                self._sock.bind(name)
        finally:
            os.umask(before)
        self._sock.listen(MAX_CLIENTS)
        self._deaf_until: float | None = None
        selector.register(self._sock, selectors.EVENT_READ, self._accept)

    def tick(self, now: float) -> None:
        """Listen again, if that is due."""
        if self._deaf_until is not None and now >= self._deaf_until:
            self._listen()

    def _listen(self, at: float | None = None) -> None:
        """Take clients, or none until ``at``: those who wait would wake the loop all the time."""
        self._deaf_until = at
        if at is None:
            self._selector.register(self._sock, selectors.EVENT_READ, self._accept)
        else:
            self._selector.unregister(self._sock)

    def _accept(self, _: int) -> None:
        try:
            sock, _address = self._sock.accept()
        except (BlockingIOError, ConnectionError):  # it has gone again
            return
        except OSError as error:  # no descriptor or memory to spare
            log.warning("control.deaf", error=error.strerror, next=f"again in {BREATHER:g} s")
            self._listen(at=time.monotonic() + BREATHER)
            return
        if len(self._clients) >= MAX_CLIENTS:
            sock.close()
            return
        client = _Connection(sock, self)
        self._clients.add(client)
        self._selector.register(sock, selectors.EVENT_READ, client.handle)

    def serve(self, request: Request) -> None:
        command = self._commands.get(request.command)
        if command is None:
            known = ", ".join(sorted(self._commands))
            request.refuse(f"unknown command {request.command!r}; known are {known}")
            return
        try:
            command(request)
        except RecursionError:  # an argument just as deep as the parser takes
            request.refuse("nested too deeply")

    def watch(self, client: _Connection, *, writing: bool) -> None:
        if client in self._clients:
            # One that does not read its answers gets no more of them.
            events = selectors.EVENT_WRITE if writing else selectors.EVENT_READ
            self._selector.modify(client.sock, events, client.handle)

    def forget(self, client: _Connection) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._selector.unregister(client.sock)
            client.sock.close()

    def close(self) -> None:
        for client in tuple(self._clients):
            self.forget(client)
        if self._deaf_until is None:
            self._selector.unregister(self._sock)
        self._sock.close()
        self._path.unlink(missing_ok=True)
