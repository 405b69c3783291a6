"""``queued batch``, and what ``queued job`` says of chains and batches: over a real SQLite file."""

from __future__ import annotations

import asyncio

import pytest

from queued import Job, Link, batch, chain
from queued.cli.exits import Exit
from queued.drivers.base import Charge, Fail
from queued.jobs.queue import Queue
from tests.unit.commands import Application, application

app = pytest.fixture(application)


class Resize(Job):
    name = "cli.resize"
    queue = "images"

    async def handle(self) -> None: ...


def dispatched(url: str, *, failing: int = 0) -> None:
    """Dispatch a batch of three and fail some of them; then a chain."""

    async def act() -> None:
        async with Queue(url) as queue:
            members = [Link(Resize(), id=f"image-{n}") for n in range(3)]
            await batch(members, id="album-3").then(Link(Resize(), queue="pages")).dispatch(queue)
            driver = await queue.client().driver()
            held = (await driver.exchange("images", "me", want=failing)).jobs
            fails = [Fail(one.id, one.fence, Charge.ERROR, b"{}") for one in held]
            await driver.exchange("images", "me", fails)
            await driver.forward("images")
            links = [Link(Resize(), id="link-1"), Link(Resize(), queue="mail", id="link-2")]
            await chain(links).catch(Link(Resize(), queue="pages", id="oops")).dispatch(queue)

    asyncio.run(act())


def test_a_batch(app: Application) -> None:
    dispatched(app.url, failing=2)
    found = app("batch", "album-3", "--json").json
    assert found == {
        "id": "album-3",
        "queue": "pages",
        "total": 3,
        "pending": 1,
        "done": 0,
        "failed": 2,
        "cancelled": 0,
        "created_at": found["created_at"],
        "finished_at": None,
        "failed_ids": ["image-0", "image-1"],
    }
    shown = app("batch", "album-3").out
    assert "0 of 3 jobs" in shown
    assert "image-1" in shown
    assert "finished" not in shown


def test_a_batch_that_nobody_knows(app: Application) -> None:
    dispatched(app.url)
    assert "no batch 'album-4'" in app("batch", "album-4").refused(Exit.PROBLEM)


def test_the_cancelled_member_is_counted(app: Application) -> None:
    dispatched(app.url)
    assert app("cancel", "image-1").code == 0
    assert app("batch", "album-3", "--json").json["cancelled"] == 1


def test_a_job_tells_its_chain_and_its_batch(app: Application) -> None:
    dispatched(app.url)
    member = app("job", "image-1", "--json").json
    assert member["batch"] == {"id": "album-3", "queue": "pages", "member": "image-1"}
    assert member["chain"] is None
    assert "album-3, kept in pages" in app("job", "image-1").out
    link = app("job", "link-1", "--json").json
    assert link["chain"] == {
        "id": "link-1",
        "link": 1,
        "links": 2,
        "then": {"id": "link-2", "queue": "mail", "job": "cli.resize", "delay": 0.0},
        "catch": {"id": "oops", "queue": "pages", "job": "cli.resize", "delay": 0.0},
    }
    shown = app("job", "link-1").out
    assert "link 1 of 2 of link-1" in shown
    assert "cli.resize on mail, link-2" in shown


def test_a_job_of_neither_tells_nothing(app: Application) -> None:
    async def push() -> None:
        async with Queue(app.url) as queue:
            await queue.push(Resize(), id="plain")

    asyncio.run(push())
    found = app("job", "plain", "--json").json
    assert (found["chain"], found["batch"]) == (None, None)
    assert "chain" not in app("job", "plain").out
