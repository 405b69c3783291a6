"""The command ``python -m benchmarks.scale``."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import server
from benchmarks.scale import backlog, fleet

LENGTHS: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000)
SCHEDULED = 100_000
ROUNDS = 3
SHAPES: Sequence[tuple[int, int]] = ((1, 1), (1, 20), (10, 2), (50, 1))
"""Queues, and workers of each."""


@click.command()
@click.option("--quick", is_flag=True, help="Short queues and few workers: to see that it works.")
def main(*, quick: bool) -> None:
    """Measure how queued's costs grow with the backlog, with workers and with queues."""
    lengths, scheduled, rounds = LENGTHS, SCHEDULED, ROUNDS
    shapes, seconds = SHAPES, 20.0
    if quick:
        lengths, scheduled, rounds = LENGTHS[:2], 1_000, 1
        shapes, seconds = SHAPES[:1], 2.0
    with tempfile.TemporaryDirectory(prefix="queued-scale-") as name:
        folder = Path(name)
        with server.running(folder) as redis:
            costs = backlog.run(redis, lengths, scheduled, rounds, click.echo)
            click.echo(_table(costs))
            click.echo(_table(fleet.measure(redis, folder, shapes, seconds, click.echo)))


def _table(rows: Sequence[Any]) -> str:
    names = [field.name for field in dataclasses.fields(rows[0])]
    lines = [names, ["---:"] * len(names)]
    lines += [[f"{getattr(row, name):,.6g}" for name in names] for row in rows]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
