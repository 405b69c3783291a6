"""Connection URLs that name several servers: those of Sentinel and of a cluster.

Here and not with the Redis driver, since the master checks its configuration without any driver.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

Host = tuple[str, int]

SENTINEL, CLUSTER = "sentinel", "cluster"
PORTS = {SENTINEL: 26379, CLUSTER: 6379}
"""The port of a host that names none, by what follows the + of a scheme."""

ONE_DATABASE = "a cluster has one database, 0: leave it out of the URL"
UNREADABLE = "the host or port is wrong; special characters of a password are written as %40"


class Several(NamedTuple):
    """What such a URL says, apart from its options."""

    kind: str
    """``SENTINEL`` or ``CLUSTER``."""
    hosts: tuple[Host, ...]
    service: str
    """What sentinels call the primary; empty for a cluster."""
    plain: str
    """The URL with its first host alone, as of a single server. It holds the password."""


def read(url: str) -> Several | None:
    """Return what a URL of several servers says; None: its scheme is of one.

    :raises ValueError: what is wrong with it, in words that show no part of a password.
    """
    scheme, _, kind = url.partition("://")[0].partition("+")
    if scheme not in {"redis", "rediss"} or kind not in PORTS:
        return None
    try:
        parts = urlsplit(url)
        login, at, servers = parts.netloc.rpartition("@")
        hosts = tuple(_host(one, PORTS[kind]) for one in servers.split(","))
    except ValueError:
        raise ValueError(UNREADABLE) from None
    service, database = _path(kind, parts)
    first = servers.split(",")[0]
    plain = f"{scheme}://{login}{at}{first}/{database}"
    return Several(kind, hosts, service, f"{plain}?{parts.query}" if parts.query else plain)


def _host(text: str, port: int) -> Host:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.port == 0 or parts.path:
        raise ValueError(text)
    return parts.hostname, parts.port or port


def _path(kind: str, parts: SplitResult) -> tuple[str, str]:
    """Return service and database."""
    path = [unquote(part) for part in parts.path.strip("/").split("/")]
    if kind == CLUSTER:
        if path not in (["0"], [""]):
            raise ValueError(ONE_DATABASE)
        return "", "0"
    service, database, *more = [*path, ""]
    if not service:
        raise ValueError(
            "the service that the sentinels watch is missing;"
            " it follows the hosts, as in redis+sentinel://host:26379/mymaster"
        )
    if any(more) or (database and not database.isdecimal()):
        raise ValueError(
            "a database of Redis is a number, as in redis+sentinel://host:26379/mymaster/0"
        )
    return service, database
