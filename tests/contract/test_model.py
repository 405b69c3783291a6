"""Any sequence of verbs leaves a driver where the model is: states, orders, bytes, fences."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from queued.drivers import driver_for
from queued.drivers.base import (
    Ack,
    Charge,
    Driver,
    Exchange,
    Fail,
    JobInfo,
    Lane,
    NewJob,
    RateLimit,
    Release,
    Retry,
    Settlement,
    State,
    Unique,
)
from queued.errors import OwnerLost
from tests.contract.backends import CleanUrl
from tests.contract.model import Model
from tests.contract.steps import names

T = TypeVar("T")

Q = "model"
IDS = names(12)
SHRINK = [Phase.shrink] if os.environ.get("QUEUED_TEST_SHRINK") else []
"""To shorten a failing sequence takes minutes: only on demand."""
FAR = 1000.0
SOON = 0.05
"""Seconds. On a machine that stands still it may be over within the call that schedules."""

some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)
an_id = st.sampled_from(IDS)
a_worker = st.integers(0, 2)
a_name = st.sampled_from([None, None, Unique("one"), Unique("two")])
a_note = st.sampled_from([b"", b'{"run":1}', b'{"run":2}'])
RELEASES = [Charge.NONE, Charge.LOST, Charge.RELEASE]
"""A release with another charge could leave the solo lane by its head: there is no such verdict."""


class DriverMachine(RuleBasedStateMachine):
    """Each rule does one verb to the driver and to the model."""

    def __init__(self, clean_url: Callable[[], str]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.driver: Driver = driver_for(clean_url())
        self.do(self.driver.open())
        self.model = Model()
        self.nonces = count(1)
        self.generations = count(1)
        self.owners = [f"worker-{number}" for number in range(3)]
        self.graves: list[str] = []
        self.last: tuple[str, int, Lane, Exchange] | None = None

    def do(self, verb: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(verb)

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.do(self.driver.close())
            self.runner.close()

    # producers
    @initialize(jobs=some_ids)
    def first_jobs(self, jobs: list[str]) -> None:
        self.push(jobs, b"first", far=False)

    @rule(jobs=some_ids, payload=st.binary(max_size=8), far=st.booleans(), unique=a_name)
    def push(
        self, jobs: list[str], payload: bytes, *, far: bool, unique: Unique | None = None
    ) -> None:
        batch = [NewJob(name, payload, FAR if far else 0.0, unique) for name in jobs]
        expected = [self.model.push(job) for job in batch]
        assert self.do(self.driver.enqueue(Q, batch)) == expected

    @rule(name=an_id)
    def push_and_promote(self, name: str) -> None:
        new = NewJob(name, b"soon", SOON)
        expected = self.model.push(new)
        assert self.do(self.driver.enqueue(Q, [new])) == [expected]
        if expected:
            self.promote_one(name)

    def promote_one(self, name: str) -> None:
        async def promoted() -> None:
            async with asyncio.timeout(30):
                while (found := await self.driver.find(name, Q)) and found.state is State.SCHEDULED:
                    await self.driver.promote(Q, 1)
                    await asyncio.sleep(0.005)
            assert found

        self.do(promoted())
        self.model.to_tail(name)

    # workers
    def exchange(
        self,
        owner: str,
        settlements: list[Settlement],
        want: int,
        lane: Lane = Lane.NORMAL,
        limit: RateLimit | None = None,
        *,
        soon: bool = False,
    ) -> None:
        nonce = next(self.nonces)
        answer = self.do(
            self.driver.exchange(
                Q, owner, settlements, want=want, nonce=nonce, lane=lane, limit=limit
            )
        )
        lost = [s.id for s in settlements if not self.model.settle(owner, s)]
        assert sorted(answer.lost) == sorted(lost)
        if limit is not None:  # how many tokens there are is for the tests of limits
            assert len(answer.jobs) <= min(want, limit.burst)
            want = len(answer.jobs)
        self.model.reserved(owner, lane, want, answer.jobs)
        scheduled = any(job.state is State.SCHEDULED for job in self.model.jobs.values())
        if not soon:  # what is due within the call may be promoted by it
            assert (answer.next_due is not None) == scheduled
            assert answer.suspects == (bool(self.model.solo) and not self.model.paused)
        assert (answer.held_for == math.inf) == self.model.paused
        self.last = (owner, nonce, lane, answer)

    @rule(worker=a_worker, want=st.integers(0, 6), lane=st.sampled_from(Lane))
    def reserve(self, worker: int, want: int, lane: Lane) -> None:
        self.exchange(self.owners[worker], [], want, lane)

    @rule(worker=a_worker, want=st.integers(1, 4), lane=st.sampled_from(Lane))
    def reserve_at_the_limit(self, worker: int, want: int, lane: Lane) -> None:
        self.exchange(self.owners[worker], [], want, lane, RateLimit(every=FAR, burst=3))

    @rule(worker=a_worker, want=st.integers(0, 4), data=st.data())
    def settle_and_reserve(self, worker: int, want: int, data: st.DataObject) -> None:
        owner = self.owners[worker]
        held = self.model.held(owner)
        chosen = data.draw(st.lists(st.sampled_from(held), unique=True)) if held else []
        self.exchange(owner, [self.settlement(name, data) for name in chosen], want)

    def settlement(self, name: str, data: st.DataObject, fence: int | None = None) -> Settlement:
        fence = self.model.jobs[name].fence if fence is None else fence
        charge, note = data.draw(st.sampled_from(Charge)), data.draw(a_note)
        match data.draw(st.sampled_from([Ack, Retry, Release, Fail])):
            case kind if kind is Ack:
                return Ack(name, fence)
            case kind if kind is Retry:
                return Retry(name, fence, data.draw(st.sampled_from([0.0, FAR])), charge, note)
            case kind if kind is Release:
                return Release(name, fence, data.draw(st.sampled_from(RELEASES)), note)
        return Fail(name, fence, charge, b"record", note, data.draw(st.sampled_from([None, 0.0])))

    @rule(worker=a_worker, name=an_id, off=st.sampled_from([-1, 0, 1]), data=st.data())
    def settle_what_may_be_stale(
        self, worker: int, name: str, off: int, data: st.DataObject
    ) -> None:
        job = self.model.jobs.get(name)
        fence = max((job.fence if job else self.model.fence) + off, 0)
        self.exchange(self.owners[worker], [self.settlement(name, data, fence)], 0)

    @rule(worker=a_worker, charge=st.sampled_from(Charge), note=a_note)
    def retry_and_promote(self, worker: int, charge: Charge, note: bytes) -> None:
        owner = self.owners[worker]
        for name in self.model.held(owner)[:1]:
            fence = self.model.jobs[name].fence
            self.exchange(owner, [Retry(name, fence, SOON, charge, note)], 0, soon=True)
            self.promote_one(name)

    @precondition(lambda self: self.last and self.last[0] in self.owners and self.last[3].jobs)
    @rule()
    def repeat_the_last_exchange(self) -> None:
        assert self.last
        owner, nonce, lane, answer = self.last
        want = len(answer.jobs)
        again = self.do(self.driver.exchange(Q, owner, want=want, nonce=nonce, lane=lane))
        assert again.jobs == answer.jobs

    # janitors
    @rule(worker=a_worker)
    def retire(self, worker: int) -> None:
        owner = self.owners[worker]
        returned = self.do(self.driver.retire(Q, owner))
        assert sorted(job.id for job in returned) == sorted(self.model.held(owner))
        for job in returned:
            assert job.fence == self.model.jobs[job.id].fence
        self.graves.append(owner)
        self.owners[worker] = f"worker-{worker}-{next(self.generations)}"

    @precondition(lambda self: self.graves)
    @rule(data=st.data())
    def settle_the_dead_ones(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(self.graves))
        with pytest.raises(OwnerLost):
            self.do(self.driver.exchange(Q, owner, want=1, nonce=next(self.nonces)))
        held = self.model.held(owner)
        self.exchange(owner, [self.settlement(name, data) for name in held], 0)
        assert self.do(self.driver.retire(Q, owner)) == []

    # operators
    @rule()
    def pause(self) -> None:
        assert self.do(self.driver.pause(Q)) is not self.model.paused
        self.model.paused = True

    @precondition(lambda self: self.model.paused)
    @rule()
    def resume(self) -> None:
        assert self.do(self.driver.resume(Q))
        self.model.paused = False

    @precondition(lambda self: self.model.paused)
    @rule(data=st.data())
    def resume_and_reserve(self, data: st.DataObject) -> None:
        self.resume()
        self.reserve(data.draw(a_worker), 3, data.draw(st.sampled_from(Lane)))

    @rule(name=an_id)
    def cancel(self, name: str) -> None:
        assert self.do(self.driver.cancel(Q, name)) == self.model.cancel(name)

    @rule(jobs=some_ids)
    def requeue(self, jobs: list[str]) -> None:
        expected = [self.model.requeue(name) for name in jobs]
        assert self.do(self.driver.requeue(Q, jobs)) == expected

    @rule(jobs=some_ids)
    def forget(self, jobs: list[str]) -> None:
        expected = [self.model.forget(name) for name in jobs]
        assert self.do(self.driver.forget(Q, jobs)) == expected

    @precondition(lambda self: len(self.model.waiting()) > 8)
    @rule()
    def purge(self) -> None:
        waiting = self.model.waiting()
        assert self.do(self.driver.purge(Q)) == len(waiting)
        for name in waiting:
            self.model.remove(name)

    @rule()
    def run_the_hooks(self) -> None:
        claimed = self.do(self.driver.claim_hooks(Q, 100, FAR))
        pending = [name for name in self.model.failed if self.model.jobs[name].hook]
        assert sorted(job.id for job in claimed) == sorted(pending)
        for job in claimed:
            self.do(self.driver.finish_hook(Q, job.id, b"of an earlier failure"))
            assert self.do(self.driver.find(job.id, Q)).failed.hook_pending
            self.do(self.driver.finish_hook(Q, job.id, job.record))
            self.model.jobs[job.id].hook = False

    # what holds after each step
    @invariant()
    def the_driver_agrees(self) -> None:
        self.model.check_stats(self.do(self.driver.stats([Q]))[Q])
        for name, found in zip(IDS, self.do(self.find_all()), strict=True):
            expected = self.model.jobs.get(name)
            assert (found is None) == (expected is None)
            if found and expected:
                assert found.state is expected.state
                assert found.owner == expected.owner
                assert (found.payload, found.counts) == (expected.payload, expected.counts)
                assert found.history.split() == expected.notes

    async def find_all(self) -> list[JobInfo | None]:
        return await asyncio.gather(*(self.driver.find(name, Q) for name in IDS))

    @invariant()
    def the_failed_agree(self) -> None:
        failed = self.do(self.driver.failed(Q))
        assert sorted(job.id for job in failed) == sorted(self.model.failed)
        for job in failed:
            expected = self.model.jobs[job.id]
            assert (job.record, job.hook_pending) == (expected.record, expected.hook)

    def drain(self) -> None:
        """Run everything that is left: each waiting job comes once, in the model's order."""
        if self.model.paused:
            self.resume()
        for lane in Lane:
            owner = f"drain-{lane}"
            self.exchange(owner, [], 100, lane)
            assert self.last
            self.exchange(owner, [Ack(job.id, job.fence) for job in self.last[3].jobs], 0)
        assert self.do(self.driver.stats([Q]))[Q].ready == 0


@pytest.mark.timeout(400)
def test_a_driver_agrees_with_the_model(clean_url: CleanUrl) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: DriverMachine(clean_url),
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=[Phase.generate, *SHRINK],
            suppress_health_check=list(HealthCheck),
        ),
    )
