"""What the environment says: ``${VAR}`` and ``${file:NAME}`` in texts, and where the back-end is.

A leaf that producers import at their first dispatch, so that they and the daemon find the same
back-end by the same rules.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from queued import credentials
from queued.errors import ConfigError

DEFAULT_CONNECTION = "sqlite:///queued.db"
DEFAULT_CONFIG = "queue.yaml"
URL_EXAMPLES = "a URL such as redis://localhost:6379/0 or sqlite:///queued.db"

_LARGEST_CONFIG = 256 << 10
_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)\}|\$\{")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_FILE = re.compile(r"file:(.+?)(?::-(.*))?", re.DOTALL)
_DIALECTS = {
    "sqlite+aiosqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql+asyncpg": "postgresql",
    "postgresql+psycopg": "postgresql",
    "postgresql+psycopg2": "postgresql",
}
_USERINFO = re.compile(r"(?<=://)([^:@/?#]*):(.*)@")  # a password may hold any character
_SECRET_OPTION = re.compile(r"(?i)([?&][^=&#]*(?:pass|secret|token|key)[^=&#]*=)[^&#]*")


def expand(text: str, environ: Mapping[str, str], folder: Path) -> str:
    """Return ``text`` with ``${VAR}`` and ``${file:NAME}`` replaced; ``$$`` stands for ``$``.

    ``${VAR:-default}`` and ``${file:NAME:-default}`` give what stands in for a variable or a file
    that is not there or empty. What either holds is not expanded again.

    :param folder: where relative names of files start; see ``credentials.read``.
    :raises KeyError: its argument is the name of a variable that is not set and has no default.
    :raises ValueError: a reference is malformed, or a file cannot be used.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[1] is None:
            raise ValueError("${ is never closed; for a plain ${ write $${")
        variable, file = _NAME.fullmatch(match[1]), _FILE.fullmatch(match[1])
        reference = variable or file
        if reference is None:
            forms = "${NAME}, ${NAME:-default} or ${file:PATH}"
            raise ValueError(f"${{{match[1]}}} is no reference; write {forms}")
        name, default = reference[1], reference[2]
        if "${" in name:
            raise ValueError("${file:...}: the path cannot hold another ${...}")
        if "${" in (default or ""):
            raise ValueError(f"${{{name}:-...}}: the default cannot hold another ${{...}}")
        if variable:
            return environ[name] if default is None else environ.get(name) or default
        return _from_file(name, default, environ, folder)

    return _REFERENCE.sub(value, text)


def _from_file(name: str, default: str | None, environ: Mapping[str, str], folder: Path) -> str:
    try:
        return credentials.read(name, environ, folder)
    except credentials.Missing:
        if default is None:
            raise
        return default


def redact(url: str) -> str:
    """Return ``url`` with its password, and options that look like secrets, as ``***``."""
    return _SECRET_OPTION.sub(r"\1***", _USERINFO.sub(r"\1:***@", url))


def normalise(url: str, folder: Path) -> str:
    """Return ``url`` as the drivers know it.

    SQLAlchemy's names for a dialect with its driver become the dialect's own; a relative path of
    SQLite is taken from ``folder``, so that every process means the same file.

    :raises ConfigError: ``url`` is none.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        # the text is not shown: a password pasted without its scheme would be
        raise ConfigError([f"expected {URL_EXAMPLES}"])
    scheme = scheme.lower()
    scheme = _DIALECTS.get(scheme, scheme)
    if scheme == "sqlite":
        rest = _absolute_path(rest, folder)
    return f"{scheme}://{rest}"


def connection_from(
    environ: Mapping[str, str], folder: Path | None = None
) -> tuple[str, str] | None:
    """Return the back-end that QUEUE_CONNECTION names, as (URL, where it came from); None: unset.

    It is a URL, or as in RouteMQ the word ``redis`` (REDIS_URL, or REDIS_HOST, REDIS_PORT,
    REDIS_DB, REDIS_USERNAME and REDIS_PASSWORD say where) or ``database`` (DATABASE_URL does).
    A relative path of SQLite starts at ``folder``: the working directory by default.

    :raises ConfigError: it is something else, or what it refers to is missing or wrong.
    """
    value = environ.get("QUEUE_CONNECTION", "").strip()
    if not value:
        return None
    folder = folder or Path.cwd()
    if "://" in value:
        return _checked(value, "QUEUE_CONNECTION", folder), "QUEUE_CONNECTION"
    match value.lower():
        case "redis" if environ.get("REDIS_URL"):
            source = "QUEUE_CONNECTION=redis, REDIS_URL"
            return _checked(environ["REDIS_URL"], "REDIS_URL", folder), source
        case "redis":
            return _redis_url(environ), "QUEUE_CONNECTION=redis, REDIS_*"
        case "database" if environ.get("DATABASE_URL"):
            source = "QUEUE_CONNECTION=database, DATABASE_URL"
            return _checked(environ["DATABASE_URL"], "DATABASE_URL", folder), source
        case "database":
            raise ConfigError(
                ["QUEUE_CONNECTION is 'database', but DATABASE_URL, which says where, is not set"]
            )
    raise ConfigError(
        ["QUEUE_CONNECTION: expected a URL such as redis://localhost:6379/0, 'redis' or 'database'"]
    )


def find_connection(environ: Mapping[str, str], cwd: Path) -> tuple[str, str]:
    """Return the back-end for a producer, as (URL, where it came from).

    QUEUE_CONNECTION, else ``connection:`` of $QUEUED_CONFIG or of ``queue.yaml`` in ``cwd``: the
    order of the daemon. Only that key of the file is looked at.

    :raises ConfigError: none of them says, or what they say is wrong.
    """
    named = connection_from(environ, cwd)
    if named is not None:
        return named
    path = cwd / (environ.get("QUEUED_CONFIG") or DEFAULT_CONFIG)
    if environ.get("QUEUED_CONFIG") or path.is_file():
        return _connection_of(path, environ), f"connection of {path}"
    ways = (
        "call queue.connect(URL), set QUEUE_CONNECTION to a URL, or QUEUED_CONFIG to a queue.yaml"
    )
    raise ConfigError([f"no back-end is configured, and {cwd} has no queue.yaml: {ways}"])


def _connection_of(path: Path, environ: Mapping[str, str]) -> str:
    value = value_of("connection", compose(path))
    connection = DEFAULT_CONNECTION
    if value is not None and not value.tag.endswith(":null"):
        if not value.tag.endswith(":str"):
            raise ConfigError([f"{path}: connection: expected a URL in quotes"])
        connection = value.value
    try:
        expanded = expand(connection, environ, path.absolute().parent)
    except KeyError as error:
        raise ConfigError(
            [f"{path}: connection: the environment variable {error.args[0]:.80} is not set"]
        ) from None
    except ValueError as error:
        raise ConfigError([f"{path}: connection: {error}"]) from None
    return _checked(expanded, f"{path}: connection", path.absolute().parent)


def compose(path: Path) -> Any:
    """Return the composed YAML of queue.yaml, for a producer that looks at a few keys of it.

    :raises ConfigError: it cannot be read.
    """
    import yaml  # noqa: PLC0415 - only producers that find a queue.yaml pay for it

    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LARGEST_CONFIG)
        # No values are made of it: aliases and merges could make a small file huge.
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(
            [f"{path}: cannot be read ({reason}); see: queued check -c {path}"]
        ) from None


def pairs_of(root: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the key and value nodes of composed YAML, then those that ``<<`` merges into it."""
    mappings, seen = [root], set()
    while mappings:
        mapping = mappings.pop(0)
        if id(mapping) in seen or getattr(mapping, "id", "") != "mapping":
            continue
        seen.add(id(mapping))
        for key, value in mapping.value:
            if key.tag == "tag:yaml.org,2002:merge":
                mappings += value.value if value.id == "sequence" else [value]
            else:
                yield key, value


def value_of(name: str, root: Any) -> Any:
    """Return the node of a key of composed YAML; None: there is none."""
    return next((value for key, value in pairs_of(root) if key.value == name), None)


def who() -> str:
    """Return who runs this program, and on which host, as others are told: ``ada@web-1``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _checked(url: str, where: str, folder: Path) -> str:
    try:
        return normalise(url, folder)
    except ConfigError as error:
        raise ConfigError([f"{where}: {problem}" for problem in error.problems]) from None


def _redis_url(environ: Mapping[str, str]) -> str:
    host = environ.get("REDIS_HOST") or "localhost"
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", host):
        raise ConfigError(["REDIS_HOST: expected the name or address of a host"])
    if ":" in host:  # IPv6
        host = f"[{host}]"
    numbers = {}
    for name, default, highest in (("REDIS_PORT", "6379", 65_535), ("REDIS_DB", "0", 10**6)):
        text = environ.get(name) or default
        if not text.isascii() or not text.isdecimal() or int(text) > highest:
            raise ConfigError([f"{name}: expected a number from 0 to {highest}, got {text!r}"])
        numbers[name] = int(text)
    user = quote(environ.get("REDIS_USERNAME", ""), safe="")
    password = quote(environ.get("REDIS_PASSWORD", ""), safe="")
    login = f"{user}:{password}@" if user or password else ""
    return f"redis://{login}{host}:{numbers['REDIS_PORT']}/{numbers['REDIS_DB']}"


def _absolute_path(rest: str, folder: Path) -> str:
    """``rest`` is what follows ``sqlite://``: ``/relative.db``, ``//absolute.db``, or nothing."""
    database, question, options = rest.partition("?")
    if not database.startswith("/"):
        if database:
            relative = "sqlite:///queued.db for a relative path"
            raise ConfigError([f"expected {relative}, sqlite:////var/lib/queued.db for a full one"])
        return rest
    name = database.removeprefix("/")
    if not name or name == ":memory:" or name.startswith("file:"):
        return rest
    path = folder.resolve() / Path(name).expanduser()
    return f"/{path}{question}{options}"
