"""A real PostgreSQL server for the tests: Debian's, in a folder of the test, on a free port.

It refuses to run as root, so that root starts it as ``postgres``, or as ``nobody``.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.contract.servers import START_WITHIN, free_port

CLUSTER = ("-U", "queued", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""Settings for tests that crash nothing."""


def program(name: str) -> Path | None:
    """Return one of PostgreSQL's programs; Debian keeps them off PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(installed[-1]) if installed else shutil.which(name)
    return None if found is None else Path(found)


def _user() -> dict[str, Any]:
    """Return as whom the server runs, for ``subprocess``."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is no user for it")


@dataclass
class Postgresql:
    """One server. ``start`` after ``stop`` or ``kill`` keeps port, folder and settings."""

    folder: Path
    settings: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"postgresql://queued:not-checked@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def create(self) -> Self:
        """Make the cluster: whoever connects from this host is trusted."""
        as_user = _user()
        if as_user:
            os.chown(self.folder, as_user["user"], as_user["group"])
        initdb = program("initdb")
        assert initdb
        subprocess.run(
            [initdb, "-D", self.folder / "data", "--no-sync", "--no-instructions", *CLUSTER],
            check=True,
            capture_output=True,
            cwd="/",
            **as_user,
        )
        return self

    def start(self) -> Self:
        """Start and wait until it takes connections; on a port that is free, the first time."""
        self.port = self.port or free_port()
        postgres = program("postgres")
        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            "shared_buffers=16MB",
            "max_connections=60",
            *self.settings,
        )
        command = [str(postgres), "-D", str(self.folder / "data")]
        for setting in settings:
            command += ["-c", setting]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd="/", **_user()
            )
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.log}")
            with contextlib.suppress(psycopg.OperationalError), self.connect():
                return self
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the server does not answer: {self.log}")

    def connect(self) -> psycopg.Connection[Any]:
        """Return another program's connection; each statement commits by itself."""
        return psycopg.connect(self.url, autocommit=True, connect_timeout=5)

    def run(self, statement: str) -> list[Any]:
        """Run one statement as an operator would."""
        with self.connect() as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            rows: list[Any] = cursor.fetchall() if cursor.description else []
            return rows

    def restart(self) -> Self:
        """What ``pg_ctl restart -m fast`` does: sessions are ended, then everything is written."""
        self.stop()
        return self.start()

    def stop(self) -> None:
        """Fast shutdown. Idempotent."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Immediate shutdown, as a crash: nothing is written, the next start recovers. Idempotent.

        Not SIGKILL, which would leave the server's children and its shared memory behind.
        """
        self._end(signal.SIGQUIT)

    def pause(self) -> None:
        """SIGSTOP to all its processes: connections stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, signum: signal.Signals) -> None:
        assert self.process
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signum)

    def _end(self, signum: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self._signal_all(signal.SIGCONT)
        self.process.send_signal(signum)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def running_postgresql(*settings: str) -> Iterator[Postgresql]:
    """Run a server in a folder that its user can reach (pytest's are the tester's own)."""
    with tempfile.TemporaryDirectory(prefix="queued-pg-") as folder:
        server = Postgresql(Path(folder), settings).create()
        try:
            yield server.start()
        finally:
            server.kill()
