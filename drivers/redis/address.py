"""Where a connection URL leads: to one server, to what sentinels call a service, to a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import connection as blocking
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry as BlockingRetry

from queued.drivers import several
from queued.drivers.several import Host
from queued.errors import ConfigError
from queued.version import __version__

try:
    from redis.driver_info import DriverInfo
except ImportError:  # redis-py 6
    _WHO: dict[str, Any] = {"lib_name": "queued", "lib_version": __version__}
else:
    _WHO = {"driver_info": DriverInfo("queued", __version__)}
# What CLIENT LIST shows. Without it each connection reads the metadata of redis-py's package: 2 MB
# of a worker's private memory.

_CONNECT_WITHIN = 5.0
_OURS = {
    "decode_responses": False,
    "health_check_interval": 0,
    "protocol": 2,
    "retry_on_error": [],
    "retry_on_timeout": False,
    "socket_connect_timeout": _CONNECT_WITHIN,
    **_WHO,
}
"""Options of a connection that no URL changes."""


@dataclass(frozen=True, slots=True)
class Address:
    """One server. ``str`` is what may be shown: it holds no secret."""

    kind: type[AbstractConnection]
    options: dict[str, Any]
    prefix: str

    def at(self, host: str, port: int) -> Address:
        """Return the address of another server that is reached in the same way."""
        return Address(self.kind, {**self.options, "host": host, "port": port}, self.prefix)

    def connection(self) -> AbstractConnection:
        """Return a new connection, not connected; one that never repeats a command by itself."""
        # A timeout would mean wait_for, which can swallow a cancellation.
        ours = {"retry": Retry(NoBackoff(), 0), "socket_timeout": None}
        return self.kind(**{**self.options, **_OURS, **ours})

    def blocking_connection(self, within: float) -> blocking.AbstractConnection:
        """Return the like for a thread without an event loop.

        :param within: seconds until a silent server is given up on.
        """
        kind = getattr(blocking, self.kind.__name__)  # the two modules use the same names
        ours = {
            "retry": BlockingRetry(NoBackoff(), 0),
            "socket_timeout": within,
            "socket_connect_timeout": min(within, _CONNECT_WITHIN),
        }
        made: blocking.AbstractConnection = kind(**{**self.options, **_OURS, **ours})
        return made

    def __str__(self) -> str:
        if "path" in self.options:
            return str(self.options["path"])
        host = self.options.get("host", "localhost")
        return f"{f'[{host}]' if ':' in host else host}:{self.options.get('port', 6379)}"


@dataclass(frozen=True, slots=True)
class SentinelAddress(Address):
    """The primary of a service, wherever the sentinels say that it is."""

    service: str
    sentinels: tuple[Address, ...]

    def __str__(self) -> str:
        return f"{self.service} (sentinels {_listed(self.sentinels)})"


@dataclass(frozen=True, slots=True)
class ClusterAddress(Address):
    """A cluster, of which some nodes are known."""

    nodes: tuple[Host, ...]

    def __str__(self) -> str:
        return f"the cluster of {_listed(tuple(self.at(*node) for node in self.nodes))}"


def address_of(url: str) -> Address:
    """Read a URL, with redis-py's options in its query.

    :raises ConfigError: an option is unknown or has a wrong value, the prefix has braces, or the
        servers are not named as they have to be.
    """
    try:
        servers = several.read(url)
    except ValueError as error:
        raise ConfigError([f"connection: {error}"]) from None
    options = _options(servers.plain if servers else url)
    prefix = str(options.pop("prefix", "queued"))
    kind = options.pop("connection_class", Connection)
    address = Address(kind, options, prefix)
    if servers and servers.kind == several.SENTINEL:
        address = _sentinels(address, servers)
    elif servers:
        if options.pop("db", 0):
            raise ConfigError([f"connection: {several.ONE_DATABASE}"])
        address = ClusterAddress(kind, options, prefix, servers.hosts)
    try:
        address.connection()
    except (TypeError, RedisError) as error:
        raise ConfigError([f"connection: a wrong option in the Redis URL: {error}"]) from error
    if not prefix or set("{}") & set(prefix):
        raise ConfigError(["connection: the prefix must not be empty nor contain braces"])
    return address


def _options(url: str) -> dict[str, Any]:
    try:
        return dict(parse_url(url))
    except ValueError:  # its text may show a part of the password
        hint = "special characters in a password are written as %XX"
        raise ConfigError([f"connection: this Redis URL cannot be read; {hint}"]) from None


def _sentinels(address: Address, servers: several.Several) -> SentinelAddress:
    options = dict(address.options)
    login = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in options
    }
    others = {k: v for k, v in options.items() if k not in {"username", "password", "db"}}
    sentinel = Address(address.kind, others | login, address.prefix)
    sentinels = tuple(sentinel.at(*host) for host in servers.hosts)
    return SentinelAddress(address.kind, options, address.prefix, servers.service, sentinels)


def _listed(addresses: tuple[Address, ...]) -> str:
    return ", ".join(map(str, addresses))


def reply_of(connection: blocking.AbstractConnection) -> Any:
    """Return the next reply on a blocking connection, an error reply as a value."""
    try:
        return connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
