"""Which kind of link leads to an address."""

from __future__ import annotations

from queued.drivers.redis.address import Address, ClusterAddress, SentinelAddress
from queued.drivers.redis.cluster import Cluster
from queued.drivers.redis.link import Link
from queued.drivers.redis.routes import Routes
from queued.drivers.redis.sentinel import SentinelLink


def links_to(address: Address) -> tuple[Link | Cluster, Link | Cluster]:
    """Return two links to what is at ``address``: for calls, and for one that waits."""
    if isinstance(address, ClusterAddress):
        routes = Routes(address)
        return Cluster(address, routes), Cluster(address, routes)
    kind = SentinelLink if isinstance(address, SentinelAddress) else Link
    return kind(address), kind(address)  # type: ignore[arg-type]
