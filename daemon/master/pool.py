"""A pool: what should run for one queue, and what does; ``tick`` closes the gap a step at a time.

A pool has seats, numbered from 1 to ``desired``. Each seat has one child, two while it is replaced,
and a ``RestartPolicy`` that remembers how its children died. A child is stale when the pool's
settings (``blueprint``) or code generation (``code``) are no longer those that it was made from;
stale children are replaced one by one: a successor starts, and when it runs the old one drains. So
a change of queue.yaml, a restart with new code and a crash are all the same thing: a difference.
"""

from __future__ import annotations

from collections.abc import Callable

from queued.daemon.master.child import Child, ChildState, Force, Stop, drain
from queued.daemon.master.plan import PoolPlan
from queued.daemon.master.restart import RestartPolicy, Succession
from queued.daemon.master.scaling import Bounds
from queued.daemon.spec import MonitorSpec, WorkerSpec
from queued.drivers.states import Lane

Launch = Callable[["Pool", int, Lane], Child | None]
"""Start a child for a seat of a pool; None: not now (there is no code to run yet)."""

MAX_SOLO = 4
"""Temporary workers of one pool. Each runs one suspect, and it may be memory that they die of."""
GAVE_UP = frozenset({ChildState.BACKOFF, ChildState.FATAL})


class Pool:
    """The workers of one queue. The monitor is a pool of one."""

    def __init__(
        self,
        name: str,
        blueprint: WorkerSpec | MonitorSpec,
        desired: int,
        launch: Launch,
        *,
        code: int = 1,
        gives_up: bool = True,
    ) -> None:
        self.name = name
        self.blueprint = blueprint
        self.desired = desired
        """How many children it should have: set it, and ``tick`` sees to it."""
        self.bounds: Bounds | None = None
        """Between what ``desired`` is set by itself; None: it is not."""
        self.by_hand = False
        """Somebody has set ``desired``: it stays, whatever waits."""
        self.code = code
        self.children: list[Child] = []
        """Those that live, and those that wait in BACKOFF or stand still in FATAL."""
        self.closing = False
        """It only empties: the daemon stops, or queue.yaml has it no more."""
        self._launch = launch
        self._gives_up = gives_up
        self._policies: dict[int, RestartPolicy] = {}

    # what there is

    @property
    def living(self) -> list[Child]:
        """All that have a process, the solo worker included."""
        return [child for child in self.children if child.living]

    @property
    def running(self) -> list[Child]:
        """Those in their seats that run."""
        return [child for child in self._seated if child.state is ChildState.RUNNING]

    @property
    def _seated(self) -> list[Child]:
        return [child for child in self.children if not child.solo]

    @property
    def state(self) -> str:
        """One word for the whole: the worst of its seats."""
        states = {child.state for child in self._seated}
        if self.closing or self.desired == 0:
            return "stopping" if self.living else "stopped"
        for bad in (ChildState.FATAL, ChildState.BACKOFF):
            if bad in states:
                return bad.value
        return "running" if len(self.running) >= self.desired else "starting"

    @property
    def settled(self) -> bool:
        """Whether each seat has a running child of the present settings and code, and no other."""
        seated = self._seated
        return len(seated) == self.desired == len(self.running) and not any(
            map(self.is_stale, seated)
        )

    def is_stale(self, child: Child) -> bool:
        return child.blueprint != self.blueprint or child.code != self.code

    # what should be

    def resize(self, new: PoolPlan, old: PoolPlan | None) -> None:
        """Take in what queue.yaml says of its size, if that changed; else what `scale` said stays.

        :param old: None: the pool was on its way out.
        """
        if old is not None and (new.processes, new.bounds) == (old.processes, old.bounds):
            return
        self.by_hand = False
        scales_on = old is not None and old.bounds is not None and new.bounds is not None
        self.desired = new.bounds.clamp(self.desired) if scales_on and new.bounds else new.processes
        self.bounds = new.bounds

    def retry(self) -> None:
        """Start afresh: forget the deaths, and try at once what waits or was given up."""
        self._policies.clear()
        for child in self.children:
            if child.state in GAVE_UP:
                child.deadline = 0.0

    def serve_suspects(self) -> None:
        """Have a temporary worker for suspects that wait, unless one is free or nothing should run.

        Called each second that suspects wait. While all of these workers are busy there is another
        one, so that one suspect that runs long does not hold up the others.
        """
        solo = [child for child in self.living if child.solo]
        free = any(child.board is None or not child.board.busy for child in solo)
        if not self.closing and not free and len(solo) < min(MAX_SOLO, self._slots):
            self._start(self.desired + 1, Lane.SOLO)

    @property
    def _slots(self) -> int:
        """How many jobs may run at a time."""
        return self.desired * getattr(self.blueprint, "concurrency", 1)

    def end(self, stop: Stop, now: float) -> None:
        """Stop every child; none starts any more."""
        self.closing = True
        for child in self.living:
            child.end(stop, now)

    # how it gets there

    def tick(self, now: float) -> None:
        """Take the steps that can be taken now."""
        for child in self.living:
            child.tick(now)
        self._clear_seats(now)
        if not self.closing:
            self._replace_stale(now)
            self._fill_seats()
        self._drain_surplus(now)

    def _clear_seats(self, now: float) -> None:
        """Remove children that have waited long enough, or that nobody waits for any more."""
        for child in [one for one in self.children if one.state in GAVE_UP]:
            obsolete = self.closing or child.index > self.desired or self.is_stale(child)
            if obsolete or (child.deadline is not None and now >= child.deadline):
                waited = child.state is ChildState.BACKOFF
                child.change(ChildState.EXITED if waited else ChildState.STOPPED, now)
                self.children.remove(child)

    def _replace_stale(self, now: float) -> None:
        for child in self._seated:
            if not child.active or not self.is_stale(child) or child.index > self.desired:
                continue
            successor = self._successor_of(child)
            if successor is None and (rival := self._rival_of(child)) is not None:
                surplus = child if rival.state is ChildState.RUNNING else rival
                surplus.end(drain(surplus.grace), now)
            elif successor is None:
                if self._has_one_over() or self._start(child.index, Lane.NORMAL) is None:
                    return
            elif successor.state is ChildState.RUNNING:
                child.end(drain(child.grace), now)

    def _successor_of(self, stale: Child) -> Child | None:
        """Return the child that is to take the seat, running or not there yet (or in BACKOFF)."""
        return next(
            (
                child
                for child in self._seated
                if child.index == stale.index
                and child.state is not ChildState.STOPPING
                and not self.is_stale(child)
            ),
            None,
        )

    def _rival_of(self, stale: Child) -> Child | None:
        """Return another one in its seat that is stale by now: it changed again meanwhile.

        One of the two goes, or nobody would: the third that both wait for would be one too many.
        """
        return next(
            (
                child
                for child in self._seated
                if child.index == stale.index and child.active and child is not stale
            ),
            None,
        )

    def _fill_seats(self) -> None:
        taken = {child.index for child in self._seated if _holds_its_seat(child)}
        for index in range(1, self.desired + 1):
            if index not in taken and (
                self._has_one_over() or self._start(index, Lane.NORMAL) is None
            ):
                return

    def _has_one_over(self) -> bool:
        """Whether one process more than desired lives: enough to replace one, and no more."""
        return sum(child.living for child in self._seated) > self.desired

    def _drain_surplus(self, now: float) -> None:
        for child in self.children:
            unwanted = self.is_stale(child) if child.solo else child.index > self.desired
            if child.active and (self.closing or unwanted):
                child.end(drain(child.grace), now)

    def _start(self, index: int, lane: Lane) -> Child | None:
        child = self._launch(self, index, lane)
        if child is not None:
            self.children.append(child)
        return child

    # what becomes of the dead

    def bury(self, child: Child, *, counts: bool, now: float) -> Succession:
        """Take a dead child to its last state; return when its successor starts.

        :param counts: whether the death is held against its seat: it was neither asked to go nor
            went as its settings say.
        """
        succession = Succession()
        if not child.solo and not self.closing:
            policy = self._policies.setdefault(child.index, RestartPolicy(gives_up=self._gives_up))
            succession = policy.died(
                lived=now - child.started if child.said_ready else 0.0,
                settled=child.settled,
                began=child.began,
                counts=counts,
            )
        if succession.gives_up:
            child.change(ChildState.FATAL, now)
        elif succession.delay:
            child.change(ChildState.BACKOFF, now, deadline=now + succession.delay)
        else:
            asked = child.stop is not None and child.stop.force is not Force.LEAVING
            child.change(ChildState.STOPPED if asked else ChildState.EXITED, now)
            self.children.remove(child)
        return succession


def _holds_its_seat(child: Child) -> bool:
    """Tell whether nobody else may sit there yet.

    What recycles itself or is being killed is succeeded when it is gone, not beside it; what drains
    has been replaced, or is one too many.
    """
    if child.state is not ChildState.STOPPING:
        return True
    return child.stop is not None and child.stop.force not in {Force.DRAIN, Force.HAND_BACK}
