"""The states of a job and the verbs that move it: one table, which every driver implements.

    enqueue   -         → ready, scheduled     idempotent while the id exists
    promote   scheduled → ready                due
    reserve   ready     → reserved             a new fence and an owner
    ack       reserved  → done                 the record leaves the back-end
    retry     reserved  → scheduled, ready     one step, to the tail
    release   reserved  → ready                not charged, to the head
    fail      reserved  → failed               with its record
    requeue   failed    → ready                an operator's verb, to the tail
    forget    failed    → -                    an operator's verb
    cancel    ready, scheduled → -             an operator's verb

reclaim and reap are no verbs of their own: a dead owner is *retired* (it can reserve no more) and
what it held is settled by the verbs above.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job is. ``DONE`` is never stored: the record leaves when its job is done."""

    READY = "ready"
    SCHEDULED = "scheduled"
    RESERVED = "reserved"
    FAILED = "failed"
    DONE = "done"


class Charge(StrEnum):
    """What one run cost a job: which of its counters rises by one (see ``Counts``)."""

    NONE = "none"  # it had not started
    ERROR = "error"
    TIMEOUT = "timeout"
    CRASH = "crash"  # its process died while it ran alone: also a suspect from now on
    LOST = "lost"  # its process or host died while others ran beside it: suspicion rises
    RELEASE = "release"  # it was started and handed back: shutdown, or a neighbour's kill


class Lane(StrEnum):
    """Which of a queue's ready jobs a worker asks for."""

    NORMAL = "normal"
    SOLO = "solo"  # suspects, each run alone in a temporary worker


SUSPECT_FROM = 2
"""From this suspicion on, a job is ready in the solo lane only."""

MAX_BATCH = 1_000
"""The most jobs that one verb moves (Lua's ``unpack`` fails near 8,000 values)."""

TRANSITIONS: dict[str, tuple[tuple[State | None, ...], tuple[State | None, ...]]] = {
    "enqueue": ((None,), (State.READY, State.SCHEDULED)),
    "promote": ((State.SCHEDULED,), (State.READY,)),
    "reserve": ((State.READY,), (State.RESERVED,)),
    "ack": ((State.RESERVED,), (State.DONE,)),
    "retry": ((State.RESERVED,), (State.SCHEDULED, State.READY)),
    "release": ((State.RESERVED,), (State.READY,)),
    "fail": ((State.RESERVED,), (State.FAILED,)),
    "requeue": ((State.FAILED,), (State.READY,)),
    "forget": ((State.FAILED,), (None,)),
    "cancel": ((State.READY, State.SCHEDULED), (None,)),
}
