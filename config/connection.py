"""Which back-end is used: the first of a flag, QUEUE_CONNECTION, queue.yaml, the default."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from queued.drivers import known_schemes, several
from queued.environment import DEFAULT_CONNECTION, connection_from, normalise
from queued.errors import ConfigError


def resolve(
    in_file: str | None, path: Path, environ: Mapping[str, str], flag: str | None = None
) -> tuple[str, str]:
    """Return the URL and what named it. ``in_file`` is ``connection:`` of the queue.yaml ``path``.

    A relative path of SQLite starts at the file's folder where the file names it, else at the
    working directory. No message shows more of a URL than its scheme.

    :raises ConfigError: the one that is used is wrong.
    """
    if flag:
        return _checked(flag, "--connection", Path.cwd()), "--connection"
    named = connection_from(environ)
    if named is not None:
        url, source = named
        return _checked(url, source), source
    if in_file is not None:
        return _checked(in_file, "", path.parent), f"connection of {path}"
    return normalise(DEFAULT_CONNECTION, path.parent), "the default"


def _checked(url: str, where: str, folder: Path | None = None) -> str:
    try:
        if folder is not None:
            url = normalise(url, folder)
        _check(url)
    except ConfigError as error:
        prefix = f"{where}: " if where else ""
        raise ConfigError([prefix + problem for problem in error.problems]) from None
    return url


def _check(url: str) -> None:
    """Refuse what no daemon can use, without importing the driver: the master stays small."""
    scheme = url.partition("://")[0]
    known = [name for name in known_schemes() if name != "memory"]
    if scheme not in known and scheme != "memory":
        near = get_close_matches(scheme, known, n=1)
        hint = f'; did you mean "{near[0]}://"?' if near else f"; known are {', '.join(known)}"
        raise ConfigError([f"no driver for {scheme}://{hint}"])
    if scheme == "memory" or url.partition("?")[0] in {
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
    }:
        raise ConfigError(
            ["is private to one process, and the daemon is several: use sqlite:///queued.db"]
        )
    if scheme in {"redis", "rediss"}:
        database = _database(url)
        if database and not database.isdecimal():
            raise ConfigError(["a database of Redis is a number, as in redis://localhost:6379/0"])
    try:
        several.read(url)
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    if scheme == "postgresql":
        _database(url)
        if find_spec("psycopg") is None:
            raise ConfigError(["postgresql:// needs psycopg: pip install 'queued[postgres]'"])


def _database(url: str) -> str:
    """Return the name of a server's database, if any; refuse a wrong host or port."""
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0
    except ValueError:
        port_is_wrong = True
    if port_is_wrong:
        raise ConfigError([several.UNREADABLE])
    return parts.path.strip("/")
