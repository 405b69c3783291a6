"""Chains and batches as a program dispatches them: all of it is checked first, and goes as one."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

import queued
from queued import Link, batch, chain
from queued.drivers import driver_for
from queued.drivers.base import Ack, Driver, State
from queued.drivers.sequel import MAX_MEMBERS, Parcel, Place, Sequel
from queued.errors import DriverUnavailable, InvalidJob, PayloadTooLarge
from queued.jobs.chains import MAX_LINKS
from queued.jobs.job import Job
from queued.jobs.payload import adopt, decode, job_name, verify
from queued.jobs.queue import Queue, dispatch
from queued.policy import Policy

numbers = itertools.count()


class Charge(Job):
    queue = "billing"
    order: int

    async def handle(self) -> None: ...


class Ship(Job):
    queue = "shipping"
    order: int = 7
    note: str = ""

    async def handle(self) -> None: ...


class Sealed(Job):
    encrypt = True
    card: str

    async def handle(self) -> None: ...


class Once(Job):
    unique_key = "one"

    async def handle(self) -> None: ...


class Thank(Job):
    async def handle(self) -> None: ...


@pytest.fixture
def url() -> str:
    return f"memory://{__name__}-{next(numbers)}"


@pytest.fixture
async def queue(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Queue]:
    async with Queue(url) as producer:
        monkeypatch.setattr("queued.jobs.queue._program", producer)
        monkeypatch.setattr("queued.jobs.queue.queue", producer)
        yield producer


@pytest.fixture
async def driver(url: str) -> Driver:
    return driver_for(url)


async def run(driver: Driver, queue: str) -> list[str]:
    """Run what is ready in a queue; return the classes, in order."""
    ran = []
    while jobs := (await driver.exchange(queue, "me", want=1)).jobs:
        [job] = jobs
        decode(job.payload)
        ran.append((job_name(job.payload) or "").rpartition(".")[2])
        await driver.exchange(queue, "me", [Ack(job.id, job.fence)])
        await driver.forward(queue)
    return ran


@pytest.mark.usefixtures("queue")
async def test_the_links_of_a_chain_go_to_their_queues_in_turn(driver: Driver) -> None:
    receipt = await dispatch(chain([Charge(order=7), Ship(), Link(Thank(), queue="mail")]))
    assert receipt.enqueued
    assert len(set(receipt.ids)) == 3
    assert await run(driver, "shipping") == []
    assert await run(driver, "billing") == ["Charge"]
    assert (await driver.find(receipt.ids[1])).queue == "shipping"  # type: ignore[union-attr]
    assert await run(driver, "shipping") == ["Ship"]
    assert await run(driver, "mail") == ["Thank"]


async def test_builders_dispatch_themselves(queue: Queue, driver: Driver) -> None:
    assert (await chain([Ship()]).dispatch()).enqueued
    other = Queue(f"memory://{__name__}-{next(numbers)}")
    assert (await batch([Ship()]).dispatch(other)).enqueued
    assert await queue.size("shipping") == 1
    assert await other.size("shipping") == 1
    assert await run(driver, "shipping") == ["Ship"]
    await other.close()


async def test_sync_code_dispatches_them_too(queue: Queue, driver: Driver) -> None:
    def program() -> tuple[list[str], str, int]:
        chained = queue.sync.dispatch(chain([Charge(order=1), Ship()]))
        batched = queue.sync.dispatch(batch([Ship()]).then(Thank()))
        found = queue.sync.batch(batched.id)
        assert found is not None
        queue.sync.close()
        return chained.ids, batched.id, found.pending

    ids, batch_id, pending = await asyncio.to_thread(program)
    assert pending == 1
    assert len(ids) == 2
    assert await run(driver, "billing") == ["Charge"]
    assert await run(driver, "shipping") == ["Ship", "Ship"]
    assert await run(driver, "default") == ["Thank"]
    assert (await queue.batch(batch_id)).finished  # type: ignore[union-attr]


@pytest.mark.usefixtures("queue")
async def test_a_link_waits_when_it_is_its_turn(driver: Driver) -> None:
    links = [Charge(order=1), Link(Ship(), delay=timedelta(hours=1), id="ship-1")]
    await dispatch(chain(links))
    assert await run(driver, "billing") == ["Charge"]
    found = await driver.find("ship-1")
    assert found is not None
    assert found.state is State.SCHEDULED
    first = await dispatch(chain([Link(Charge(order=1), delay="1h"), Ship()]))
    assert (await driver.find(first.ids[0])).state is State.SCHEDULED  # type: ignore[union-attr]


@pytest.mark.usefixtures("queue")
async def test_a_chain_says_which_link_each_job_is(driver: Driver) -> None:
    receipt = await dispatch(chain([Charge(order=1), Ship()]).catch(Thank()))
    [held] = (await driver.exchange("billing", "me", want=1)).jobs
    found = await driver.find(held.id)
    assert found is not None
    sequel = Sequel.of(found.sequel)
    assert sequel.place == Place(receipt.ids[0], 1, 2)
    assert Parcel.of(sequel.then).job.id == receipt.ids[1]
    assert Parcel.of(sequel.catch).queue == "default"
    last = Sequel.of(Parcel.of(sequel.then).job.sequel)
    assert last.place == Place(receipt.ids[0], 2, 2)


async def test_a_batch_is_followed_by_its_callbacks(queue: Queue, driver: Driver) -> None:
    jobs = [Charge(order=1), Ship(), chain([Charge(order=2), Ship(order=2)])]
    receipt = await dispatch(
        batch(jobs).then(Thank()).catch(Thank()).finally_(chain([Thank(), Ship()]))
    )
    assert (receipt.enqueued, len(receipt.ids)) == (True, 3)
    found = await queue.batch(receipt.id)
    assert found is not None
    assert (found.queue, found.total, found.pending, found.finished) == ("default", 3, 3, False)
    assert await run(driver, "billing") == ["Charge", "Charge"]
    assert await run(driver, "default") == []
    assert await run(driver, "shipping") == ["Ship", "Ship"]
    assert (await queue.batch(receipt.id)).done == 3  # type: ignore[union-attr]
    assert await run(driver, "default") == ["Thank", "Thank"]
    assert await run(driver, "shipping") == ["Ship"]


async def test_the_home_of_a_batch_is_the_queue_of_its_first_callback(queue: Queue) -> None:
    plain = await dispatch(batch([Ship(), Charge(order=1)]))
    caught = await dispatch(batch([Ship()]).finally_(Thank()).catch(Charge(order=1)))
    homes = [(await queue.batch(one.id)).queue for one in (plain, caught)]  # type: ignore[union-attr]
    assert homes == ["shipping", "billing"]


async def test_a_batch_under_an_id_is_dispatched_once(queue: Queue) -> None:
    assert (await dispatch(batch([Ship()], id="nightly-1"))).enqueued
    again = await dispatch(batch([Ship()], id="nightly-1"))
    assert (again.id, again.enqueued) == ("nightly-1", False)
    assert await queue.size("shipping") == 1
    assert await queue.batch("nightly-2") is None


WRONG = {
    "an empty chain": (chain([]), "needs one job"),
    "an empty batch": (batch([]), "needs one job"),
    "a wrong field": (chain([Ship(), Charge(order="x")]), r"links\[1\]: .*order"),  # type: ignore[arg-type]
    "of a member": (batch([Ship(), Charge(order="x")]), r"jobs\[1\]: .*order"),  # type: ignore[arg-type]
    "of a chain within": (
        batch([Ship(), chain([Ship(), Charge(order="x")])]),  # type: ignore[arg-type]
        r"jobs\[1\]: links\[1\]: .*order",
    ),
    "of a callback": (chain([Ship()]).catch(Charge(order="x")), "catch: .*order"),  # type: ignore[arg-type]
    "of finally": (batch([Ship()]).finally_(Charge(order="x")), "finally: .*order"),  # type: ignore[arg-type]
    "no job": (chain([Ship(), "Ship"]), r"links\[1\]: .*got a str"),  # type: ignore[list-item]
    "a chain in a chain": (chain([chain([Ship()])]), r"links\[0\]: a chain cannot"),  # type: ignore[list-item]
    "a batch in a chain": (chain([batch([Ship()])]), r"links\[0\]: a batch cannot"),  # type: ignore[list-item]
    "a batch in a batch": (batch([batch([Ship()])]), r"jobs\[0\]: a batch cannot"),  # type: ignore[list-item]
    "a unique job": (chain([Ship(), Once()]), r"links\[1\]: Once has a unique_key"),
    "a wrong queue": (chain([Link(Ship(), queue="a b")]), r"links\[0\]: .*queue"),
    "a wrong delay": (chain([Link(Ship(), delay="soon")]), r"links\[0\]: delay"),
    "an id twice": (chain([Link(Ship(), id="a"), Link(Ship(), id="a")]), "'a' is given twice"),
    "a wrong id": (batch([Ship()], id="a b"), "expected an id"),
    "too many links": (chain([Ship()] * (MAX_LINKS + 1)), "1000 links"),
    "too many members": (batch([Ship()] * (MAX_MEMBERS + 1)), "10000 jobs"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_is_named_and_nothing_is_enqueued(
    queue: Queue, driver: Driver, case: str
) -> None:
    work, said = WRONG[case]
    with pytest.raises(InvalidJob, match=said):
        await dispatch(work)
    assert await driver.queues() == []
    with pytest.raises(InvalidJob, match=said):
        await asyncio.to_thread(queue.sync.dispatch, work)


async def test_a_chain_that_carries_too_much_is_refused(queue: Queue) -> None:
    links = [Ship(note="x" * 300_000) for _ in range(4)]
    with pytest.raises(PayloadTooLarge, match="chain its ids"):
        await dispatch(chain(links))
    with pytest.raises(PayloadTooLarge, match="chain its ids"):  # it goes with each link
        await dispatch(chain([Ship()] * 4).catch(links[0]))
    await dispatch(batch(links))
    assert await queue.size("shipping") == 4


@pytest.mark.usefixtures("queue")
async def test_every_link_is_signed_and_encrypted_for_itself(driver: Driver) -> None:
    key = base64.urlsafe_b64encode(b"k" * 32).decode()
    adopt(Policy(encryption=(key,), signing=(key,)))
    try:
        await dispatch(chain([Charge(order=1), Sealed(card="4111")]).catch(Sealed(card="4222")))
        [held] = (await driver.exchange("billing", "me", want=1)).jobs
        verify(held.payload, "billing", held.id)
        kept = (await driver.find(held.id)).sequel  # type: ignore[union-attr]
        await driver.exchange("billing", "me", [Ack(held.id, held.fence)])
        [held] = (await driver.exchange("default", "me", want=1)).jobs
        verify(held.payload, "default", held.id)
        assert decode(held.payload).card == "4111"  # type: ignore[attr-defined]
        assert b"4111" not in kept
        assert b"4222" not in kept
    finally:
        adopt(None)


@pytest.mark.usefixtures("queue")
async def test_options_of_one_job_are_not_for_many() -> None:
    with pytest.raises(InvalidJob, match="Link"):
        await dispatch(chain([Ship()]), queue="mail")  # type: ignore[call-overload]


async def test_an_unreachable_back_end_names_the_ids() -> None:
    nowhere = Queue("redis://127.0.0.1:1")
    with pytest.raises(DriverUnavailable) as raised:
        await chain([Link(Ship(), id="a"), Link(Ship(), id="b")]).dispatch(nowhere)
    assert raised.value.ids == ("a", "b")
    with pytest.raises(DriverUnavailable) as raised:
        await batch([Link(Ship(), id="a"), Link(Ship(), id="b")]).dispatch(nowhere)
    assert raised.value.ids == ("a", "b")
    await nowhere.close()


def test_they_are_exported() -> None:
    assert {"chain", "batch", "Link", "Batch", "ChainReceipt", "BatchReceipt"} <= {*queued.__all__}
