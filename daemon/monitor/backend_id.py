"""The name of a back-end in the metrics: the same on every host that uses it, and no secret."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qsl, unquote, urlsplit

from queued.environment import redact

_ALIASES = {
    "rediss": "redis",
    "unix": "redis",
    "rediss+sentinel": "redis+sentinel",
    "rediss+cluster": "redis+cluster",
}
_PORTS = {
    "redis": "6379",
    "redis+sentinel": "26379",
    "redis+cluster": "6379",
    "postgresql": "5432",
}
_LOOPBACK = ("localhost", "127.", "[::1]")


def backend_id(url: str, host: str) -> str:
    """Return eight hex digits for the back-end of a connection URL.

    What only ``host`` can reach (a file, a socket, a loopback address) is named together with it,
    since it is another one on each host. User and password do not count, nor how it is reached.

    :param url: as ``normalise`` returns it.
    """
    try:
        parts = urlsplit(redact(url))
    except ValueError:  # a driver of somebody else may know better
        parts = urlsplit(f"{url.partition(':')[0]}:")
    scheme = _ALIASES.get(parts.scheme, parts.scheme)
    options = dict(parse_qsl(parts.query))
    servers = options.get("host") or parts.netloc.rpartition("@")[2]
    path = unquote(parts.path).strip("/")
    if parts.scheme == "unix":
        servers, path = f"/{path}", ""
    if scheme == "redis+sentinel":
        path = path if "/" in path else f"{path}/{options.pop('db', '0')}"
    port = options.get("port") or _PORTS.get(scheme, "")
    named = sorted(_with_port(one, port) for one in unquote(servers).lower().split(","))
    local = all(one.startswith((":", "/", *_LOOPBACK)) for one in named)
    database = options.get("dbname") or options.get("db") or path
    prefix = options.get("prefix", "queued")
    said = [scheme, *named, database or "0", prefix, host if local else ""]
    return hashlib.sha256(repr(said).encode(errors="replace")).hexdigest()[:8]


def _with_port(server: str, port: str) -> str:
    return server if server.rpartition("]")[2].count(":") == 1 else f"{server}:{port}"
