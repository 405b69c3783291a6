"""The tables of the page at ``/``: the pools, and the queues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from queued.units import (
    format_duration,
    format_latency,
    format_rate,
    format_share,
    format_size,
)
from queued.web.markup import Markup, element
from queued.web.overview import AS_PLANNED, Overview, PoolView, QueueView

COUNTS = ("ready", "scheduled", "reserved", "failed", "failed last hour")
"""What is counted of a queue, by the names of the columns."""

LATELY = ("per second", "wait p95", "run p95", "runs failed")
"""What is told of the last minutes of a queue, by the names of the columns."""


def pools_table(overview: Overview) -> Markup:
    return _section(
        "Pools",
        ("state", "workers", "busy", "memory", "exits"),
        [_pool(pool) for pool in overview.pools],
        age=overview.fleet_age,
        stale=overview.fleet_stale,
    )


def _pool(pool: PoolView) -> Markup:
    short = pool.running < pool.desired
    return element(
        "tr",
        element("th", pool.name, scope="row"),
        _cell("state", element("span", pool.state, class_=f"state {pool.state}"), class_="text"),
        _cell("workers", pool.size, class_="bad" if short else None),
        _cell(
            "busy",
            _bar(pool.busy, pool.slots),
            element("span", f"{pool.busy}/{pool.slots}", class_="ratio"),
        ),
        _cell("memory", format_size(pool.memory)),
        _cell("exits", *_exits(pool.exits), class_="text"),
    )


def _exits(exits: Mapping[str, int]) -> Iterable[object]:
    """Return how often workers ended, and why; what was planned comes last."""
    reasons = sorted(exits.items(), key=lambda one: (one[0] in AS_PLANNED, one[0]))
    parts: list[object] = []
    for reason, count in reasons:
        if count:
            text = f"{reason}\N{NO-BREAK SPACE}{number(count)}"
            parts += [", ", text if reason in AS_PLANNED else element("b", text)]
    return parts[1:] or [_none()]


def queues_table(overview: Overview) -> Markup:
    return _section(
        "Queues",
        (*COUNTS, "oldest ready", *LATELY),
        [_queue(queue) for queue in overview.queues],
        age=overview.sample_age,
        stale=overview.sample_stale,
    )


def _queue(queue: QueueView) -> Markup:
    one = queue.stats
    cells: dict[str, int | None] = dict.fromkeys(COUNTS)
    if one is not None:
        counts = one.ready, one.scheduled, one.reserved, one.failed, one.failed_last_hour
        cells = dict(zip(COUNTS, counts, strict=True))
    return element(
        "tr",
        element("th", *_name(queue), scope="row"),
        *[
            _cell(
                label,
                _none() if value is None else number(value),
                class_="bad"
                if value and label == "failed last hour"
                else None
                if value
                else "zero",
            )
            for label, value in cells.items()
        ],
        _cell("oldest ready", *_oldest(queue), class_="bad" if queue.late else None),
        *_lately(queue),
        class_="late" if queue.late else None,
    )


def _name(queue: QueueView) -> Iterable[object]:
    yield queue.name
    if queue.paused:
        yield " "
        yield element("span", "paused", class_="badge paused")


def _oldest(queue: QueueView) -> Iterable[object]:
    """Yield the age of the oldest job that waits, against what it should be."""
    if queue.late:
        yield element("span", "late", class_="badge")
    if queue.oldest is None and queue.max_wait is None:
        yield _none()
    else:
        yield format_duration(round(queue.oldest or 0.0, 1))
    if queue.max_wait is not None:
        yield element("small", f" of {format_duration(queue.max_wait)}")


def _lately(queue: QueueView) -> Iterator[Markup]:
    """Yield a cell for each of ``LATELY``."""
    one = queue.lately
    values: Sequence[str | None] = [None] * len(LATELY)
    if one is not None:
        values = [
            format_rate(one.rate),
            None if one.wait_p95 is None else format_latency(one.wait_p95),
            None if one.run_p95 is None else format_latency(one.run_p95),
            None if one.failure_ratio is None else format_share(one.failure_ratio),
        ]
    for label, value in zip(LATELY, values, strict=True):
        bad = label == "runs failed" and (queue.failing or queue.doubtful)
        yield _cell(label, value or _none(), class_="bad" if bad else None)


def _section(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Markup],
    *,
    age: float | None,
    stale: bool,
) -> Markup:
    if age is None:
        seen = "not seen yet"
    else:
        seen = "seen just now" if age < 1 else f"seen {format_duration(int(age))} ago"
    if stale:
        seen = f"stale: {seen}"
    heading = element("h2", title, " ", element("small", seen, class_="seen"))
    names = [element("th", title.lower().removesuffix("s"), scope="col")]
    names += [element("th", name, scope="col") for name in columns]
    table = element("table", element("thead", element("tr", *names)), element("tbody", *rows))
    return element(
        "section",
        heading,
        table if rows else element("p", "None.", class_="empty"),
        class_=f"{title.lower()} stale" if stale else title.lower(),
    )


def _cell(label: str, *content: object, class_: str | None = None) -> Markup:
    """Return a cell that names its column, for where the table is too wide for the screen."""
    return element("td", element("span", *content), class_=class_, data_label=label)


def _bar(value: float, whole: float) -> Markup | None:
    """Return a thin bar: ``value`` of ``whole``."""
    if not whole:
        return None
    filled = min(100.0, 100.0 * value / whole)
    return element(
        "svg",
        element("rect", class_="whole", width=100, height=4),
        element("rect", class_="part", width=f"{filled:.0f}", height=4),
        viewBox="0 0 100 4",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _none() -> Markup:
    return element("span", "\N{EN DASH}", class_="none")  # as wide as a digit


def number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
