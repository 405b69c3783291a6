"""Workers between the request and the pid: a template forks them, and tells a moment later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from queued.daemon.master.child import Child
from queued.daemon.master.deaths import Exit
from queued.daemon.master.template import InPlace, Template


class Nursery:
    """Matches pids with children. A worker may be dead and reaped before its pid is told."""

    def __init__(self) -> None:
        self._unborn: dict[int, tuple[Child, Template | InPlace]] = {}
        self._strays: dict[int, Exit] = {}

    def expect(self, key: int, child: Child, template: Template | InPlace) -> None:
        """Wait for what ``template`` says of the request ``key``."""
        self._unborn[key] = (child, template)

    def answered(self, key: int) -> Child | None:
        """Return the child of a request that is answered; None: nobody waits for it any more."""
        found = self._unborn.pop(key, None)
        return found[0] if found else None

    def abandoned(self) -> Iterator[Child]:
        """Yield the children whose template is gone: it will not tell.

        One that lives nevertheless sees the end of its channel, and ends.
        """
        for key, (child, template) in list(self._unborn.items()):
            if template.closed:
                del self._unborn[key]
                yield child

    def found_dead(self, exit_: Exit) -> None:
        """Keep the exit of a process that nobody knows, while it may be one of these."""
        if self._unborn:
            self._strays[exit_.pid] = exit_

    def born_dead(self, children: Iterable[Child]) -> Iterator[tuple[Child, Exit]]:
        """Yield the children whose exit was there before their pid."""
        if self._strays:
            for child in [one for one in children if one.living and one.pid in self._strays]:
                assert child.pid is not None
                yield child, self._strays.pop(child.pid)
        if not self._unborn:
            self._strays.clear()
