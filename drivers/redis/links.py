"""Which kind of link leads to an address."""

from __future__ import annotations

from queued.drivers.redis.address import Address, SentinelAddress
from queued.drivers.redis.link import Link
from queued.drivers.redis.sentinel import SentinelLink


def link_to(address: Address) -> Link:
    """Return a link for calls to what is at ``address``."""
    if isinstance(address, SentinelAddress):
        return SentinelLink(address)
    return Link(address)
