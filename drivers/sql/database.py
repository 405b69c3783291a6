"""The seam between the verbs, which every SQL back-end shares, and one back-end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from queued.drivers.sql.session import Session

P = ParamSpec("P")
T = TypeVar("T")
Verb = Callable[Concatenate[Session, P], T]


class Database(Protocol):
    """Runs verbs, each in one transaction. Every method may raise ``DriverUnavailable``.

    A verb is a plain function of a ``Session``. Cancelled, it does not begin, or goes on to its end
    unheard: no transaction is ever left open.
    """

    async def open(self) -> None:
        """Connect, and create or check the tables."""

    async def close(self) -> None:
        """Close what is open. Idempotent."""

    async def write(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb that may change rows, under a lock taken before its first statement.

        The lock is at least that of the queue that its first argument names.
        """

    async def read(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb that changes nothing, over one consistent view."""

    async def wait(self, queue: str, timeout: float) -> bool:  # noqa: ASYNC109 - a bound, not an error
        """Wait for a push, at most ``timeout`` seconds; True when woken, perhaps for nothing."""
