"""The channels of children in the master's selector."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from contextlib import suppress

from queued.daemon.channel import Channel
from queued.daemon.master.child import Child


class Wires:
    """Watches what children say, and writes what waits for them when they take more."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector

    def watch(self, channel: Channel, hear: Callable[[], None]) -> None:
        """Have ``hear`` called whenever there is something to read."""
        self.selector.register(channel, selectors.EVENT_READ, lambda _: hear())

    def unwatch(self, child: Child) -> None:
        with suppress(KeyError, ValueError):  # it has been done before, or is closed
            self.selector.unregister(child.channel)

    def flush(self, child: Child) -> None:
        """Write what waits for a child, and wake when it takes more."""
        channel = child.channel
        before = channel.pending
        channel.flush()
        if before or channel.pending:
            with suppress(KeyError):
                key = self.selector.get_key(channel)
                writing = selectors.EVENT_WRITE if channel.pending else 0
                self.selector.modify(channel, selectors.EVENT_READ | writing, key.data)
