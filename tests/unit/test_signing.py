"""Signatures: what is verified is what was signed, for that queue and that id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.drivers.base import Charge, Fail, NewJob
from queued.drivers.sequel import links
from queued.errors import BadSignature
from queued.jobs import payload
from queued.jobs.chains import chain
from queued.jobs.header import plain_header
from queued.jobs.job import Job
from queued.jobs.payload import adopt, decode, encode, job_name, pack, verify
from queued.jobs.queue import Queue
from queued.jobs.trace_context import TraceContext
from queued.jobs.work import Link
from queued.policy import Policy, generate_key
from tests.unit.working import QUEUE, Shop, counted, until_async

OLD, NEW = generate_key(), generate_key()
TRACE = TraceContext(f"00-{'4b' * 16}-{'f0' * 8}-01", "vendor=1")


class Pay(Job):
    name = "signing.pay"
    queue = QUEUE
    amount: int

    async def handle(self) -> None:
        paid.append(self.amount)

    async def failed(self, exception: Exception) -> None:
        paid.append(-1)


paid: list[int] = []


@pytest.fixture(autouse=True)
def _policy() -> Iterator[None]:
    paid.clear()
    adopt(Policy(signing=(NEW, OLD)))
    yield
    adopt(None)


def refused(stored: bytes, queue: str = QUEUE, job_id: str = "id-1") -> str:
    with pytest.raises(BadSignature) as caught:
        verify(stored, queue, job_id)
    return str(caught.value)


def test_what_was_signed_is_taken_and_reads_as_before() -> None:
    plain, stored = encode(Pay(amount=7)), pack(Pay(amount=7), QUEUE, "id-1")
    header, _, body = stored.partition(b"\n")

    verify(stored, QUEUE, "id-1")
    assert json.loads(header).keys() == {"v", "job", "sig"}
    assert plain == plain_header(header) + b"\n" + body
    assert job_name(stored) == "signing.pay"
    assert decode(stored).amount == 7


def test_the_context_of_a_trace_comes_after_and_changes_nothing() -> None:
    new = TRACE.in_job(NewJob("id-1", pack(Pay(amount=7), QUEUE, "id-1")))

    verify(new.payload, QUEUE, "id-1")
    assert TraceContext.of(new.payload) == TRACE
    assert decode(new.payload).amount == 7


@pytest.mark.parametrize(
    ("queue", "job_id"), [("other", "id-1"), (QUEUE, "id-2"), (f"{QUEUE}\0id", "1")]
)
def test_it_holds_for_one_queue_and_one_id(queue: str, job_id: str) -> None:
    stored = pack(Pay(amount=7), QUEUE, "id-1")

    assert "none of the 2 keys" in refused(stored, queue, job_id)


@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    stored = pack(Pay(amount=123_456), QUEUE, "id-1")
    at = data.draw(st.integers(0, len(stored) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != stored[at]))

    refused(stored[:at] + bytes([byte]) + stored[at + 1 :])


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\n",
        b"{}",
        b'{"v":1,"job":"signing.pay"}\n{"amount":1}',
        b'{"v":1,"sig":"' + b"A" * 43 + b'","job":"signing.pay"}\n{"amount":1}',
        b'{"v":1,"job":"signing.pay","sig":"' + b"A" * 42 + b'"}\n{"amount":1}',
        b'{"v":1,"job":"signing.pay","sig":"' + b"A" * 43 + b'"}\n{"amount":1}',
        b'{"v":1,"job":"signing.pay","sig":"' + b"\xff" * 43 + b'"}\n{"amount":1}',
    ],
)
def test_without_a_right_signature_nothing_is_taken(stored: bytes) -> None:
    refused(stored)


def test_keys_are_rotated_new_first_then_the_old_one_goes() -> None:
    adopt(Policy(signing=(OLD,)))
    before = pack(Pay(amount=1), QUEUE, "id-1")
    adopt(Policy(signing=(NEW, OLD)))
    after = pack(Pay(amount=1), QUEUE, "id-1")
    verify(before, QUEUE, "id-1")
    verify(after, QUEUE, "id-1")
    adopt(Policy(signing=(NEW,)))
    verify(after, QUEUE, "id-1")
    assert "with none of the key here" in refused(before)


def test_while_signing_is_introduced_jobs_without_a_signature_are_taken() -> None:
    plain, stored = encode(Pay(amount=1)), pack(Pay(amount=1), QUEUE, "id-1")
    adopt(Policy(signing=(NEW, "unsigned")))

    verify(plain, QUEUE, "id-1")
    verify(stored, QUEUE, "id-1")
    refused(stored, job_id="id-2")
    assert pack(Pay(amount=1), QUEUE, "id-1") == stored


def test_without_a_key_nothing_is_signed_and_what_is_can_be_read() -> None:
    stored = pack(Pay(amount=7), QUEUE, "id-1")
    adopt(Policy())

    assert payload.signer is None
    assert pack(Pay(amount=7), QUEUE, "id-1") == encode(Pay(amount=7))
    verify(stored, "any", "any")
    assert decode(stored).amount == 7


async def test_every_verb_of_a_producer_signs() -> None:
    async with Queue("memory://signing") as producer:
        receipts = [
            await producer.push(Pay(amount=1)),
            await producer.push(Pay(amount=2), id="mine"),
            await producer.later(60, Pay(amount=3)),
            *await producer.bulk([Pay(amount=4), Pay(amount=5)]),
        ]
        receipts.append(await asyncio.to_thread(producer.sync.push, Pay(amount=6)))
        driver = await producer._client().driver()
        for receipt in receipts:
            info = await driver.find(receipt.id)
            assert info
            verify(info.payload, QUEUE, receipt.id)
        producer.sync.close()


async def test_a_worker_runs_what_is_signed_and_parks_the_rest(shop: Shop) -> None:
    good, moved = NewJob("good", pack(Pay(amount=1), QUEUE, "good")), pack(Pay(amount=2), "q", "m")
    forged = encode(Pay(amount=3)).replace(b"3", b"9")
    await shop.driver.enqueue(QUEUE, [good, NewJob("m", moved), NewJob("forged", forged)])
    worker = await shop.clear()

    assert paid == [1]  # and no failed() of a class that a forger named
    failed = {one.id: one for one in await shop.driver.failed(QUEUE)}
    assert failed.keys() == {"m", "forged"}
    for one in failed.values():
        assert json.loads(one.record)["reason"] == "bad_signature"
        assert one.counts.tries == 0
        assert not one.hook_pending
    assert failed["forged"].payload == forged
    assert counted(worker, "job_errors_total", error="BadSignature") == 2


async def test_a_hook_is_not_run_for_what_nobody_signed(shop: Shop) -> None:
    await shop.driver.enqueue(QUEUE, [NewJob("forged", encode(Pay(amount=1)))])
    [held] = (await shop.driver.exchange(QUEUE, "a-b-tests.9-9", want=1, nonce=1)).jobs
    fail = Fail(held.id, held.fence, Charge.ERROR, b'{"error":"x","type":"x"}', b"", 0.0)
    await shop.driver.exchange(QUEUE, "a-b-tests.9-9", [fail])
    async with shop.open() as worker:

        async def complaint() -> str:
            return " ".join(worker._hooks._said)

        said = await until_async(complaint, "the hook to be claimed")
    assert "BadSignature: it has no signature" in said
    assert paid == []


def test_a_schedules_job_is_signed_by_who_has_not_its_code() -> None:
    stored = payload.of_fields("signing.pay", {"amount": 7}, QUEUE, "tick-1")

    verify(stored, QUEUE, "tick-1")
    assert decode(stored).amount == 7
    refused(stored, job_id="tick-2")


def test_every_link_of_a_chain_is_signed_for_its_own_id_and_queue() -> None:
    work = chain([Pay(amount=1), Link(Pay(amount=2), queue="other")]).catch(Pay(amount=3))
    encoded = work.encode()

    assert encoded.catch
    for parcel in (*encoded.links, encoded.catch):
        verify(parcel.job.payload, parcel.queue, parcel.job.id)
        refused(parcel.job.payload, "elsewhere", parcel.job.id)
    first = encoded.first(TRACE)
    for parcel in links(first):
        verify(parcel.job.payload, parcel.queue, parcel.job.id)
