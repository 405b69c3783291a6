"""The service manager's protocol (sd_notify): datagrams to the socket that it names.

Without NOTIFY_SOCKET everything here does nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

MICROSECONDS = 1_000_000


class Notifier:
    """Takes the variables out of the environment, so that no child speaks for the daemon."""

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        watchdog = environ.pop("WATCHDOG_USEC", "")
        watched = environ.pop("WATCHDOG_PID", "") in {"", str(os.getpid())}
        self.watchdog_every: float | None = None
        """Seconds between two signs of life: half of what the service manager waits."""
        if watched and watchdog.isdecimal() and int(watchdog) > 0:
            self.watchdog_every = int(watchdog) / MICROSECONDS / 2
        self._next_sign = 0.0
        self._status = ""

    def ready(self) -> None:
        """Say that the daemon is up, or that a reload is done."""
        self._send("READY=1")

    def reloading(self) -> None:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self, seconds: float) -> None:
        """Say that the daemon ends, and how long that may take."""
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * MICROSECONDS)}")

    def status(self, text: str) -> None:
        """Show one line of text in the service's status; said again only when it changes."""
        text = text.replace("\n", " ")
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def watchdog(self, now: float) -> None:
        """Give a sign of life when one is due; ``now`` is monotonic seconds."""
        if self.watchdog_every is not None and now >= self._next_sign:
            self._next_sign = now + self.watchdog_every
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A service manager that is gone or does not read must not stop the daemon.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), self._address)


def _address(name: str) -> str:
    if name.startswith("@"):  # an abstract name
        return "\0" + name[1:]
    return name if name.startswith("/") else ""
