"""The HTTP listener: bound by the master before it forks, so that a taken port fails at once."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from queued.config.schema import Http
from queued.errors import QueuedError

BACKLOG = 256
LOCALHOST = "127.0.0.1"


def listen(http: Http, beside: socket.socket | None = None) -> socket.socket:
    """Bind and listen where queue.yaml says; the monitor accepts. Nothing here waits.

    :param beside: our own listener, which the new one follows. It may have the same port on other
        addresses: from 127.0.0.1:80 to 0.0.0.0:80 no connection is refused meanwhile.
    :raises QueuedError: the address is taken, not ours or not allowed; one line that says so.
    """
    try:
        try:
            return _bound(http)
        except OSError as error:
            if beside is None or error.errno != errno.EADDRINUSE:
                raise
        with _shared(beside):
            return _bound(http, shared=True)
    except OSError as error:
        raise QueuedError(f"http.listen: {http.listen} {_reason(error)}") from error


def _bound(http: Http, *, shared: bool = False) -> socket.socket:
    host = LOCALHOST if http.host == "localhost" else http.host  # a resolver may take its time
    numeric = socket.AI_PASSIVE | socket.AI_NUMERICHOST
    found = socket.getaddrinfo(host, http.port, type=socket.SOCK_STREAM, flags=numeric)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with _shared(sock) if shared else nullcontext():
            sock.bind(address)
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _shared(sock: socket.socket) -> Iterator[None]:
    """Let other sockets of ours have the same port, for a moment: later ones are refused again."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        yield
    finally:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


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
