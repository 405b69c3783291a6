"""Back-ends: the protocol, the state table, and the registry of drivers by URL scheme.

The drivers that ship are imported when a URL first asks for them, so that a program pays only for
its own back-end. Other people's come in through ``register_driver`` or through the entry-point
group ``queued.drivers`` (name: the scheme; value: the factory).
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pkgutil import resolve_name
from typing import Any

from queued.drivers.base import Driver, Enqueuer
from queued.errors import ConfigError

__all__ = [
    "DriverFactory",
    "driver_for",
    "enqueuer_for",
    "join_for",
    "known_schemes",
    "register_driver",
]

DriverFactory = Callable[[str], Driver]
"""Makes a driver from its URL. It connects nowhere: ``Driver.open`` does."""

ENTRY_POINT_GROUP = "queued.drivers"

_BUILT_IN = {
    "redis": "queued.drivers.redis:RedisDriver",
    "rediss": "queued.drivers.redis:RedisDriver",
    "unix": "queued.drivers.redis:RedisDriver",
    "redis+sentinel": "queued.drivers.redis:RedisDriver",
    "rediss+sentinel": "queued.drivers.redis:RedisDriver",
    "redis+cluster": "queued.drivers.redis:RedisDriver",
    "rediss+cluster": "queued.drivers.redis:RedisDriver",
    "sqlite": "queued.drivers.sql:SqlDriver",
    "postgresql": "queued.drivers.sql:SqlDriver",
    "memory": "queued.drivers.memory:MemoryDriver",
}

_registered: dict[str, DriverFactory] = {}


def register_driver(scheme: str, factory: DriverFactory) -> None:
    """Use ``factory`` for URLs of ``scheme``, in this process. The last call for a scheme wins.

    It also wins over an entry point and over what ships.
    """
    _registered[scheme.lower()] = factory


def known_schemes() -> list[str]:
    """Return every scheme that ``driver_for`` takes, sorted."""
    return sorted({*_registered, *_entry_points(), *_BUILT_IN})


def driver_for(url: str) -> Driver:
    """Return the driver of ``url``, not opened.

    Its message shows the scheme only: the rest of a URL may hold a password.

    :raises ConfigError: no driver is known for the scheme, or it cannot be imported.
    """
    factory, url = _found(url)
    return factory(url)


def enqueuer_for(url: str) -> Enqueuer | None:
    """Return what enqueues at ``url`` without an event loop; None: its driver offers nothing.

    :raises ConfigError: as for ``driver_for``.
    """
    factory, url = _found(url)
    blocking: Callable[[str], Enqueuer] | None = getattr(factory, "blocking", None)
    return blocking(url) if blocking else None


def join_for(url: str) -> Any:
    """Return what enqueues at ``url`` in other people's transactions; None: nothing does.

    A driver of a database may offer one as ``joined``, an attribute of its factory that makes it
    from a URL: see ``queued.drivers.sql.joined.Join``.

    :raises ConfigError: as for ``driver_for``.
    """
    factory, url = _found(url)
    joined = getattr(factory, "joined", None)
    return joined(url) if joined else None


def _found(url: str) -> tuple[DriverFactory, str]:
    """Return the factory for a URL, and the URL with its scheme as the factory expects it."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ConfigError(
            ["connection: expected a URL such as redis://localhost:6379/0 or sqlite:///queued.db"]
        )
    scheme = scheme.lower()
    return _factory(scheme), f"{scheme}://{rest}"


def _factory(scheme: str) -> DriverFactory:
    if scheme in _registered:
        return _registered[scheme]
    installed = _entry_points()
    if scheme in installed:
        return _imported(scheme, installed[scheme])
    if scheme in _BUILT_IN:
        return _imported(scheme, _BUILT_IN[scheme])
    known = known_schemes()
    near = get_close_matches(scheme, known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else f"; known: {', '.join(known)}"
    raise ConfigError([f'connection: no driver for "{scheme}://"{hint}'])


def _entry_points() -> dict[str, str]:
    """Return the factories that installed packages offer, by scheme."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - 30 ms that few programs need

    return {entry.name.lower(): entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _imported(scheme: str, value: str) -> DriverFactory:
    """Import the factory that ``value`` (``module:name``) names, and keep it."""
    try:
        factory: DriverFactory = resolve_name(value)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            [f"connection: the driver of {scheme}:// ({value}) cannot be imported: {error}"]
        ) from error
    _registered[scheme] = factory
    return factory
