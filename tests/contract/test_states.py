"""The state table, row by row: a verb moves a job from the states it names, and from no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from queued.drivers.base import Ack, Charge, Driver, Fail, NewJob, Release, Retry, State
from queued.drivers.states import TRANSITIONS
from tests.contract.steps import OTHER, Q, fail, hold, push, release, reserve, retry, settle, until

LONG = 1000.0
Verb = Callable[[Driver, int], Awaitable[object]]

VERBS: dict[str, Verb] = {
    "enqueue": lambda driver, _: driver.enqueue(Q, [NewJob("a", b"again")]),
    "promote": lambda driver, _: driver.promote(Q),
    "reserve": lambda driver, _: reserve(driver, 5, owner=OTHER),
    "ack": lambda driver, fence: settle(driver, Ack("a", fence)),
    "retry": lambda driver, fence: settle(driver, Retry("a", fence, LONG, Charge.ERROR)),
    "release": lambda driver, fence: settle(driver, Release("a", fence)),
    "fail": lambda driver, fence: settle(driver, Fail("a", fence, Charge.ERROR, b"record")),
    "requeue": lambda driver, _: driver.requeue(Q, ["a"]),
    "forget": lambda driver, _: driver.forget(Q, ["a"]),
    "cancel": lambda driver, _: driver.cancel(Q, "a"),
}
STATES = [None, State.READY, State.SCHEDULED, State.RESERVED, State.FAILED]


async def bring(driver: Driver, state: State | None) -> int:
    """Bring job ``a`` to ``state`` and return the fence that it has, or last had."""
    held = await hold(driver, "a")
    match state:
        case None:
            await settle(driver, Ack("a", held.fence))
        case State.READY:
            await settle(driver, release(held))
        case State.SCHEDULED:  # and due, which only promote and reserve may find out
            await settle(driver, retry(held, 0.05))
            await push(driver, "witness", delay=0.05, queue="witness")
            await until(lambda: driver.promote("witness"))
        case State.FAILED:
            await settle(driver, fail(held))
    return held.fence


async def state_of(driver: Driver) -> State | None:
    found = await driver.find("a", Q)
    return found.state if found else None


@pytest.mark.parametrize("state", STATES, ids=lambda state: state or "absent")
@pytest.mark.parametrize("verb", TRANSITIONS)
async def test_a_row_of_the_table(driver: Driver, verb: str, state: State | None) -> None:
    fence = await bring(driver, state)
    assert await state_of(driver) is state
    await VERBS[verb](driver, fence)
    after = await state_of(driver)
    sources, targets = TRANSITIONS[verb]
    if state in sources:
        stored = {None if target is State.DONE else target for target in targets}
        assert after in stored
        assert after is not state
    elif verb == "reserve" and state is State.SCHEDULED:
        assert after is State.RESERVED  # reserve promotes what is due
    else:
        assert after is state


def test_every_verb_of_the_table_is_tried() -> None:
    assert VERBS.keys() == TRANSITIONS.keys()
