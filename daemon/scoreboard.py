"""What a worker is doing, in memory that outlives it: one memfd per worker.

The worker writes, the master reads (and still reads when the worker is dead): which jobs ran, how
they ended, whose deadline has passed. A write costs about a microsecond and no system call.

    header   magic, slots, heartbeat, began, settled
    states   a byte for each slot: the one word that says what a slot means
    slots    started, deadline, retry_in, fence, max_tries, job id, job class, generation
    recorder the last log lines and the stacks of a crash (see ``Recorder``)

``begin`` writes a slot whose state says idle, its new generation last, and then the state;
``finish`` and ``clear`` change one byte. A reader that finds the same generation before and after
has read one job and not halves of two. A worker killed within a ``begin`` leaves an idle slot: that
job had not started.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
from enum import IntEnum
from typing import NamedTuple, Self

from queued.daemon import recorder
from queued.daemon.recorder import Recorder

_MAGIC = 0x71756575  # "queu"
_HEAD = struct.Struct("=IIdQQ")  # magic, slots, heartbeat, began, settled
_HEAD_SIZE = 64
_SLOT = struct.Struct("=dddQQ64s64sQ")  # as listed above, in whole words
_WORD = 8
_HEARTBEAT, _BEGAN, _SETTLED = 1, 2, 3  # 8-byte words of the header
_GENERATION = _SLOT.size // _WORD - 1  # words from the start of a slot
_READS = 3
"""How often a reader tries a slot that changes meanwhile."""


class SlotState(IntEnum):
    IDLE = 0
    RUNNING = 1
    FINISHED_OK = 2
    FINISHED_ERROR = 3


_STATES = {state.value: state for state in SlotState}


class Slot(NamedTuple):
    """One occupied slot as read. Times are this machine's monotonic seconds."""

    number: int
    generation: int
    """Differs between two jobs of a slot: the same in two readings means the same run."""
    state: SlotState
    job_id: str
    job: str
    """The job's class, cut to 64 bytes."""
    fence: int
    """Of its reservation: an id may come back, under another one."""
    started: float
    deadline: float
    """0: none."""
    max_tries: int
    retry_in: float
    """Seconds until the next run, should this one end in a timeout."""


class Scoreboard:
    """A worker's slots. Made by the master (``create``), mapped by the worker (``attach``)."""

    def __init__(self, fd: int, slots: int) -> None:
        self.fd = fd
        self.slots = slots
        self._first = _first(slots)
        self._map = mmap.mmap(fd, _size(slots))
        self._words = memoryview(self._map).cast("Q")
        self._clock = memoryview(self._map).cast("d")
        self._states = memoryview(self._map)[_HEAD_SIZE : _HEAD_SIZE + slots]
        # Counted here, since a job may scribble over what stands there.
        self._began, self._settled = self.began, self.settled
        self.recorder = Recorder(fd, self._map, self._first + slots * _SLOT.size)

    @classmethod
    def create(cls, slots: int) -> Self:
        """Make the board of a worker with ``slots`` slots, all idle."""
        fd = _anonymous_file(_size(slots))
        try:
            os.pwrite(fd, _HEAD.pack(_MAGIC, slots, 0.0, 0, 0), 0)
            return cls(fd, slots)
        except OSError:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Map a board that another process made.

        :raises ValueError: the descriptor is no scoreboard.
        """
        head = os.pread(fd, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            raise ValueError("not a scoreboard: too short")
        magic, slots, *_ = _HEAD.unpack(head)
        if magic != _MAGIC:
            raise ValueError("not a scoreboard: wrong magic")
        return cls(fd, slots)

    def close(self) -> None:
        """Unmap and close; idempotent."""
        if self.fd < 0:
            return
        for view in (self._words, self._clock, self._states):
            view.release()
        self._map.close()
        os.close(self.fd)
        self.fd = -1

    # the worker writes

    def begin(  # noqa: PLR0917  one call per job: keywords would cost more than they say
        self,
        slot: int,
        job_id: str,
        job: str,
        fence: int,
        started: float,
        deadline: float,
        max_tries: int,
        retry_in: float,
    ) -> None:
        """Say that a job is about to start in an idle slot, before any of its code runs."""
        self._began = began = self._began + 1
        _SLOT.pack_into(
            self._map,
            self._first + slot * _SLOT.size,
            started,
            deadline,
            retry_in,
            fence,
            max_tries,
            job_id.encode(),
            job.encode(),
            began,
        )
        self._states[slot] = 1
        self._words[_BEGAN] = began

    def start_clock(self, slot: int, started: float, deadline: float) -> None:
        """Move the start of a job that waited for a thread."""
        word = (self._first + slot * _SLOT.size) // _WORD
        self._clock[word + 1] = deadline  # the later value first: no reader sees it overrun
        self._clock[word] = started

    def finish(self, slot: int, ok: bool) -> None:
        """Say that the job's code has ended; its settlement is not stored yet."""
        self._states[slot] = 2 if ok else 3

    def clear(self, slot: int) -> None:
        """Say that the back-end has stored the job's settlement: the slot is free."""
        self._states[slot] = 0
        self._settled = settled = self._settled + 1
        self._words[_SETTLED] = settled

    def release(self, slot: int) -> None:
        """Like ``clear``, for a job that was handed back: no progress was made with it."""
        self._states[slot] = 0

    def beat(self, now: float) -> None:
        """Say that the loop turns; ``now`` is monotonic seconds."""
        self._clock[_HEARTBEAT] = now

    # anyone reads

    @property
    def heartbeat(self) -> float:
        """When the loop last turned, monotonic seconds; 0: never yet."""
        return self._clock[_HEARTBEAT]

    @property
    def began(self) -> int:
        """How many jobs this incarnation has started."""
        return self._words[_BEGAN]

    @property
    def settled(self) -> int:
        """How many jobs this incarnation has settled."""
        return self._words[_SETTLED]

    @property
    def busy(self) -> int:
        """How many slots hold a job, running or not settled yet."""
        return self.slots - bytes(self._states).count(0)

    def read(self) -> list[Slot]:
        """Return the occupied slots, each as one consistent reading."""
        return [
            slot
            for index, state in enumerate(bytes(self._states))
            if state != SlotState.IDLE and (slot := self._read(index)) is not None
        ]

    def _read(self, index: int) -> Slot | None:
        at = self._first + index * _SLOT.size
        for _ in range(_READS):
            before = self._words[at // _WORD + _GENERATION]
            started, deadline, retry_in, fence, max_tries, job_id, job, _ = _SLOT.unpack_from(
                self._map, at
            )
            state = self._states[index]
            generation = self._words[at // _WORD + _GENERATION]
            if generation != before:
                continue
            if state == SlotState.IDLE:
                return None
            return Slot(
                index,
                generation,
                _STATES.get(state, SlotState.RUNNING),  # the user's code can write here, too
                _text(job_id),
                _text(job),
                fence,
                started,
                deadline,
                max_tries,
                retry_in,
            )
        return None


def _first(slots: int) -> int:
    """Return where the first slot is: the states before it fill whole words."""
    return _HEAD_SIZE + -(-slots // _WORD) * _WORD


def _size(slots: int) -> int:
    return _first(slots) + slots * _SLOT.size + recorder.SIZE


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode(errors="ignore")  # a name may be cut within a character


def _anonymous_file(size: int) -> int:
    if not hasattr(os, "memfd_create"):  # macOS
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
        os.ftruncate(fd, size)
        return fd
    fd = os.memfd_create("queued-scoreboard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    # A job that truncates the descriptor it finds would make the master's next read a SIGBUS.
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd
