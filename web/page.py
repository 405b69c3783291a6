"""The page at ``/``: what an operator on call wants to see first, on one screen.

HTML without a script; it fetches itself anew. Nothing on it changes anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from queued.units import format_duration, format_size
from queued.version import __version__
from queued.web.markup import Markup, element
from queued.web.overview import Overview, PoolView, QueueView

REFRESH = 5
"""Seconds after which a browser fetches the page again."""

AS_PLANNED = frozenset({"max_jobs", "max_time", "max_memory", "drained", "empty"})
"""Reasons for which workers end without anybody having to look."""

COUNTS = ("ready", "scheduled", "reserved", "failed", "failed last hour")
"""What is counted of a queue, by the names of the columns."""

SYMBOLS = {"good": "✓", "poor": "!", "bad": "✕"}


def render(overview: Overview, reasons: Sequence[str], now: float) -> str:
    """Return the page.

    :param reasons: why the daemon is not ready, one sentence each.
    :param now: seconds since the epoch.
    """
    warnings = list(overview.warnings())
    level = "bad" if reasons else "poor" if warnings else "good"
    headline = {"bad": "Not ready", "poor": "Ready, with warnings", "good": "Healthy"}[level]
    body = element(
        "body",
        _header(),
        element(
            "main",
            _verdict(level, headline, [*reasons, *warnings]),
            _figures(overview, now),
            _pools(overview),
            _queues(overview),
        ),
        _footer(now),
    )
    head = _head(f"{SYMBOLS[level]} {headline} · queued", level)
    return "<!doctype html>\n" + element("html", head, body, lang="en")


def _head(title: str, level: str) -> Markup:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="refresh", content=REFRESH),
        element("title", title),
        element("link", rel="icon", type="image/svg+xml", href=f"/static/{level}.svg"),
        element("link", rel="stylesheet", href="/static/page.css"),
    )


def _header() -> Markup:
    links = [element("a", path, href=path) for path in ("/metrics", "/healthz", "/readyz")]
    name = element("h1", "queued ", element("span", __version__, class_="version"))
    return element("header", name, element("nav", *links, aria_label="More"))


def _verdict(level: str, headline: str, sentences: Sequence[str]) -> Markup:
    if sentences:
        text = element("ul", *[element("li", one) for one in sentences])
    else:
        text = element(
            "p", "The back-end answers, every pool runs, and no job waits beyond max_wait."
        )
    symbol = element("span", SYMBOLS[level], class_="symbol", aria_hidden="true")
    told = element("div", element("h2", headline), text)
    return element("section", symbol, told, class_=f"verdict {level}", role="status")


def _figures(overview: Overview, now: float) -> Markup:
    pools = overview.pools
    old = overview.sample_stale
    stats = [queue.stats for queue in overview.queues if queue.stats is not None]
    lately = sum(one.failed_last_hour for one in stats)
    up = "reachable" if overview.backend_up else "unreachable"
    since = _clock(now - overview.backend_since, now)
    running, desired = sum(one.running for one in pools), sum(one.desired for one in pools)
    return element(
        "dl",
        _figure("Back-end", overview.backend, f"{up} since {since}", bad=not overview.backend_up),
        _figure(
            "Workers",
            running,
            f"of {desired} running",
            bad=running < desired,
            stale=overview.fleet_stale,
        ),
        _figure(
            "Jobs running",
            sum(one.busy for one in pools),
            f"on {sum(one.slots for one in pools)} slots",
            stale=overview.fleet_stale,
        ),
        _figure(
            "Jobs ready",
            _number(sum(one.ready for one in stats)),
            f"{_number(sum(one.scheduled for one in stats))} scheduled for later",
            stale=old,
        ),
        _figure(
            "Jobs failed",
            _number(lately),
            f"in the last hour, {_number(sum(one.failed for one in stats))} kept",
            bad=lately > 0,
            stale=old,
        ),
        class_="figures",
    )


def _figure(
    name: str, value: object, note: str, *, bad: bool = False, stale: bool = False
) -> Markup:
    classes = ["figure", *(["bad"] if bad else []), *(["stale"] if stale else [])]
    return element(
        "div",
        element("dt", name),
        element("dd", value, class_="value"),
        element("dd", note, class_="note"),
        class_=" ".join(classes),
    )


def _pools(overview: Overview) -> Markup:
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
        _cell("workers", f"{pool.running}/{pool.desired}", class_="bad" if short else None),
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
            text = f"{reason}\N{NO-BREAK SPACE}{_number(count)}"
            parts += [", ", text if reason in AS_PLANNED else element("b", text)]
    return parts[1:] or [_none()]


def _queues(overview: Overview) -> Markup:
    return _section(
        "Queues",
        (*COUNTS, "oldest ready"),
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
        element("th", queue.name, scope="row"),
        *[
            _cell(
                label,
                _none() if value is None else _number(value),
                class_="bad"
                if value and label == "failed last hour"
                else None
                if value
                else "zero",
            )
            for label, value in cells.items()
        ],
        _cell("oldest ready", *_oldest(queue), class_="bad" if queue.late else None),
        class_="late" if queue.late else None,
    )


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


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _footer(now: float) -> Markup:
    return element(
        "footer",
        f"As of {_clock(now, now)} UTC, refreshed every {REFRESH} s. More on the command line: ",
        element("code", "queued status"),
    )


def _clock(at: float, now: float) -> str:
    """Return a time of day in UTC, with its date unless that is today's."""
    moment, today = time.gmtime(at), time.gmtime(now)
    return time.strftime("%H:%M:%S" if moment[:3] == today[:3] else "%Y-%m-%d %H:%M", moment)
