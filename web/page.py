"""The page at ``/``: what an operator on call wants to see first, on one screen.

HTML without a script; it fetches itself anew. Nothing on it changes anything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from queued.version import __version__
from queued.web.markup import Markup, element
from queued.web.overview import WELL, Overview
from queued.web.tables import number, pools_table, queues_table

REFRESH = 5
"""Seconds after which a browser fetches the page again."""

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
            _pauses(overview, now),
            _figures(overview, now),
            pools_table(overview),
            queues_table(overview),
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
        text = element("p", f"{WELL.capitalize()}.")
    symbol = element("span", SYMBOLS[level], class_="symbol", aria_hidden="true")
    told = element("div", element("h2", headline), text)
    return element("section", symbol, told, class_=f"verdict {level}", role="status")


def _pauses(overview: Overview, now: float) -> Markup | None:
    sentences = list(overview.pauses(now))
    if not sentences:
        return None
    return element("ul", *[element("li", one) for one in sentences], class_="pauses")


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
            number(sum(one.ready for one in stats)),
            f"{number(sum(one.scheduled for one in stats))} scheduled for later",
            stale=old,
        ),
        _figure(
            "Jobs failed",
            number(lately),
            f"in the last hour, {number(sum(one.failed for one in stats))} kept",
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
