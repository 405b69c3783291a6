"""The producer, over real back-ends: what is acknowledged is there, and what is not is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import queued
from queued.drivers.base import MAX_BATCH, Driver, NewJob, State
from queued.errors import ConfigError, InvalidJob, PayloadTooLarge
from queued.jobs import payload
from queued.jobs.client import BATCH_BYTES, batches
from queued.jobs.ids import new_ids
from queued.jobs.job import Job
from queued.jobs.queue import Queue, dispatch
from queued.jobs.receipt import Receipt
from tests.contract.backends import CleanUrl
from tests.unit.producing import Note, SendEmail, clean_urls, numbers, opened, producer

clean_url = pytest.fixture(scope="module", params=["memory", "valkey", "sqlite"])(clean_urls)


@pytest.fixture
def url(clean_url: CleanUrl) -> str:
    return clean_url()


queue = pytest.fixture(producer)


driver = pytest.fixture(opened)


async def taken(driver: Driver, name: str, want: int = 1000) -> list[str]:
    """Return the ids that a worker would get, in order."""
    exchange = await driver.exchange(name, f"owner-{next(numbers)}", want=want, nonce=1)
    return [job.id for job in exchange.jobs]


# over every back-end


async def test_a_pushed_job_is_there_under_its_receipt(queue: Queue, driver: Driver) -> None:
    receipt = await queue.push(SendEmail(to="a@b.c"))

    stored = await driver.find(receipt.id, "emails")
    assert receipt.enqueued
    assert stored is not None
    assert payload.decode(stored.payload).to == "a@b.c"  # type: ignore[attr-defined]


async def test_the_queue_is_the_argument_then_the_class_then_default(queue: Queue) -> None:
    await queue.push(SendEmail(to="a"), queue="other")
    await queue.push(SendEmail(to="a"))
    await queue.push(Note())
    by_instance = Note()
    by_instance.queue = "mine"  # type: ignore[misc]
    await queue.push(by_instance)

    sizes = [await queue.size(name) for name in ("other", "emails", "default", "mine", "none")]
    assert sizes == [1, 1, 1, 1, 0]


async def test_one_instance_dispatched_again_is_another_job(queue: Queue) -> None:
    job = Note(text="x")
    receipts = [await queue.push(job) for _ in range(3)]

    assert len({receipt.id for receipt in receipts}) == 3
    assert await queue.size() == 3


async def test_the_same_id_is_enqueued_once(queue: Queue) -> None:
    receipts = [await queue.push(Note(), id="order-1") for _ in range(2)]
    at_once = await asyncio.gather(*(queue.push(Note(), id="order-2") for _ in range(3)))

    assert receipts == [Receipt("order-1", True), Receipt("order-1", False)]
    assert sorted(receipt.enqueued for receipt in at_once) == [False, False, True]
    assert await queue.size() == 2


@pytest.mark.parametrize("delay", [300, "5m", timedelta(minutes=5)])
async def test_later_schedules(queue: Queue, delay: Any) -> None:
    receipt = await queue.later(delay, Note())
    await queue.push(Note(), delay=delay)

    stats = await queue.stats()
    assert receipt.enqueued
    assert (stats.ready, stats.scheduled, await queue.size()) == (0, 2, 2)


async def test_stats_tell_states_and_ages(queue: Queue, driver: Driver) -> None:
    await queue.push(Note())
    await queue.push(Note())
    await taken(driver, "default", want=1)

    stats = await queue.stats("default")
    assert (stats.ready, stats.reserved, stats.failed) == (1, 1, 0)
    assert stats.oldest_ready_age_seconds >= 0


async def test_what_is_dispatched_at_once_keeps_its_order_and_receipts(
    queue: Queue, driver: Driver
) -> None:
    receipts = await asyncio.gather(*(queue.push(Note(text=str(n))) for n in range(300)))

    order = await taken(driver, "default")
    assert order == [receipt.id for receipt in receipts]


async def test_bulk_answers_in_the_order_given(queue: Queue, driver: Driver) -> None:
    jobs: list[Job] = [
        SendEmail(to=str(n)) if n % 3 == 0 else Note(text=str(n)) for n in range(2_500)
    ]
    receipts = await queue.bulk(jobs)

    assert len(receipts) == 2_500
    assert all(receipt.enqueued for receipt in receipts)
    expected = [receipt.id for n, receipt in enumerate(receipts) if n % 3]
    assert await taken(driver, "default") == expected[:1_000]
    for n in (0, 1_000, 2_499):
        stored = await driver.find(receipts[n].id)
        assert stored is not None
        assert vars(payload.decode(stored.payload)) == vars(jobs[n])


async def test_bulk_takes_a_queue_a_delay_a_generator_and_ids(queue: Queue) -> None:
    ids = new_ids(3)
    await queue.bulk((Note() for _ in range(3)), queue="later", delay="1h", ids=ids)
    again = await queue.bulk((Note() for _ in range(3)), queue="later", delay="1h", ids=ids)

    assert again == [Receipt(job_id, False) for job_id in ids]
    assert (await queue.stats("later")).scheduled == 3
    assert await queue.bulk([]) == []


async def test_bulk_enqueues_nothing_if_one_is_wrong(queue: Queue) -> None:
    jobs: list[Job] = [Note() for _ in range(1_500)]
    jobs[1_200] = SendEmail(to=3)  # type: ignore[arg-type]

    with pytest.raises(InvalidJob, match=r"^jobs\[1200\]: SendEmail\.to: .*got int"):
        await queue.bulk(jobs)
    assert await queue.size() == 0


async def test_a_wrong_job_is_refused_before_anything_is_sent(queue: Queue) -> None:
    with pytest.raises(InvalidJob, match=r"SendEmail\.to"):
        await queue.push(SendEmail(to=3))  # type: ignore[arg-type]
    with pytest.raises(PayloadTooLarge):
        await queue.push(SendEmail(to="x" * 2**21))
    assert await queue.size("emails") == 0


async def test_dispatch_inside_a_running_job_uses_the_same_client(queue: Queue) -> None:
    class Outer(Job):
        async def handle(self) -> None:
            await queue.push(Note(text="inner"))

    await queue.push(Outer())
    before = len(queue._clients._by_loop)
    await Outer().handle()

    assert len(queue._clients._by_loop) == before == 1
    assert await queue.size() == 2


# names, numbers and addresses


@pytest.fixture
async def memory() -> AsyncIterator[Queue]:
    async with Queue(f"memory://producer-{next(numbers)}") as producer:
        yield producer


@pytest.mark.parametrize("name", ["no spaces", "", "x" * 65, 3, "a\nb"])
async def test_a_queue_has_a_proper_name(memory: Queue, name: Any) -> None:
    if name != "":  # as an argument of push, nothing is as good as none
        with pytest.raises(InvalidJob, match="a queue's name"):
            await memory.push(Note(), queue=name)
    with pytest.raises(InvalidJob, match="a queue's name"):
        await memory.size(name)


@pytest.mark.parametrize("job_id", ["", "a b", "x" * 65, 7, "-x"])
async def test_an_id_has_a_proper_form(memory: Queue, job_id: Any) -> None:
    with pytest.raises(InvalidJob, match="expected an id"):
        await memory.push(Note(), id=job_id)
    with pytest.raises(InvalidJob, match=r"jobs\[1\]: expected an id"):
        await memory.bulk([Note(), Note()], ids=["fine", job_id])


@pytest.mark.parametrize("delay", [-1, "soon", float("nan"), timedelta(seconds=-1), [1]])
async def test_a_delay_is_a_duration(memory: Queue, delay: Any) -> None:
    with pytest.raises(InvalidJob, match="delay: "):
        await memory.push(Note(), delay=delay)


async def test_bulk_wants_as_many_ids_as_jobs(memory: Queue) -> None:
    with pytest.raises(InvalidJob, match="1 jobs and 2 ids"):
        await memory.bulk([Note()], ids=["a", "b"])


async def test_a_class_is_no_instance(memory: Queue) -> None:
    with pytest.raises(InvalidJob, match="expected an instance"):
        await memory.push(Note)  # type: ignore[arg-type]


async def test_an_unknown_scheme_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no driver"):
        await Queue("nosuch://host").push(Note())
    with pytest.raises(ConfigError, match="expected a URL"):
        Queue("localhost:6379")


async def test_connecting_elsewhere_takes_effect_at_once() -> None:
    first, second = (f"memory://producer-{next(numbers)}" for _ in range(2))
    queue = Queue(first)
    await queue.push(Note())
    queue.connect(second)

    assert await queue.size() == 0
    queue.connect(first)
    assert await queue.size() == 1
    await queue.close()


async def test_a_worker_lends_its_back_end_unless_the_program_named_one() -> None:
    own, worker = (f"memory://producer-{next(numbers)}" for _ in range(2))
    queue = Queue()
    queue.fall_back_to(worker)
    await queue.push(Note())
    assert await queue.size() == 1

    queue.connect(own)
    queue.fall_back_to(worker)
    assert await queue.size() == 0
    await queue.close()


async def test_the_program_s_producer_serves_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_CONNECTION", f"memory://producer-{next(numbers)}")
    monkeypatch.setattr(queued.queue, "_url", None)
    monkeypatch.setattr(queued.queue, "_found", None)
    receipt = await dispatch(Note(), queue="q", id="one")

    assert receipt == Receipt("one", True)
    assert await queued.queue.size("q") == 1
    await queued.queue.close()


async def test_nothing_configured_says_the_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUEUE_CONNECTION", raising=False)
    monkeypatch.delenv("QUEUED_CONFIG", raising=False)

    with pytest.raises(ConfigError, match="QUEUE_CONNECTION"):
        await Queue().push(Note())


async def test_a_stored_payload_is_what_the_driver_was_given(memory: Queue) -> None:
    receipt = await memory.push(Note(text="é"))
    driver = await memory._client().driver()
    stored = await driver.find(receipt.id)

    assert stored is not None
    assert stored.state is State.READY
    assert json.loads(stored.payload.split(b"\n")[1]) == {"text": "é"}
    assert NewJob("x", b"").delay == 0


def test_batches_are_bounded_in_number_and_in_bytes() -> None:
    many = range(2 * MAX_BATCH + 1)
    assert [len(batch) for batch in batches(many, [1] * len(many))] == [MAX_BATCH, MAX_BATCH, 1]
    half = BATCH_BYTES // 2
    assert list(batches("abc", [half, half, half])) == ["ab", "c"]
    assert list(batches("abc", [half, half + 1, half])) == ["a", "b", "c"]
    assert list(batches("abc", [BATCH_BYTES + 1, 1, 1])) == ["a", "bc"]


async def test_a_bulk_of_large_jobs_arrives_whole_and_in_order(queue: Queue) -> None:
    receipts = await queue.bulk([Note(text="x" * 900_000) for _ in range(40)])

    assert all(receipt.enqueued for receipt in receipts)
    assert await queue.size() == 40
