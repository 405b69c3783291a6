"""The commands' side of the control socket: see ``control``.

It loads little: whoever is on call types `queued status` and waits for it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from queued.daemon.master.runtime import Runtime, reachable
from queued.errors import ControlError

TIMEOUT = 10.0
"""Seconds a command waits for an answer, unless it says otherwise."""
_AT_ONCE = 64 * 1024
"""Bytes of an answer that are read at a time."""


class NoDaemon(ControlError):
    """There is no daemon for the configuration."""


class ControlClient:
    """A command's side: one request, one reply, blocking.

    :param config: path of the queue.yaml whose daemon is meant.
    """

    def __init__(self, config: Path, environ: Mapping[str, str] | None = None) -> None:
        self._config = config
        self._path = Runtime.for_client(config, environ).socket_path

    def request(
        self, cmd: str, *, timeout: float | None = TIMEOUT, **arguments: Any
    ) -> dict[str, Any]:
        """Ask the daemon; return its answer without ``ok``.

        :param timeout: seconds; None waits for as long as it takes.
        :raises NoDaemon: there is none.
        :raises ControlError: it does not answer, or it refuses.
        """
        line = json.dumps({"cmd": cmd, **arguments}).encode() + b"\n"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            self._connect(sock)
            try:
                sock.sendall(line)
                reply = _read_line(sock)
            except TimeoutError as error:
                raise ControlError(f"the daemon did not answer within {timeout:g} s") from error
            except OSError as error:
                raise ControlError(f"the daemon went away: {error.strerror}") from error
        if not reply:
            raise ControlError("the daemon ended before it answered")
        answer: dict[str, Any] = json.loads(reply)
        if not answer.pop("ok"):
            raise ControlError(answer["error"])
        return answer

    def _connect(self, sock: socket.socket) -> None:
        try:
            with reachable(self._path) as name:
                sock.connect(name)
        except PermissionError as error:
            raise ControlError(
                f"the daemon for {self._config} belongs to another user"
                f" ({self._path} cannot be opened); try as that user"
            ) from error
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise NoDaemon(
                f"queued is not running for {self._config} (no control socket);"
                f" start it with: queued start -c {self._config}"
            ) from error
        except OSError as error:
            raise ControlError(f"{self._path}: {error.strerror}") from error


def _read_line(sock: socket.socket) -> bytes:
    parts = []
    while data := sock.recv(_AT_ONCE):
        parts.append(data)
        if data.endswith(b"\n"):
            break
    return b"".join(parts)
