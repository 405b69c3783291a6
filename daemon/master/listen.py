"""The HTTP listener: bound by the master before it forks, so that a taken port fails at once."""

from __future__ import annotations

import errno
import socket

from queued.config.schema import Http
from queued.errors import QueuedError

BACKLOG = 256


def listen(http: Http) -> socket.socket:
    """Bind and listen where queue.yaml says; the monitor accepts.

    :raises QueuedError: the address is taken, not ours or not allowed; one line that says so.
    """
    try:
        found = socket.getaddrinfo(
            http.host, http.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise QueuedError(f"http.listen: {http.listen}: {_reason(error)}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise QueuedError(f"http.listen: {http.listen} {_reason(error)}") from error
    return sock


def address(sock: socket.socket) -> str:
    """Return ``host:port`` as bound: the port is real even where queue.yaml said 0."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                "is in use by another program; choose another port, or 0 for a free one,"
                " or stop what listens there"
            )
        case errno.EACCES:
            return "may not be bound by this user; ports below 1024 are the system's"
        case errno.EADDRNOTAVAIL:
            return "is no address of this machine"
        case _:
            return error.strerror or str(error)
