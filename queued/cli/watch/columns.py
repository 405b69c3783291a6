"""The columns in which ``queued status`` and ``queued top`` show queues and their pools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from queued.cli.watch.reading import Reading
from queued.units import format_latency, format_rate, format_share, format_size
from queued.web.overview import AS_PLANNED, PoolView, QueueView

NO_RESTART = frozenset({"empty"})
"""A temporary worker that found nothing more to do: nobody followed it."""

DASH = "-"
BAD, POOR = "red", "yellow"


class Row(NamedTuple):
    """A queue and the pool that serves it."""

    place: int
    """In queue.yaml."""
    queue: QueueView
    pool: PoolView | None

    @property
    def troubled(self) -> bool:
        """Whether a problem is told of it."""
        return self.queue.late or self.queue.failing or bool(self.pool and self.pool.short)

    def stat(self, name: str) -> int | None:
        return getattr(self.queue.stats, name, None)

    def lately(self, name: str) -> float | None:
        return getattr(self.queue.lately, name, None)


class Column(NamedTuple):
    """What is shown of a row under a title."""

    name: str
    """What it is sorted by."""
    title: str
    value: Callable[[Row], Any]
    """What rows are compared by; None: nothing to compare."""
    text: Callable[[Row], str]
    style: Callable[[Row], str] = lambda _: ""
    weight: int = 0
    """On a narrow terminal the lightest go first; 0: never."""
    rises: bool = False
    """Sorted, the smallest come first."""


def rows_of(reading: Reading) -> list[Row]:
    """Return a row for every queue, in the order of queue.yaml."""
    pools = {pool.name: pool for pool in reading.overview.pools}
    queues = reading.overview.queues
    return [Row(place, queue, pools.get(queue.name)) for place, queue in enumerate(queues)]


def arranged(rows: Sequence[Row], column: Column, *, reverse: bool = False) -> list[Row]:
    """Return the rows sorted; what has no value comes last. By name: those with trouble first."""
    if column is NAME:
        return sorted(rows, key=lambda row: (not row.troubled, row.place), reverse=reverse)
    valued = [row for row in rows if column.value(row) is not None]
    valued.sort(key=column.value, reverse=column.rises == reverse)
    return valued + [row for row in rows if column.value(row) is None]


def fitting(
    columns: Sequence[Column], rows: Sequence[Row], width: int, *, keep: Column
) -> list[Column]:
    """Return the columns for which there is room; ``keep``, by which it is sorted, stays."""
    shown = list(columns)
    widths = {one: max(len(one.title), *(len(one.text(row)) for row in rows), 0) for one in columns}
    for lightest in sorted(columns, key=lambda one: one.weight):
        if sum(widths[one] + 1 for one in shown) - 1 <= width:
            break
        if lightest.weight and lightest is not keep:
            shown.remove(lightest)
    return shown


def number(value: float | None) -> str:
    """Return a count in at most five characters: ``99999``, ``123k``, ``1.2M``."""
    if value is None:
        return DASH
    if value < 100_000:  # noqa: PLR2004 - five digits
        return f"{value:.0f}"
    units = iter("kMGT")
    while value >= 1_000 and (unit := next(units, "")):  # noqa: PLR2004
        value /= 1_000
    return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"  # noqa: PLR2004


def known(text: Callable[[float], str]) -> Callable[[float | None], str]:
    """Return how a figure is written that may not be known."""
    return lambda value: DASH if value is None else text(value)


def restarts(exits: Mapping[str, int]) -> int:
    """Return how many of the ends were followed by a new worker."""
    return sum(count for reason, count in exits.items() if reason not in NO_RESTART)


def exits_text(exits: Mapping[str, int]) -> str:
    """Return how often workers were replaced, and why; what was planned comes last."""
    counted = [(reason, count) for reason, count in exits.items() if count]
    counted.sort(key=lambda one: (one[0] in AS_PLANNED, one[0]))
    parts = ", ".join(f"{why} {count}" for why, count in counted if why not in NO_RESTART)
    return f"{restarts(exits)} ({parts})" if parts else "0"


def _pool(read: Callable[[PoolView], Any]) -> Callable[[Row], Any]:
    return lambda row: None if row.pool is None else read(row.pool)


def _stat(name: str) -> tuple[Callable[[Row], Any], Callable[[Row], str]]:
    return (lambda row: row.stat(name)), (lambda row: number(row.stat(name)))


def _lately(
    name: str, text: Callable[[float], str]
) -> tuple[Callable[[Row], Any], Callable[[Row], str]]:
    return (lambda row: row.lately(name)), (lambda row: known(text)(row.lately(name)))


def _when(bad: Callable[[Row], Any], style: str = BAD) -> Callable[[Row], str]:
    return lambda row: style if bad(row) else ""


NAME = Column(
    "queue",
    "queue",
    lambda row: row.place,
    lambda row: f"{row.queue.name} (paused)" if row.queue.paused else row.queue.name,
    lambda row: f"bold {BAD}" if row.troubled else f"bold {POOR}" if row.queue.paused else "bold",
    rises=True,
)
WORKERS = Column(
    "workers",
    "workers",
    _pool(lambda pool: pool.running),
    lambda row: row.pool.size if row.pool else DASH,
    _when(lambda row: row.pool and row.pool.short),
    weight=8,
)
BUSY = Column(
    "busy",
    "busy",
    _pool(lambda pool: pool.busy),
    lambda row: f"{row.pool.busy}/{row.pool.slots}" if row.pool else DASH,
    _when(lambda row: row.pool and row.pool.busy >= row.pool.slots > 0, POOR),
    weight=10,
)
READY = Column("ready", "ready", *_stat("ready"), weight=13)
SCHEDULED = Column("scheduled", "sched", *_stat("scheduled"), weight=4)
RESERVED = Column("reserved", "reserved", *_stat("reserved"), weight=1)
FAILED = Column(
    "failed",
    "failed",
    *_stat("failed"),
    _when(lambda row: row.stat("failed_last_hour")),
    weight=9,
)
OLDEST = Column(
    "oldest",
    "oldest",
    lambda row: row.queue.oldest,
    lambda row: known(format_latency)(row.queue.oldest),
    _when(lambda row: row.queue.late),
    weight=12,
)
RATE = Column("rate", "rate/s", *_lately("rate", format_rate), weight=11)
WAIT = Column("wait", "wait p95", *_lately("wait_p95", format_latency), weight=6)
RUN = Column("run", "run p95", *_lately("run_p95", format_latency), weight=5)
FAILING = Column(
    "failing",
    "fail%",
    *_lately("failure_ratio", format_share),
    lambda row: BAD if row.queue.failing else POOR if row.queue.doubtful else "",
    weight=7,
)
RESTARTS = Column(
    "restarts",
    "restarts",
    _pool(lambda pool: restarts(pool.exits)),
    lambda row: number(restarts(row.pool.exits)) if row.pool else DASH,
    weight=3,
)
MEMORY = Column(
    "memory",
    "memory",
    _pool(lambda pool: pool.memory),
    lambda row: format_size(row.pool.memory) if row.pool else DASH,
    weight=2,
)

OF_QUEUES = (NAME, READY, SCHEDULED, RESERVED, FAILED, OLDEST, RATE, WAIT, RUN, FAILING)
ALL = (NAME, WORKERS, BUSY, *OF_QUEUES[1:], RESTARTS, MEMORY)
"""What ``queued top`` shows where there is room."""
