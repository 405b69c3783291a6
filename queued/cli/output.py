"""What commands print: tables for people, JSON for programs, and nothing that drives a terminal.

rich leaves colours out where there is no terminal, and where NO_COLOR is set.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from queued.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {
    "running": "green",
    "succeeded": "green",
    "ready": "cyan",
    "scheduled": "blue",
    "reserved": "green",
    "starting": "yellow",
    "stopping": "yellow",
    "retried": "yellow",
    "released": "yellow",
    "backoff": "red",
    "lost": "red",
    "failed": "red",
    "fatal": "bold red",
    "timed_out": "red",
}


_UNSAFE = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON leaves as it is and a terminal obeys, or no output can encode."""


def print_json(value: Any) -> None:
    """Print a value for programs, one document; a terminal is safe from it, too."""
    click.echo(_safe(json.dumps(value, indent=2, ensure_ascii=False, default=str)))


def json_line(value: Any) -> str:
    """Return a value for programs that read lines."""
    return _safe(json.dumps(value, ensure_ascii=False, default=str))


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def console() -> Console:
    """Return rich's console on standard output; what is not a terminal has no width to fit."""
    from rich.console import Console  # noqa: PLC0415 - 60 ms, only where something is drawn

    width = None if sys.stdout.isatty() else 10_000
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    below: int = 0,
) -> None:
    """Print rows under their columns; no cell is cut or folded, so that an id can be copied.

    Where the terminal is too narrow, the columns stand closer.

    :param right: the columns that are aligned as numbers are.
    :param below: where the terminal is too narrow, so many last columns stand beneath their row.
    """
    out = console()
    header = [coloured(name, "bold") for name in columns]
    cells = [header, *([styled(value) for value in row] for row in rows)]
    widths = widths_of(cells)
    narrow = sum(widths) + 2 * len(widths) - 2 > out.width
    for row in cells:
        last = [row.pop() for _ in range(below)][::-1] if narrow else []
        line = aligned(row, widths, [name in right for name in columns], gap=1 if narrow else 2)
        out.print(line, soft_wrap=True)
        if last and row is not header:
            out.print(coloured("    "), coloured("  ").join(last), sep="", soft_wrap=True)


def widths_of(rows: Sequence[Sequence[Text]]) -> list[int]:
    """Return how wide each column is."""
    return [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]


def aligned(row: Sequence[Text], widths: Sequence[int], right: Sequence[bool], *, gap: int) -> Text:
    """Return a row as a line.

    :param right: for each column, whether it is aligned as numbers are.
    :param gap: spaces between the columns.
    """
    for cell, width, is_right in zip(row, widths, right, strict=False):
        cell.align("right" if is_right else "left", width)
    line = coloured(" " * gap).join(row)
    line.rstrip()
    return line


def print_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one a line; a value of None is left out."""
    known = [(name, value) for name, value in fields if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    out = console()
    for name, value in known:
        out.print(coloured(f"{name:<{width}}  ", "bold"), styled(value), sep="", soft_wrap=True)


def styled(value: Any) -> Text:
    """Return a value as text, safe to print, coloured if it is the name of a state."""
    from rich.text import Text  # noqa: PLC0415 - see console

    return value if isinstance(value, Text) else coloured(str(value), _STYLES.get(str(value), ""))


def coloured(text: str, style: str = "") -> Text:
    """Return text in a style of rich's, safe to print."""
    from rich.text import Text  # noqa: PLC0415 - see console

    from queued.jobs.text import one_line  # noqa: PLC0415

    return Text(one_line(text, 10_000), style=style)


def moment(timestamp: float | None) -> str | None:
    """Return a time of the back-end's clock for people: local time, and how long from now."""
    if timestamp is None:
        return None
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))
    return f"{local} ({ago(timestamp)})"


def ago(timestamp: float) -> str:
    """Return how far a time of the back-end's clock is from now: ``5m ago``, ``in 2h``."""
    away = timestamp - time.time()
    distance = format_duration(abs(away) if abs(away) < 1 else int(abs(away)))
    return f"in {distance}" if away > 0 else f"{distance} ago"


def plural(count: int, noun: str) -> str:
    """Return ``1 job``, ``2 jobs``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
