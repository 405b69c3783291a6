"""The ledger: what the producer knows to be acknowledged, what the handlers did, which faults hit.

    acknowledged   ack|doubt id kind            the producer, fsynced for each call
    runs           word id attempt pid time     the handlers, in the workers' processes (work.py)
    faults         a JSON object a line         whoever injects them

Times are seconds of CLOCK_MONOTONIC, which all processes of a machine share. ``oracle.judge`` reads
the three and says whether anything was lost.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

WORK = (Path(__file__).parent / "work.py").read_text()
"""The jobs module for a daemon: ``Daemon(folder, config, jobs=WORK, **ledger.environment)``."""

UNTIL_SETTLED = 2.0
"""Seconds after a run's last line in which its settlement may still be on its way, under load."""
UNTIL_BACK = 7.0
"""Seconds after an outage in which settlements are still sent again: pauses of up to 1 s, under
load."""
OVERRUN_UNTIL = 30.0
"""Seconds from a job that overruns to the end of its worker: timeout, grace and kill, under load.
From then on the worker has no excuse, whether it lives or its pid is another one's."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that was broken, from ``began`` to ``ended``."""

    kind: str
    began: float
    ended: float
    pids: frozenset[int] | None = None
    """The workers that it hit; None: all of them, as when the master is killed."""
    outage: bool = False
    """Whether the back-end was away: settlements waited for its return."""

    def hits(self, run: Run, faults: Iterable[Fault]) -> bool:
        """Tell whether it found the run begun and perhaps not settled yet."""
        if self.pids is not None and run.pid not in self.pids:
            return False
        return run.began <= self.ended and self.began <= run.settled_by(faults)


@dataclass(slots=True)
class Run:
    """One run of a job, by the lines that its handler wrote."""

    job_id: str
    attempt: int
    pid: int
    began: float
    ended: float | None = None
    """When it had done its work or raised; None: no word of it."""
    words: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return "end" in self.words

    @property
    def raised(self) -> bool:
        """Whether it ended by an error, so that another run of it is a retry."""
        return "error" in self.words

    def settled_by(self, faults: Iterable[Fault]) -> float:
        """Return the time at which its settlement is stored for certain, if nothing kills it."""
        if self.ended is None:
            return float("inf")
        by = self.ended + UNTIL_SETTLED
        for fault in faults:  # in the order of time
            reaches = fault.pids is None or self.pid in fault.pids
            if (reaches or fault.outage) and fault.began <= by and fault.ended >= self.ended:
                by = max(by, fault.ended + UNTIL_BACK)
        return by


class Ledger:
    """The three files, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.runs_path = folder / "runs"
        self._acknowledged_path = folder / "acknowledged"
        self._faults_path = folder / "faults"
        self._acknowledged = self._acknowledged_path.open("ab", buffering=0)
        self._faults = self._faults_path.open("ab", buffering=0)
        self.runs_path.touch()

    def close(self) -> None:
        self._acknowledged.close()
        self._faults.close()

    @property
    def environment(self) -> dict[str, str]:
        """What the workers need to find the file of the runs."""
        return {"LEDGER": str(self.runs_path)}

    # the producer's

    def acknowledge(self, ids: Iterable[str], kind: str = "any") -> None:
        """Write down ids that the back-end has acknowledged: one call, one fsync."""
        self._write("ack", ids, kind)

    def doubt(self, ids: Iterable[str], kind: str = "any") -> None:
        """Write down ids whose enqueue failed in such a way that they may be there or not."""
        self._write("doubt", ids, kind)

    def _write(self, word: str, ids: Iterable[str], kind: str) -> None:
        self._acknowledged.write("".join(f"{word} {id_} {kind}\n" for id_ in ids).encode())
        os.fsync(self._acknowledged.fileno())

    @contextmanager
    def fault(
        self, kind: str, pids: Iterable[int] | None = None, *, outage: bool = False
    ) -> Iterator[None]:
        """Write down a fault that lasts as long as the block, and how far it reaches.

        :param pids: the workers whose jobs may run again for it; None: all of them.
        :param outage: whether the back-end is away as long as it lasts.
        """
        began, hit = time.monotonic(), None if pids is None else frozenset(pids)
        try:
            yield
        finally:
            self.add(Fault(kind, began, time.monotonic(), hit, outage))

    def add(self, fault: Fault) -> None:
        record = asdict(fault) | {"pids": None if fault.pids is None else sorted(fault.pids)}
        self._faults.write(json.dumps(record).encode() + b"\n")

    # what was written

    def acknowledged(self) -> dict[str, str]:
        """Return the kind of each acknowledged id."""
        return dict(self._promises("ack"))

    def doubted(self) -> dict[str, str]:
        """Return the kind of each id that was never acknowledged, and may be there all the same."""
        known = self.acknowledged()
        return {id_: kind for id_, kind in self._promises("doubt") if id_ not in known}

    def _promises(self, word: str) -> Iterator[tuple[str, str]]:
        with self._acknowledged_path.open() as lines:
            for line in lines:
                found, id_, kind = line.split()
                if found == word:
                    yield id_, kind

    def faults(self) -> list[Fault]:
        """Return what was broken, in the order of time, what the jobs broke themselves included."""
        return sorted([*self._injected(), *self._by_jobs()], key=lambda fault: fault.began)

    def _injected(self) -> Iterator[Fault]:
        for line in self._faults_path.read_text().splitlines():
            record = json.loads(line)
            pids = record.pop("pids")
            yield Fault(**record, pids=None if pids is None else frozenset(pids))

    def _by_jobs(self) -> Iterator[Fault]:
        """Yield a fault for each job that took its worker along, or had it killed."""
        for word, _, _, pid, at in self.lines():
            if word == "dies":
                yield Fault("job dies", at, at + UNTIL_SETTLED, frozenset({pid}))
            elif word == "overruns":
                yield Fault("job overruns", at, at + OVERRUN_UNTIL, frozenset({pid}))

    def lines(self) -> Iterator[tuple[str, str, int, int, float]]:
        """Yield what the handlers wrote: word, id, attempt, pid, time."""
        with self.runs_path.open() as lines:
            for line in lines:
                fields = line.split()
                if len(fields) == 5:  # else it was cut short by a kill, with its process
                    word, id_, attempt, pid, at = fields
                    yield word, id_, int(attempt), int(pid), float(at)

    def runs(self) -> dict[str, list[Run]]:
        """Return the runs of each id, in the order of their beginnings."""
        found: dict[str, list[Run]] = {}
        for word, id_, attempt, pid, at in self.lines():
            runs = found.setdefault(id_, [])
            if word == "begin":
                runs.append(Run(id_, attempt, pid, at))
            elif word != "hook":  # failed() is no run, and may be called in another process
                run = next((one for one in runs if (one.attempt, one.pid) == (attempt, pid)), None)
                if run is None:  # of an earlier ledger, though it was drained
                    run = Run(id_, attempt, pid, at)
                    runs.append(run)
                run.words.append(word)
                if word in {"end", "error"}:
                    run.ended = at
        return found

    def hooks(self) -> set[str]:
        """Return the ids whose ``failed()`` was called."""
        return {id_ for word, id_, *_ in self.lines() if word == "hook"}
