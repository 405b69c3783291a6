"""Which servers have what the scripts need (flags, LPOP with a count)."""

from __future__ import annotations

from collections.abc import Sequence

from queued.errors import DriverUnavailable

_OLDEST = {"redis": (7, 0), "valkey": (7, 2)}


def check_version(hello: Sequence[bytes], address: str) -> None:
    """Look at the answer to HELLO.

    :raises DriverUnavailable: the server is too old.
    """
    _, server, _, version, *_ = (
        value.decode() if isinstance(value, bytes) else value for value in hello
    )
    if is_too_old(server, version):
        raise DriverUnavailable(
            f"Redis at {address} is {server} {version}; "
            "queued needs Redis 7.0 or Valkey 7.2 at least"
        )


def is_too_old(server: str, version: str) -> bool:
    """Whether a server of this name and version lacks it; one that is unknown does not."""
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) < _OLDEST.get(server, (0, 0))
