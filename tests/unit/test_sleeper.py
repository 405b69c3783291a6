"""A sleep that anyone can end."""

import asyncio

from queued.daemon.worker.sleeper import Sleeper


async def test_it_sleeps_for_its_time():
    await Sleeper().sleep(0.001)


async def test_it_is_woken():
    sleeper = Sleeper()
    asyncio.get_running_loop().call_soon(sleeper.wake)
    await sleeper.sleep()


async def test_a_wake_up_while_it_is_awake_ends_one_sleep_only():
    sleeper = Sleeper()
    sleeper.wake()
    sleeper.wake()
    await sleeper.sleep()
    second = asyncio.ensure_future(sleeper.sleep())
    await asyncio.sleep(0.01)
    assert not second.done()
    sleeper.wake()
    await second


async def test_a_timer_of_an_earlier_sleep_ends_no_later_one():
    sleeper = Sleeper()
    asyncio.get_running_loop().call_soon(sleeper.wake)
    await sleeper.sleep(0.005)
    second = asyncio.ensure_future(sleeper.sleep())
    await asyncio.sleep(0.02)
    assert not second.done()
    second.cancel()
