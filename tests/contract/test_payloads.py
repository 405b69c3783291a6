"""Invariant 3: payloads, notes and records are opaque bytes, kept as they came."""

from __future__ import annotations

import pytest

from queued.drivers.base import ID_PATTERN, QUEUE_PATTERN, Driver, NewJob
from tests.contract.steps import (
    Q,
    ack,
    fail,
    hold,
    info,
    notes,
    release,
    reserve,
    retry,
    settle,
    size,
)

EVERY_BYTE = bytes(range(256))
PAYLOADS = {
    "empty": b"",
    "every byte": EVERY_BYTE,
    "NUL only": b"\x00",
    "newlines": b"\n\r\n\n",
    "an integer past 2**53": b'{"n": 9007199254740993}',
    "empty list and object": b'{"list": [], "object": {}}',
    "many digits": b"1700000000.1234567890123456789",
    "not UTF-8": b"\xff\xfe\xc3\x28",
    "UTF-8": "žluťoučký 🐎".encode(),
    "digits": b"0012",
    "quotes": b"'; DROP TABLE jobs; --\"`",
    "Lua and format signs": b"%s %d {} ${HOME} return redis.call('FLUSHALL')",
    "256 KiB": EVERY_BYTE * 1024,
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
async def test_a_payload_comes_back_as_it_went(driver: Driver, payload: bytes) -> None:
    await driver.enqueue(Q, [NewJob("a", payload)])
    assert (await info(driver, "a")).payload == payload
    [held] = await reserve(driver)
    assert held.payload == payload
    assert (await info(driver, "a")).payload == payload
    await settle(driver, retry(held))
    [held] = await reserve(driver)
    assert held.payload == payload
    await settle(driver, fail(held, record=payload))
    [failed] = await driver.failed(Q)
    assert (failed.payload, failed.record) == (payload, payload)
    assert await driver.requeue(Q, ["a"]) == [True]
    [held] = await reserve(driver)
    assert held.payload == payload


async def test_a_scheduled_payload_too(driver: Driver) -> None:
    await driver.enqueue(Q, [NewJob("a", EVERY_BYTE, 60)])
    assert (await info(driver, "a")).payload == EVERY_BYTE


async def test_notes_are_opaque(driver: Driver) -> None:
    odd = [bytes(b for b in EVERY_BYTE if b != ord("\n")), b'{"n": 9007199254740993, "x": []}']
    held = await hold(driver, "a")
    await settle(driver, retry(held, note=odd[0]))
    [held] = await reserve(driver)
    assert notes(held.history) == odd[:1]
    await settle(driver, release(held, note=odd[1]))
    [held] = await reserve(driver)
    assert notes(held.history) == odd


async def test_types_of_what_comes_back(driver: Driver) -> None:
    held = await hold(driver, "a")
    assert type(held.id) is str
    assert type(held.payload) is bytes
    assert type(held.history) is bytes
    assert type(held.fence) is int
    assert {type(held.enqueued_at), type(held.ready_at), type(held.reserved_at)} == {float}
    await settle(driver, fail(held))
    [failed] = await driver.failed(Q)
    assert type(failed.record) is type(failed.payload) is type(failed.history) is bytes
    assert type(failed.failed_at) is float


ODD_NAMES = [
    "a" * 64,
    "0",
    "007",
    "a:b",
    "a:b:c",
    "a.b-c_d",
    "jobs",
    "ready",
    "nan",
    "1e9",
    "A",
    "0190a6b2-7c1d-7e3f-8a9b-0c1d2e3f4a5b",
]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_every_allowed_name_works_as_id_and_queue(driver: Driver, name: str) -> None:
    assert ID_PATTERN.fullmatch(name)
    assert QUEUE_PATTERN.fullmatch(name)
    owner = (name * 128)[:128]
    held = await hold(driver, name, queue=name, owner=owner)
    assert await driver.queues() == [name]
    assert list(await driver.owners(name)) == [owner]
    assert await settle(driver, ack(held), queue=name, owner=owner) == []


async def test_queues_of_similar_names_do_not_mix(driver: Driver) -> None:
    queues = ["q", "q:q", "q:ready", "q:scheduled", "q:failed", "q:job", "q:jobs", "q.", "Q", "q-"]
    for number, queue in enumerate(queues):
        jobs = [NewJob(f"q:{n}", queue.encode()) for n in range(number + 1)]
        assert all(await driver.enqueue(queue, jobs))
    assert await driver.queues() == sorted(queues)
    for number, queue in enumerate(queues):
        jobs = await reserve(driver, 20, queue=queue)
        assert [job.payload for job in jobs] == [queue.encode()] * (number + 1)
        assert await size(driver, queue) == 0
        assert await settle(driver, *map(ack, jobs), queue=queue) == []
