"""Where a job is that does not end, told without running any of its code."""

import asyncio
from collections.abc import Iterator
from typing import Any

from queued.daemon.worker.run import Run
from queued.daemon.worker.whereabouts import whereabouts
from queued.drivers.base import Reservation


class Proxy:
    """An awaitable of the user's own, with an answer to whatever it is asked."""

    def __await__(self) -> Iterator[None]:
        return self

    def __iter__(self) -> Iterator[None]:
        return self

    def __next__(self) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        raise LookupError(f"there is no {name}")


async def inner() -> None:
    await Proxy()


async def outer() -> None:
    await inner()


async def test_an_awaitable_of_the_users_own_is_not_asked():
    run = Run(Reservation("job-1", b"", 1, 0.0, 0.0, 0.0))
    run.task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    told = whereabouts([run])
    run.task.cancel()
    await asyncio.wait({run.task})
    run.task.exception()
    head, *frames = told.splitlines()
    assert head == "Job job-1 (most recent call first):"
    assert [frame.rpartition(" in ")[2] for frame in frames] == ["inner", "outer"]
