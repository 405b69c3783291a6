"""The page at ``/``: what an operator reads on it, over a real socket and in a real browser."""

from __future__ import annotations

import asyncio
import html
import re
import socket
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route

from queued.daemon.monitor.collector import Sample
from queued.drivers.base import Paused, QueueStats
from queued.errors import DriverUnavailable
from queued.version import __version__
from queued.web.guard import Guard
from queued.web.markup import Markup, element
from queued.web.server import serve
from tests.web.browser import visit
from tests.web.site import Site, running

DASH = "\N{EN DASH}"
HOSTILE = """<script>alert(1)</script>"'&<img src=x onerror=alert(2)>"""


def pool(state: str = "running", *, desired: int = 2, **workers: int) -> dict[str, Any]:
    return {
        "state": state,
        "desired": desired,
        "slots": 40,
        "workers": workers,
        "memory": 3 << 20,
    }


def tell(site: Site, *exits: tuple[str, str, int], **pools: dict[str, Any]) -> None:
    """Be the master: tell of the pools and of workers that ended."""
    ended = [[{"pool": name, "reason": reason}, number] for name, reason, number in exits]
    site.fleet.hear(
        {
            "type": "fleet",
            "owners": {},
            "pools": pools,
            "totals": {"": {"counters": {"worker_exits_total": ended}}},
            "scopes": [""],
        }
    )


def lately(
    rate: float,
    *,
    attempts: int = 0,
    failures: int = 0,
    failure_ratio: float | None = None,
    wait: float | None = None,
    run: float | None = None,
) -> dict[str, Any]:
    """Return what the monitor tells of a queue's last minutes."""
    one = {
        "finished_per_second": rate,
        "attempts": attempts,
        "failures": failures,
        "failure_ratio": failure_ratio,
        "wait_p95": wait,
        "run_p95": run,
    }
    return {"1m": one, "5m": one}


def populate(site: Site) -> None:
    """Have two pools, one of them with trouble, and a back-end that answers."""
    tell(
        site,
        ("emails", "crash", 3),
        ("emails", "max_jobs", 1_200),
        emails=pool("backoff", idle=1, backoff=1),
        reports=pool(idle=1, busy=1),
    )
    in_flight = {"gauges": {"jobs_in_flight": [[{"queue": "reports"}, 7]]}}
    site.fleet.hear({"type": "snapshot", "child": "w", "data": in_flight})
    with site.reach.watch("stats"):
        pass
    queues = {
        "emails": QueueStats(12_345, 4, 5, 6, failed_last_hour=2, oldest_ready_age_seconds=65),
        "reports": QueueStats(ready=1, oldest_ready_age_seconds=4),
    }
    site.collector.sample = Sample(time.time(), queues)
    site.max_waits.update(emails=60.0, reports=60.0)
    site.recent.update(
        emails=lately(1.5, attempts=40, failures=10, failure_ratio=0.25, wait=2.5, run=0.012),
        reports=lately(0.0),
    )


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"} and self.rows:
            self.rows[-1].append("")
        elif tag in {"footer", "h2"}:
            self.rows.append([""])  # what follows belongs to no cell

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def rows(page: str) -> dict[str, list[list[str]]]:
    """Return the cells of every row, by what stands in the first one."""
    parser = _Cells()
    parser.feed(page)
    found: dict[str, list[list[str]]] = {}
    for first, *rest in filter(None, parser.rows):
        found.setdefault(first, []).append(rest)
    return found


async def test_it_shows_pools_and_queues() -> None:
    async with running() as (site, client):
        populate(site)
        answer = await client.get("/")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        table = rows(answer.text)
        assert table["emails"] == [
            ["backoff", "1/2", "0/40", "3 MiB", "crash\xa03, max_jobs\xa01\u202f200"],
            ["12\u202f345", "4", "5", "6", "2", "late1m 5s of 1m", "1.5", "2.5s", "12ms", "25%"],
        ]
        assert table["reports"] == [
            ["running", "2/2", "7/40", "3 MiB", DASH],
            ["1", "0", "0", "0", "0", "4s of 1m", "0.0", DASH, DASH, DASH],
        ]
        assert __version__ in answer.text
        assert "memory" in answer.text
        assert '<dd class="value">redis</dd><dd class="note">reachable since' in answer.text
        assert not re.search("ada|s3cret|db.example|6379", answer.text)
        assert answer.text.count('class="late"') == 1


async def test_it_needs_no_script_and_fetches_itself_anew() -> None:
    async with running() as (site, client):
        populate(site)
        page = (await client.get("/")).text
        assert '<meta http-equiv="refresh" content="5">' in page
        assert '<meta name="viewport"' in page
        assert not re.search(r"<script|<style| style=| on\w+=", page)
        for path in re.findall(r'(?:href|src)="([^"]+)"', page):
            assert path.startswith("/")
            assert (await client.get(path)).status_code in {200, 503}
        assert {"/metrics", "/healthz", "/readyz"} <= set(re.findall(r'href="([^"]+)"', page))
        assert (await client.get("/static/page.css")).headers["content-type"].startswith("text/css")
        for missing in ("/nonsuch", "/static/", "/static/../app.py", "/static/nonsuch.css"):
            assert (await client.get(missing)).status_code == 404


async def test_the_first_line_says_how_it_is() -> None:
    async with running() as (site, client):

        async def verdict() -> str:
            page = (await client.get("/")).text
            found = re.search(r'<section class="verdict.*?</section>', page)
            assert found
            return html.unescape(re.sub(r"<[^>]+>", " ", found[0]))

        populate(site)
        tell(site, emails=pool(idle=2), reports=pool(idle=2))
        site.max_waits.clear()
        site.recent.clear()
        assert "Healthy" in await verdict()

        populate(site)
        assert "failed" not in await verdict()  # nobody asked for less

        site.max_failure_rate = 0.2
        said = await verdict()
        assert "Ready, with warnings" in said
        assert "pool emails: 1 of 2 workers running (backoff)" in said
        assert "queue emails: a job has waited 1m 5s, max_wait is 1m" in said
        assert "queue emails: 25% of 40 runs of the last 5m failed, max_failure_rate is 20%" in said
        assert "queue reports" not in said

        site.fleet.config_ok = False
        assert "the last reload of queue.yaml failed" in await verdict()

        site.reasons = ["pool emails: no worker running (fatal)"]
        said = await verdict()
        assert "Not ready" in said
        assert site.reasons[0] in said


async def test_what_is_old_is_shown_as_old() -> None:
    async with running() as (site, client):
        populate(site)
        assert "stale" not in (await client.get("/")).text

        site.collector.sample.at -= 45
        page = (await client.get("/")).text
        assert 'class="queues stale"' in page
        assert re.search("stale: seen 4[5-9]s ago", page)
        assert 'class="pools stale"' not in page
        assert re.search("the queues were last seen 4[5-9]s ago", page)

        site.fleet.heard_at -= 3_600
        page = (await client.get("/")).text
        assert 'class="pools stale"' in page
        assert "the master is silent" in page


async def test_queues_are_old_as_soon_as_the_back_end_is_gone() -> None:
    async with running() as (site, client):
        populate(site)
        with pytest.raises(DriverUnavailable), site.reach.watch("stats"):
            raise DriverUnavailable("gone")
        page = (await client.get("/")).text
        assert 'class="queues stale"' in page
        assert "unreachable since" in page


async def test_it_shows_what_is_not_known_yet() -> None:
    async with running() as (site, client):
        page = (await client.get("/")).text
        assert page.count("not seen yet") == 2
        assert "unreachable since" in page
        tell(site, emails=pool("starting", starting=1))
        assert rows((await client.get("/")).text)["emails"] == [
            ["starting", "0/2", "0/40", "3 MiB", DASH],
            [DASH] * 10,
        ]


def pause(
    site: Site, reason: str = "the mail server is down", ready: int = 1, since: float = 7_260
) -> None:
    """Have the jobs of emails wait because somebody wants it, for longer than they may."""
    paused = Paused(time.time() - since, "ada@host", reason)
    stats = QueueStats(ready=ready, oldest_ready_age_seconds=7_000, paused=paused)
    assert site.collector.sample is not None
    site.collector.sample.queues["emails"] = stats


async def test_a_pause_is_told_and_is_no_trouble() -> None:
    async with running() as (site, client):
        populate(site)
        site.recent.clear()
        tell(site, emails=pool(idle=2), reports=pool(idle=2))
        assert "paused" not in (await client.get("/")).text
        pause(site)
        page = (await client.get("/")).text
        told = "<li>queue emails: paused for 2h 1m by ada@host: the mail server is down</li>"
        assert f'<ul class="pauses">{told}</ul>' in page
        assert 'emails <span class="badge paused">paused</span>' in page
        assert "<h2>Healthy</h2>" in page
        assert 'class="late"' not in page
        pause(site, since=180_000)
        told = "the mail server is down; is it forgotten? queued resume emails</li>"
        assert told in (await client.get("/")).text
        pause(site, HOSTILE)
        assert HOSTILE not in (await client.get("/")).text


async def test_every_text_is_escaped() -> None:
    async with running() as (site, client):
        tell(site, (HOSTILE, HOSTILE, 1), **{HOSTILE: pool(HOSTILE, idle=1)})
        site.collector.sample = Sample(
            time.time(), {HOSTILE: QueueStats(ready=1, oldest_ready_age_seconds=9)}
        )
        site.max_waits[HOSTILE] = 1
        site.reasons = [HOSTILE]
        page = (await client.get("/")).text
        assert HOSTILE not in page
        assert "<script" not in page
        assert "<img" not in page
        assert page.count(html.escape(HOSTILE)) >= 6


def test_markup_escapes_all_but_itself() -> None:
    inner = element("b", "<&>", None, 3)
    assert inner == "<b>&lt;&amp;&gt;3</b>"
    assert element("p", inner, class_='"', data_label="x", id=None) == (
        f'<p class="&quot;" data-label="x">{inner}</p>'
    )
    assert element("p", inner + "") == f"<p>{html.escape(inner)}</p>"
    assert element("meta", name="a") == '<meta name="a">'
    assert isinstance(inner, Markup)


async def test_a_browser_has_nothing_to_complain_of(tmp_path: Path) -> None:
    async with running() as (site, _):
        populate(site)
        site.reasons = [HOSTILE]
        pause(site, ready=12_345)
        seen = await visit(site.url, tmp_path)
        assert seen.console == []
        table = rows(seen.dom)
        [paused] = table.pop("emails paused")
        assert paused[0] == "12\u202f345"
        table["emails"].append(paused)
        assert "<li>queue emails: paused for 2h 1m by ada@host: the mail server is" in seen.dom
        assert [cells[0] for cells in table["emails"]] == ["backoff", "12\u202f345"]
        assert [cells[0] for cells in table["reports"]] == ["running", "1"]
        assert html.escape(HOSTILE, quote=False) in seen.dom
        assert "<script" not in seen.dom


async def test_a_browser_would_complain(tmp_path: Path) -> None:
    """The check of the test above: what the policy forbids is seen."""
    page = HTMLResponse('<p style="color: red">red</p><script>document.title = "x"</script>')

    async def forbidden(_: object) -> HTMLResponse:
        return page

    app = Starlette(routes=[Route("/", forbidden)], middleware=[Middleware(Guard)])
    stop = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app, listener.dup(), stop))
            seen = await visit(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path)
            stop.set()
    assert len(seen.console) == 2
    assert all("Content Security Policy" in line for line in seen.console)
