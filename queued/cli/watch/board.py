"""What ``queued top`` draws: a board that fits the terminal, whatever its size.

From the top: is all well and where not, figures of the whole, a line for each queue, what runs, and
the keys. On a low terminal the queues and the jobs share what is left; on a narrow one the columns
that matter least go first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Self

from queued.cli.output import aligned, coloured, plural, widths_of
from queued.cli.watch import columns
from queued.cli.watch.columns import Column, Row
from queued.cli.watch.reading import Reading, Run
from queued.cli.watch.screen import STYLES, nearly_over, time_of
from queued.units import format_duration, format_rate

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

PROBLEMS = 4
"""Lines of the health that are shown; more would leave no room for the queues."""
JOBS = 5
"""Lines for running jobs that a low terminal keeps."""
KEYS = "q quit  p pause  s sort  r reverse  up/down scroll"


@dataclass(frozen=True, slots=True)
class View:
    """How somebody looks at the board."""

    interval: float
    """Seconds between two looks at the daemon."""
    sort: Column = columns.NAME
    reverse: bool = False
    first: int = 0
    """Queues that are scrolled out at the top."""
    paused: bool = False
    page: int = 10
    """Queues that a key for a whole page scrolls by."""

    def after(self, key: str, queues: int) -> Self:
        """Return the view after a key was struck; a key that means nothing changes nothing.

        :param queues: how many there are to scroll through.
        """
        match key:
            case "p" | "space":
                return replace(self, paused=not self.paused)
            case "r":
                return replace(self, reverse=not self.reverse, first=0)
            case "s" | "right" | ">":
                return self._sorted_by(1)
            case "S" | "left" | "<":
                return self._sorted_by(-1)
            case "down" | "j" | "up" | "k" | "pagedown" | "pageup":
                step = self.page if key.startswith("page") else 1
                first = self.first + (-step if key in {"up", "k", "pageup"} else step)
                return replace(self, first=max(0, min(first, queues - 1)))
        return self

    def _sorted_by(self, step: int) -> Self:
        place = (columns.ALL.index(self.sort) + step) % len(columns.ALL)
        return replace(self, sort=columns.ALL[place], reverse=False, first=0)


def board(reading: Reading, view: View, away: str, width: int, height: int) -> Group:
    """Return the board for a terminal of this size.

    :param away: why the daemon could not be asked just now, so that ``reading`` is its last answer;
        empty: it was.
    """
    from rich.console import Group  # noqa: PLC0415 - as in output

    top = [*_health(reading, width, away), _whole(reading), coloured("")]
    rows = columns.arranged(columns.rows_of(reading), view.sort, reverse=view.reverse)
    room = max(0, height - len(top) - 1)  # the last line has the keys
    jobs = _jobs(reading.runs[:height], width)  # of thousands the rest is not even looked at
    queues = _queues(rows, view, width, max(3, room - min(len(jobs), JOBS + 2)))
    lines = [*top, *queues, *jobs[: max(0, room - len(queues))]][: height - 1]
    lines += [coloured("")] * (height - 1 - len(lines))
    if away:
        for line in lines[1:]:
            line.stylize("dim")
    for line in (*lines, keys := _keys(view, width)):
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return Group(*lines, keys)


def _health(reading: Reading, width: int, away: str) -> list[Text]:
    if away:
        text = f"{away}, waiting for it; this is how it was at {_clock(reading.now)}"
        return [coloured(text, "bold red")]
    clock = _clock(reading.now)
    between = " " * max(1, width - len(reading.headline) - len(clock))
    headline = coloured("").append(reading.headline, STYLES[reading.headline])
    return [headline.append(between + clock, "dim"), *_told(reading)]


def _told(reading: Reading) -> Iterator[Text]:
    """Yield the problems; where they leave room, what is worth knowing beside them."""
    problems = reading.problems
    if len(problems) > PROBLEMS:
        rest = len(problems) - PROBLEMS + 1
        problems = [*problems[: PROBLEMS - 1], f"and {rest} more; queued status has them all"]
    yield from (coloured(f"  {one}") for one in problems)
    notes = islice(reading.notes(), PROBLEMS - len(problems))
    yield from (coloured(f"  {one}", "dim") for one in notes)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _whole(reading: Reading) -> Text:
    pools, queues = reading.overview.pools, reading.overview.queues
    running, desired = sum(one.running for one in pools), sum(one.desired for one in pools)
    ready = sum(one.stats.ready for one in queues if one.stats)
    rate = sum(one.lately.rate for one in queues if one.lately)
    parts = [
        f"{running}/{plural(desired, 'worker')}",
        f"{sum(one.busy for one in pools)}/{sum(one.slots for one in pools)} busy",
        f"{columns.number(ready)} ready",
        f"{format_rate(rate)} jobs/s",
        f"up {format_duration(int(reading.status['uptime']))}",
        f"{reading.overview.backend} {'up' if reading.overview.backend_up else 'down'}",
    ]
    return coloured("  ".join(parts))


def _queues(rows: Sequence[Row], view: View, width: int, room: int) -> list[Text]:
    """Return the header and as many rows as there is room for."""
    shown = columns.fitting(columns.ALL, rows, width, keep=view.sort)
    header = [coloured(one.title, "bold reverse" if one is view.sort else "bold") for one in shown]
    cells = [[coloured(one.text(row), one.style(row)) for one in shown] for row in rows]
    widths = widths_of([header, *cells])
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= width else 1
    right = [False] + [True] * (len(shown) - 1)
    fits, first = room - 1, 0
    if len(rows) > fits:
        fits, first = room - 2, min(view.first, len(rows) - 1)
    lines = [aligned(row, widths, right, gap=gap) for row in (header, *cells[first : first + fits])]
    if len(rows) > fits:
        last = min(first + fits, len(rows))
        lines.append(coloured(f"{first + 1} to {last} of {len(rows)} queues", "dim"))
    return lines


def _jobs(runs: Sequence[Run], width: int) -> list[Text]:
    """Return what runs, the longest first, after an empty line."""
    if not runs:
        return [coloured(""), coloured("nothing runs now", "dim")]
    header = [coloured(one, "bold") for one in ("running now", "worker", "for", "id")]
    rows = [
        [
            coloured(run.name),
            coloured(run.worker),
            coloured(time_of(run), columns.POOR if nearly_over(run) else ""),
            coloured(run.id, "dim"),
        ]
        for run in runs
    ]
    widths = widths_of([header, *rows])
    over = sum(widths) + 6 - width
    if over > 0:  # an id that is cut is of no use, half the name of a class is
        widths[0] = max(len("running now"), widths[0] - over)
    for row in rows:
        row[0].truncate(widths[0], overflow="ellipsis")
    right = [False, False, True, False]
    return [coloured(""), *(aligned(row, widths, right, gap=2) for row in (header, *rows))]


def _keys(view: View, width: int) -> Text:
    by = "trouble first" if view.sort is columns.NAME else f"by {view.sort.name}"
    state = "PAUSED" if view.paused else f"every {format_duration(view.interval)}"
    status = f"{by}{', reversed' if view.reverse else ''}, {state}"
    between = max(2, width - len(KEYS) - len(status))
    return coloured("").append(KEYS + " " * between, "dim").append(status, "bold")
