"""Which queues nobody serves, of those in which jobs wait."""

from __future__ import annotations

import asyncio

from queued.daemon.monitor.unserved import MAX_TOLD, unserved
from queued.drivers import driver_for
from queued.drivers.base import NewJob


async def test_what_waits_where_nobody_is() -> None:
    driver = driver_for("memory://")
    await driver.open()
    await driver.enqueue("emails", [NewJob("ours", b"{}\n{}")])
    await driver.enqueue("emials", [NewJob(f"typo{n}", b"{}\n{}") for n in range(3)])
    await driver.enqueue("late", [NewJob("later", b"{}\n{}", delay=3600.0)])
    await driver.enqueue("due", [NewJob("soon", b"{}\n{}", delay=0.001)])
    await driver.enqueue("theirs", [NewJob("held", b"{}\n{}"), NewJob("next", b"{}\n{}")])
    await driver.exchange("theirs", "somebody", want=1, nonce=1, lease=30.0)
    await driver.enqueue("done", [NewJob("gone", b"{}\n{}")])
    await driver.purge("done")
    async with asyncio.timeout(30):
        while await unserved(driver, ["emails"]) != {"emials": 3, "due": 1}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await driver.close()


async def test_no_more_are_told_than_fit_a_screen_and_the_longest_come_first() -> None:
    driver = driver_for("memory://")
    await driver.open()
    for n in range(MAX_TOLD + 5):
        await driver.enqueue(f"q{n}", [NewJob(f"{n}-{m}", b"{}\n{}") for m in range(n + 1)])
    found = await unserved(driver, [])
    assert len(found) == MAX_TOLD
    assert next(iter(found.items())) == (f"q{MAX_TOLD + 4}", MAX_TOLD + 5)
    await driver.close()
