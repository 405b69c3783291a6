"""Back-ends: the protocol, the state table, and the registry of drivers by URL scheme."""

from __future__ import annotations
