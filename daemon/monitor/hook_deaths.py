"""Which ``failed()`` is not run again, since workers die of it.

One that a worker did not finish is due again a minute later. If it is what the worker died of, it
would take another one along each minute, for ever, with all that runs beside it.
"""

from __future__ import annotations

from queued.daemon.monitor.reclaim import MAX_CRASHES
from queued.daemon.verdict import HOOK_FENCE, Sentence, Verdict

REMEMBERED = 1_000
"""Hooks; the one that was heard of longest ago is forgotten."""


class HookDeaths:
    """The workers that died while a hook ran there, as one monitor has seen it."""

    def __init__(self) -> None:
        self._owners: dict[str, frozenset[str]] = {}
        """By the hook's job. Sets, since a burial may have to be repeated."""

    def is_over(self, job_id: str, owner: str, sentence: Sentence) -> bool:
        """Take note of a dead worker's sentence; return whether it is of a hook that is given up.

        A hook that its worker was killed for has had its time. One that ran when its worker died
        of something is run again, until the third worker has died.
        """
        if sentence.fence != HOOK_FENCE:
            return False
        if sentence.verdict is Verdict.TIMED_OUT:
            return True
        if sentence.verdict not in {Verdict.CRASHED, Verdict.SUSPECT}:
            return False
        owners = self._owners[job_id] = self._owners.pop(job_id, frozenset()) | {owner}
        if len(self._owners) > REMEMBERED:
            del self._owners[next(iter(self._owners))]
        return len(owners) >= MAX_CRASHES
