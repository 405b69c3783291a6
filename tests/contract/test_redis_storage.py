"""How the Redis driver stores: its keys, its ids, its bounds, and what it costs."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from queued.drivers.base import (
    ID_PATTERN,
    SUSPECT_FROM,
    Charge,
    Lane,
    NewJob,
    RateLimit,
    Unique,
)
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.codec import pack_id, unpack_id
from queued.drivers.redis.scripts import scripts
from tests.contract.chains import HOME, OTHER_Q, batch_of, chained
from tests.contract.redis_steps import (
    SERVERS,
    driver_of_server,  # noqa: F401 - a fixture
    fresh_server,  # noqa: F401 - a fixture
    opened,
    operator_client,  # noqa: F401 - a fixture
    start,
)
from tests.contract.servers import Server, running
from tests.contract.steps import (
    ME,
    OTHER,
    WITHIN,
    Q,
    ack,
    drain,
    fail,
    failed_job,
    hold,
    ids,
    info,
    listen,
    names,
    notes,
    push,
    release,
    reserve,
    retry,
    settle,
)

PAYLOAD = b'{"v":1,"job":"app.jobs.SendEmail"}\n' + b"x" * 100
MOST_BYTES = 300
HISTORY = 65536


@pytest.mark.parametrize("query", ["", "?prefix=shop"])
async def test_all_keys_of_a_queue_share_its_hash_tag(
    server: Server, admin: redis.Redis, query: str
) -> None:
    async with opened(server.url + query) as driver:
        await everything(driver)
        await driver.exchange(Q, ME, want=1, nonce=10**6, limit=RateLimit(every=60.0, burst=9))
        assert await driver.tick(Q, "nightly", None, 1, None)
        await driver.enqueue(Q, [chained((Q, "link"), (Q, "next")).job])
        keys = {key.decode() for key in admin.scan_iter()}
        await driver.pause(Q, "ada", "why")  # which takes away what would wake somebody
    prefix = query.partition("=")[2] or "queued"
    keys |= {key.decode() for key in admin.scan_iter()}
    assert f"{prefix}:queues" in keys
    of_queue = keys - {f"{prefix}:queues"}
    assert all(key.startswith(f"{prefix}:{{{Q}}}:") for key in of_queue)
    kinds = {key.split(":")[2] for key in of_queue}
    assert kinds == {
        *("jobs", "meta", "ready", "solo", "scheduled", "held", "owners", "nonces", "fence"),
        *("failed", "records", "hooks", "counters", "wake", "keys", "unique", "paused", "bucket"),
        *("ticks", "sequels"),
    }


async def test_so_do_those_of_chains_and_batches_over_queues(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    assert await driver.enqueue_batch(HOME, batch_of((OTHER_Q, "b")))
    kinds = {tuple(key.decode().split(":")[1:3]) for key in admin.scan_iter("queued:{*")}
    at_home = {(f"{{{HOME}}}", kind) for kind in ("batch", "members", "outbox")}
    there = ("jobs", "ready", "wake", "counters", "sequels", "received")
    assert kinds == at_home | {(f"{{{OTHER_Q}}}", kind) for kind in there}


async def everything(driver: RedisDriver) -> None:
    """Leave something in every key that there is."""
    await failed_job(driver, "failed", hook=60)
    await push(driver, *names(4))
    await push(driver, "scheduled", delay=60)
    assert await driver.enqueue(Q, [NewJob("alone", b"", 0, Unique("report 7"))]) == [True]
    suspect, retried, _ = await reserve(driver, 3)
    await settle(driver, release(suspect, Charge.CRASH, b"crashed"), retry(retried))


async def test_ticks_are_read_however_many_schedules_there_were(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    """Of one that is gone from queue.yaml the last tick stays."""
    assert await driver.tick(Q, "nightly", None, 1, None)
    admin.hset(f"queued:{{{Q}}}:ticks", mapping={f"old-{n}": n for n in range(5000)})
    assert len((await driver.ticks(Q)).last) == 5001


async def test_nothing_is_left_of_jobs_that_are_done(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    await everything(driver)
    await driver.forget(Q, ["failed"])
    await driver.cancel(Q, "scheduled")
    held = await driver.retire(Q, ME)
    assert await settle(driver, *map(ack, held)) == []
    await drain(driver, owner=OTHER)
    await drain(driver, owner=OTHER, lane=Lane.SOLO)
    kinds = {key.decode().split(":")[2] for key in admin.scan_iter(f"queued:{{{Q}}}:*")}
    assert kinds - {"wake"} == {"owners", "nonces", "fence", "counters"}


async def test_a_script_names_its_transition_its_keys_and_what_it_returns() -> None:
    for verb, script in scripts().items():
        lines = script.text.splitlines()
        assert re.fullmatch(r"#!lua( flags=(allow-oom|no-writes))?", lines[0])
        assert lines[1].startswith(f"-- {verb}: ")
        for part in ("-- KEYS ", "-- ARGV ", "-- returns "):
            assert sum(line.startswith(part) for line in lines) == 1, (verb, part)
        assert "-- include" not in script.text


def test_the_scripts_judge_a_suspect_as_the_state_table_does() -> None:
    for script in scripts().values():
        for number in re.findall(r"SUSPECT_FROM = (\d+)", script.text):
            assert int(number) == SUSPECT_FROM


_LIKE_A_UUID = r"[0-9a-f][0-9a-gA-F-]{7}-[0-9a-g]{4}-[0-9a-f.]{4}-[0-9a-f-]{4}-[0-9a-gA-F-]{12}"


@given(st.uuids(), st.from_regex(ID_PATTERN, fullmatch=True))
def test_an_id_comes_back_as_it_was(canonical: uuid.UUID, text: str) -> None:
    for job_id in (
        str(canonical),
        text,
        str(canonical).upper(),
        canonical.hex,
        text[:15],
        text[:16],
    ):
        raw = pack_id(job_id)
        assert unpack_id(raw) == job_id
        assert (len(raw) == 16) is (job_id == str(canonical))


@given(st.from_regex(_LIKE_A_UUID, fullmatch=True))
@example("01234567-89ab-cdef-0123-456789abcdef")
@example("01234567-89ab-cdef-0123-456789ABCDEF")
@example("01234567-89ab-cdef-0123-456789abcde-")
@example("01234567-89ab-cdef-0123-456789abcdeg")
def test_what_is_almost_a_uuid_comes_back_as_it_was(job_id: str) -> None:
    raw = pack_id(job_id)
    assert unpack_id(raw) == job_id
    is_uuid = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", job_id) is not None
    assert (len(raw) == 16) is is_uuid


@given(st.lists(st.from_regex(ID_PATTERN, fullmatch=True), unique=True))
def test_no_two_ids_are_stored_alike(job_ids: list[str]) -> None:
    assert len({pack_id(job_id) for job_id in job_ids}) == len(job_ids)


async def test_ids_of_every_length_live_side_by_side(driver: RedisDriver) -> None:
    job_ids = ["x" * length for length in range(1, 65)] + [str(uuid.uuid4()), uuid.uuid4().hex]
    await push(driver, *job_ids)
    assert await drain(driver) == job_ids


async def test_payloads_notes_and_records_are_stored_as_they_came(driver: RedisDriver) -> None:
    every_byte = bytes(range(256))
    await driver.enqueue(Q, [NewJob("a", every_byte), NewJob("empty", b"")])
    a, empty = await reserve(driver, 2)
    assert (a.payload, empty.payload) == (every_byte, b"")
    note = every_byte.replace(b"\n", b"")
    await settle(driver, fail(a, record=every_byte, note=note), ack(empty))
    [failed] = await driver.failed(Q)
    assert (failed.payload, failed.record, notes(failed.history)) == (
        every_byte,
        every_byte,
        [note],
    )


async def test_a_history_keeps_its_newest_notes_within_its_bound(driver: RedisDriver) -> None:
    await push(driver, "a")
    for run in range(80):
        [held] = await reserve(driver)
        note = b"%03d " % run + b"n" * 1000
        assert await settle(driver, release(held, note=note)) == []
    history = (await info(driver, "a")).history
    kept = notes(history)
    assert HISTORY - 1100 < len(history) <= HISTORY
    assert [int(note[:3]) for note in kept] == list(range(80 - len(kept), 80))


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.fault(37)
async def test_a_job_that_waits_costs_at_most_300_bytes(kind: str, tmp_path: Path) -> None:
    count = 20_000
    with running(start(kind, tmp_path)) as server, redis.Redis(port=server.port) as admin:
        async with opened(server.url) as driver:
            for start_at in range(0, count, 1000):
                numbers = range(start_at, start_at + 1000)
                jobs = [NewJob(str(uuid.UUID(int=7 << 76 | n)), PAYLOAD) for n in numbers]
                await driver.enqueue(Q, jobs)
        usage = sum(admin.memory_usage(key, samples=0) for key in admin.scan_iter())
    assert usage / count <= MOST_BYTES


async def test_a_thousand_pushes_leave_one_wake_up(driver: RedisDriver, admin: redis.Redis) -> None:
    for job_id in names(1000):
        await push(driver, job_id)
    assert admin.llen(f"queued:{{{Q}}}:wake") == 1


async def test_large_payloads_come_a_few_at_a_time(driver: RedisDriver) -> None:
    large = b"x" * 2**20
    for part in range(4):
        jobs = [NewJob(job_id, large) for job_id in names(100)[25 * part : 25 * (part + 1)]]
        await driver.enqueue(Q, jobs)
    first = await reserve(driver, 100)
    assert 16 <= len(first) < 100
    more = await listen(driver, WITHIN, 100)  # woken at once: more are ready
    assert ids(first) + ids(more) + ids(await reserve(driver, 100)) == names(100)


async def test_an_entry_whose_job_vanished_is_skipped(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    await push(driver, *names(6))
    admin.hdel(f"queued:{{{Q}}}:jobs", *(pack_id(job_id) for job_id in names(6)[:4]))
    assert ids(await reserve(driver, 2)) == names(6)[4:]
    assert (await driver.stats([Q]))[Q].ready == 0


async def test_a_reservation_whose_job_vanished_is_dropped(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    await hold(driver, "a")
    admin.hdel(f"queued:{{{Q}}}:jobs", pack_id("a"))
    assert await driver.retire(Q, ME) == []
    assert await driver.owners(Q) == {}


async def test_owners_that_hold_nothing_are_forgotten_after_ten_minutes(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    await hold(driver, "a", owner="holder")
    assert await reserve(driver, owner="expired") == []
    await driver.renew(Q, ["lives"], 30)
    for owner in ("holder", "retired"):
        await driver.retire(Q, owner)
    key, (seconds, _) = f"queued:{{{Q}}}:owners", admin.time()
    old = (seconds - 601) * 1000
    admin.zadd(key, {"holder": -old, "retired": -old, "expired": old})
    admin.zadd(key, dict.fromkeys(names(900, "one-of-many"), -old))
    await driver.retire(Q, "just-retired")
    assert await driver.renew(Q, ["lives", "just-retired", "retired"], 30) == [
        "just-retired",
        "retired",
    ]
    assert {owner.decode() for owner in admin.zrange(key, 0, -1)} == {
        "holder",
        "lives",
        "just-retired",
    }
    assert admin.hkeys(f"queued:{{{Q}}}:nonces") == []


async def test_a_retired_owner_stays_retired_when_the_clock_of_the_server_is_set_back(
    driver: RedisDriver, admin: redis.Redis
) -> None:
    held = await hold(driver, "a")
    await driver.retire(Q, ME)
    seconds, _ = admin.time()
    admin.zadd(f"queued:{{{Q}}}:owners", {ME: -(seconds + 3600) * 1000})
    assert (await driver.owners(Q))[ME] < 0
    assert await driver.retire(Q, ME, only_expired=True) == [held]


async def test_the_fence_survives_purge_and_forget(driver: RedisDriver) -> None:
    first = await failed_job(driver, "a")
    await driver.forget(Q, ["a"])
    await push(driver, "b")
    await driver.purge(Q)
    assert (await hold(driver, "a")).fence > first.fence


async def test_a_retried_job_is_found_and_cancelled_among_many(driver: RedisDriver) -> None:
    await push(driver, *names(2500))
    [held] = await reserve(driver)
    await settle(driver, retry(held))
    await push(driver, *names(1500, "more"))
    found = await info(driver, held.id)
    assert found.ready_at is not None
    assert found.ready_at >= held.ready_at
    await driver.cancel(Q, held.id)
    assert await driver.find(held.id) is None
    assert held.id not in await drain(driver, want=1000)
