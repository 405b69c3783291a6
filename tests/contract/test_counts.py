"""What a run costs (``Counts.charged`` is the oracle), the history, and the suspects' own lane."""

from __future__ import annotations

from itertools import product

import pytest

from queued.drivers.base import (
    NO_COUNTS,
    SUSPECT_FROM,
    Charge,
    Driver,
    Lane,
    Reservation,
    State,
)
from tests.contract.steps import (
    OTHER,
    Q,
    ack,
    drain,
    fail,
    hold,
    ids,
    info,
    look,
    notes,
    push,
    release,
    reserve,
    reserve_when_ready,
    retry,
    settle,
    size,
)

each_charge = pytest.mark.parametrize("charge", Charge)


def lane_of(charges: list[Charge]) -> Lane:
    counts = NO_COUNTS
    for charge in charges:
        counts = counts.charged(charge)
    return Lane.SOLO if counts.suspicion >= SUSPECT_FROM else Lane.NORMAL


async def suspect(driver: Driver, job_id: str) -> None:
    """Make a ready suspect: it crashed while it ran alone."""
    held = await hold(driver, job_id)
    assert await settle(driver, retry(held, charge=Charge.CRASH)) == []


@each_charge
async def test_a_retry_charges(driver: Driver, charge: Charge) -> None:
    held = await hold(driver, "a")
    await settle(driver, retry(held, charge=charge))
    expected = NO_COUNTS.charged(charge)
    assert (await info(driver, "a")).counts == expected
    [again] = await reserve(driver, lane=lane_of([charge]))
    assert again.counts == expected


@each_charge
async def test_a_retry_with_a_delay_charges(driver: Driver, charge: Charge) -> None:
    held = await hold(driver, "a")
    await settle(driver, retry(held, 0.02, charge))
    assert (await info(driver, "a")).counts == NO_COUNTS.charged(charge)
    [again] = await reserve_when_ready(driver, lane=lane_of([charge]))
    assert again.counts == NO_COUNTS.charged(charge)


@each_charge
async def test_a_release_charges(driver: Driver, charge: Charge) -> None:
    held = await hold(driver, "a")
    await settle(driver, release(held, charge))
    [again] = await reserve(driver, lane=lane_of([charge]))
    assert again.counts == NO_COUNTS.charged(charge)


@each_charge
async def test_a_failure_charges(driver: Driver, charge: Charge) -> None:
    await settle(driver, fail(await hold(driver, "a"), charge))
    assert (await driver.failed(Q))[0].counts == NO_COUNTS.charged(charge)


@pytest.mark.parametrize("charges", [*product(Charge, repeat=2)], ids="-".join)
async def test_charges_add_up(driver: Driver, charges: tuple[Charge, Charge]) -> None:
    """After CRASH, LOST, LOST and each pair: every reset and every threshold is passed."""
    run = [Charge.LOST, Charge.LOST, *charges, Charge.LOST]
    await push(driver, "a")
    expected = NO_COUNTS
    for number, charge in enumerate(run):
        lane = lane_of(run[:number])
        assert await reserve(driver, lane=Lane.SOLO if lane is Lane.NORMAL else Lane.NORMAL) == []
        [held] = await reserve(driver, lane=lane)
        assert held.counts == expected
        await settle(driver, release(held, charge))
        expected = expected.charged(charge)
        assert (await info(driver, "a")).counts == expected


async def test_history_is_appended_in_order(driver: Driver) -> None:
    written = [f'{{"run":{number}}}'.encode() for number in range(6)]
    held = await hold(driver, "a")
    back = [
        retry(held, note=written[0]),
        release(held, note=written[1]),
        retry(held, 0.01, note=written[2]),
        retry(held, charge=Charge.TIMEOUT, note=written[3]),
        release(held, Charge.NONE, note=b""),
        release(held, note=written[4]),
    ]
    for settlement in back:
        await settle(driver, settlement._replace(fence=held.fence))
        [held] = await reserve_when_ready(driver)
    assert notes(held.history) == written[:5]
    assert b"\n\n" not in held.history
    await settle(driver, fail(held, note=written[5]))
    assert notes((await driver.failed(Q))[0].history) == written
    assert notes((await info(driver, "a")).history) == written


async def test_a_history_is_bounded(driver: Driver) -> None:
    """A job that is handed back for ever does not grow for ever: the newest notes stay."""
    written = [b"%02d" % number * 2000 for number in range(20)]
    await push(driver, "a")
    for note in written:
        [held] = await reserve(driver)
        await settle(driver, release(held, note=note))
    [held] = await reserve(driver)
    assert 32_768 < len(held.history) <= 65_536
    kept = notes(held.history)
    assert kept == written[-len(kept) :]
    assert held.counts.releases == len(written)


async def test_suspicion_from_two_on_means_the_solo_lane(driver: Driver) -> None:
    await push(driver, "a", "b")
    for _ in range(SUSPECT_FROM):
        assert not (await look(driver)).suspects
        first, second = sorted(await reserve(driver, 2))
        await settle(driver, release(first, Charge.LOST), release(second))
    assert (await look(driver)).suspects
    assert (await driver.stats([Q]))[Q].suspects == 1
    assert await drain(driver) == ["b"]
    assert await size(driver) == 1
    [held] = await reserve(driver, lane=Lane.SOLO)
    assert (held.id, held.counts.lost, held.counts.suspicion) == ("a", 2, 2)
    assert not (await look(driver)).suspects
    assert (await driver.stats([Q]))[Q].suspects == 0


async def test_a_crash_while_alone_makes_a_suspect_at_once(driver: Driver) -> None:
    await suspect(driver, "a")
    assert (await info(driver, "a")).state is State.READY
    assert await reserve(driver) == []
    answer = await driver.exchange(Q, OTHER, want=5, nonce=1)
    assert answer.jobs == []
    assert answer.suspects
    assert ids(await reserve(driver, lane=Lane.SOLO)) == ["a"]


async def test_a_suspect_that_was_scheduled_returns_to_the_solo_lane(driver: Driver) -> None:
    held = await hold(driver, "a")
    await settle(driver, retry(held, 0.05, Charge.CRASH))
    assert not (await look(driver)).suspects
    [again] = await reserve_when_ready(driver, lane=Lane.SOLO)
    assert (again.id, again.counts.crashes) == ("a", 1)


async def test_promotion_through_a_normal_worker_too(driver: Driver) -> None:
    """Whoever looks promotes what is due, into the lane where it belongs."""
    held = await hold(driver, "a")
    await settle(driver, retry(held, 0.02, Charge.CRASH))
    seen = False
    while not seen:
        answer = await driver.exchange(Q, OTHER, want=1)
        assert answer.jobs == []
        seen = answer.suspects
    assert ids(await reserve(driver, lane=Lane.SOLO)) == ["a"]


async def test_the_solo_lane_gives_suspects_only(driver: Driver) -> None:
    await suspect(driver, "bad")
    await push(driver, "good")
    assert ids(await reserve(driver, 5, lane=Lane.SOLO)) == ["bad"]
    assert await reserve(driver, 5, lane=Lane.SOLO) == []
    assert ids(await reserve(driver, 5)) == ["good"]


async def test_the_solo_lane_is_first_in_first_out(driver: Driver) -> None:
    for name in ("a", "b", "c"):
        await suspect(driver, name)
    [held] = await reserve(driver, lane=Lane.SOLO)
    assert held.id == "a"
    await settle(driver, release(held))
    [held] = await reserve(driver, lane=Lane.SOLO)
    assert held.id == "a"
    await settle(driver, retry(held, charge=Charge.CRASH))
    assert await drain(driver, lane=Lane.SOLO) == ["b", "c", "a"]


@pytest.mark.parametrize("charge", [Charge.ERROR, Charge.TIMEOUT])
async def test_a_run_that_ends_by_itself_clears_the_suspicion(
    driver: Driver, charge: Charge
) -> None:
    await suspect(driver, "a")
    [held] = await reserve(driver, lane=Lane.SOLO)
    await settle(driver, retry(held, charge=charge))
    assert not (await look(driver)).suspects
    [again] = await reserve(driver)
    assert (again.counts.suspicion, again.counts.crashes) == (0, 1)
    await settle(driver, ack(again))


async def test_the_same_nonce_in_the_solo_lane(driver: Driver) -> None:
    await suspect(driver, "a")
    await suspect(driver, "b")
    first = await driver.exchange(Q, OTHER, want=1, nonce=1, lane=Lane.SOLO)
    again = await driver.exchange(Q, OTHER, want=1, nonce=1, lane=Lane.SOLO)
    assert (ids(first.jobs), again.jobs) == (["a"], first.jobs)


async def test_operators_reach_suspects(driver: Driver) -> None:
    for name in ("a", "b", "c"):
        await suspect(driver, name)
    stats = (await driver.stats([Q]))[Q]
    assert (stats.ready, stats.suspects, stats.size) == (3, 3, 3)
    assert stats.oldest_ready_age_seconds >= 0
    assert await driver.cancel(Q, "b") is State.READY
    assert await drain(driver, lane=Lane.SOLO, want=1) == ["a", "c"]
    await suspect(driver, "d")
    assert await driver.purge(Q) == 1
    assert not (await look(driver)).suspects


async def test_requeue_gives_a_suspect_a_clean_record(driver: Driver) -> None:
    await suspect(driver, "a")
    [held] = await reserve(driver, lane=Lane.SOLO)
    await settle(driver, fail(held, Charge.CRASH, note=b"third"))
    await driver.requeue(Q, ["a"])
    again: list[Reservation] = await reserve(driver)
    assert (again[0].counts, notes(again[0].history)) == (NO_COUNTS, [b"third"])
