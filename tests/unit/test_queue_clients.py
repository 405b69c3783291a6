"""The producer's clients: one for each loop, whatever threads and processes do."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import threading
import time

import pytest

from queued.drivers import driver_for
from queued.jobs.client import Clients
from queued.jobs.queue import Queue
from tests.contract.backends import CleanUrl
from tests.unit.producing import SETTLED, Note, clean_urls, opened, producer

clean_url = pytest.fixture(scope="module", params=["memory", "valkey", "sqlite"])(clean_urls)


@pytest.fixture
def url(clean_url: CleanUrl) -> str:
    return clean_url()


queue = pytest.fixture(producer)
driver = pytest.fixture(opened)


with_connections = pytest.mark.parametrize("clean_url", ["valkey", "sqlite"], indirect=True)


@with_connections
def test_a_loop_that_ends_closes_its_connection_and_the_next_opens_another(url: str) -> None:
    queue = Queue(url)
    threads = threading.active_count()
    ids = [asyncio.run(queue.push(Note())).id for _ in range(3)]

    assert asyncio.run(queue.size()) == 3
    assert len(set(ids)) == 3
    assert len(queue._clients._by_loop) == 1  # the others went when their loops were closed
    deadline = time.monotonic() + SETTLED
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads  # one of an earlier test may have ended


def test_loops_in_many_threads_share_a_producer(url: str) -> None:
    queue = Queue(url)
    failures: list[BaseException] = []

    async def push_many() -> None:
        await asyncio.gather(*(queue.push(Note()) for _ in range(50)))

    def run() -> None:
        try:
            asyncio.run(push_many())
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert asyncio.run(queue.size()) == 200


async def test_what_is_dispatched_while_the_driver_opens_stays_in_order(url: str) -> None:
    queue = Queue(url)
    pushes = []
    for number in range(200):
        pushes.append(asyncio.create_task(queue.push(Note(text=str(number)))))
        await asyncio.sleep(0)
    ids = [receipt.id for receipt in await asyncio.gather(*pushes)]
    await queue.close()

    driver = driver_for(url)
    await driver.open()
    got = await driver.exchange("default", "me", want=200, nonce=1)
    await driver.close()
    assert [job.id for job in got.jobs] == ids


def test_loops_may_come_and_go_in_other_threads_meanwhile() -> None:
    clients = Clients()

    class Loop(asyncio.SelectorEventLoop):
        """Another thread's client comes while it is asked."""

        def is_closed(self) -> bool:
            if threading.current_thread() is threading.main_thread() and not others:
                others.append(asyncio.new_event_loop())
                thread = threading.Thread(target=use, args=(others[0],))
                thread.start()
                thread.join()
            return super().is_closed()

    async def current() -> None:
        clients.current("memory://")

    def use(loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(current())

    others: list[asyncio.AbstractEventLoop] = [asyncio.new_event_loop()]
    with contextlib.closing(Loop()) as first:
        use(first)
        others.clear()
        asyncio.run(current())
    others[0].close()


def push_in_child(queue: Queue) -> None:
    asyncio.run(queue.push(Note(text="child")))
    os._exit(0)


@with_connections
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_a_forked_process_has_its_own_connection(queue: Queue, url: str) -> None:
    await queue.push(Note(text="before"))

    def fork() -> int | None:
        child = multiprocessing.get_context("fork").Process(target=push_in_child, args=(queue,))
        child.start()
        child.join(60)
        return child.exitcode

    assert await asyncio.to_thread(fork) == 0
    await queue.push(Note(text="after"))
    assert await queue.size() == 3


async def test_closing_waits_for_what_is_on_its_way_and_later_uses_open_again(url: str) -> None:
    queue = Queue(url)
    pushes = [asyncio.create_task(queue.push(Note())) for _ in range(5)]
    await asyncio.sleep(0)
    await queue.close()

    assert [receipt.enqueued for receipt in await asyncio.gather(*pushes)] == [True] * 5
    await queue.push(Note())
    await queue.close()
    await queue.close()
