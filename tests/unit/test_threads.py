"""Threads: plain functions side by side, each in its own context, whatever they raise."""

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

from queued.daemon.worker.threads import Threads

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")


@pytest.fixture
def threads():
    threads = Threads(4)
    yield threads
    threads.close()


async def test_as_many_run_at_a_time_as_there_are_threads_and_the_others_after_them(threads):
    together = threading.Barrier(4, timeout=60)  # broken, should fewer than four run at a time
    calls = [threads.call(together.wait) for _ in range(40)]
    endings = await asyncio.gather(*calls)
    assert sorted(place for place, _ in endings) == sorted([0, 1, 2, 3] * 10)
    assert {error for _, error in endings} == {None}


async def test_an_idle_thread_is_used_again(threads):
    seen = {(await threads.call(threading.get_ident))[0] for _ in range(20)}
    assert len(seen) == 1


async def test_a_slow_call_holds_up_no_other(threads):
    gate = threading.Event()
    slow = threads.call(gate.wait)
    for number in range(100):
        assert await threads.call(abs, -number) == (number, None)
    assert not slow.done()
    gate.set()
    assert await slow == (True, None)


@pytest.mark.parametrize("error", [ValueError(1), StopIteration(2), SystemExit(3)], ids=repr)
async def test_what_a_call_raises_is_a_value(threads, error):
    def fails() -> None:
        raise error

    assert await threads.call(fails) == (None, error)
    assert await threads.call(int) == (0, None)


async def test_each_call_has_a_copy_of_its_callers_context(threads):
    def both() -> str:
        found = name.get()
        name.set("dirty")
        return found

    name.set("mine")
    assert [(await threads.call(both))[0] for _ in range(8)] == ["mine"] * 8
    assert name.get() == "mine"


async def test_a_cancelled_call_goes_on_and_harms_no_other(threads):
    gate, over = threading.Event(), threading.Event()

    def slow() -> None:
        gate.wait()
        over.set()

    call = threads.call(slow)
    call.cancel()
    gate.set()
    assert await threads.call(over.wait) == (True, None)


async def test_it_is_said_in_the_thread_that_a_call_has_begun(threads):
    said: list[int] = []
    called_in, _ = await threads.call(
        threading.get_ident, begun=lambda: said.append(threading.get_ident())
    )
    assert said == [called_in] != [threading.get_ident()]


async def test_nothing_of_a_job_stays_with_an_idle_thread(threads):
    class Something:
        pass

    def fails(_: Something) -> None:
        raise ValueError

    thing = Something()
    gone = weakref.ref(thing)
    gc.disable()
    try:
        ending = await threads.call(fails, thing)
        del thing, ending
        await threads.call(int)
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()


async def test_closed_it_starts_nothing_and_its_threads_end():
    threads = Threads(1)
    gate = threading.Event()
    begun = asyncio.Event()
    served: list[threading.Thread] = []
    tell = asyncio.get_running_loop().call_soon_threadsafe

    def slow() -> str:
        served.append(threading.current_thread())
        tell(begun.set)
        gate.wait()
        return "done"

    running = threads.call(slow)
    waiting = threads.call(slow)
    await begun.wait()
    threads.close()
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="ending"):
        threads.call(slow)
    gate.set()
    assert await running == ("done", None)
    served[0].join(60)
    assert len(served) == 1
    assert not served[0].is_alive()


def test_a_call_may_end_after_its_loop():
    threads = Threads(1)
    gate = threading.Event()
    served: list[threading.Thread] = []

    async def main() -> None:
        begun = asyncio.Event()
        tell = asyncio.get_running_loop().call_soon_threadsafe

        def slow() -> None:
            served.append(threading.current_thread())
            tell(begun.set)
            gate.wait()

        threads.call(slow)
        await begun.wait()

    asyncio.run(main())
    threads.close()
    gate.set()
    served[0].join(60)
    assert not served[0].is_alive()
