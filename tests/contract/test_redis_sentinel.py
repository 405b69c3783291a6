"""redis+sentinel://: the driver and the enqueuer follow the primary wherever it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from queued.drivers.base import Exchange, NewJob
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.blocking import BlockingRedis
from queued.drivers.redis.sentinel import SentinelLink
from queued.errors import DriverUnavailable
from tests.contract.redis_steps import SERVERS, opened
from tests.contract.sentinels import SERVICE, Watched, sentinel_of, watched
from tests.contract.servers import free_port, running
from tests.contract.steps import Q, ack, drain, hold, ids, listen, push, reserve, settle, until


@pytest.fixture(scope="module", params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def shared(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(
        kind,
        tmp_path_factory.mktemp(kind),
        password="p-rimary",
        sentinel_password="s-entinel",
    ) as made:
        yield made


@pytest.fixture
def service(shared: Watched) -> Watched:
    """All five, whole, and nothing in the servers."""
    for server in (*shared.servers, *shared.sentinels):
        if not server.answers():
            server.start()
    shared.settle()
    with shared.client(shared.primary) as primary:
        primary.flushall()
    shared.settle()
    return shared


@pytest.fixture
async def driver(service: Watched) -> AsyncIterator[RedisDriver]:
    async with opened(service.url) as driver:
        yield driver


async def pushed(driver: RedisDriver, *names: str) -> None:
    """Push until it is acknowledged."""
    jobs = [NewJob(name, name.encode()) for name in names]

    async def acknowledged() -> bool:
        try:
            await driver.enqueue(Q, jobs)
        except DriverUnavailable:
            return False
        return True

    await until(acknowledged)


async def listening(service: Watched, driver: RedisDriver) -> asyncio.Task[Exchange]:
    """Return a call that waits at the primary."""
    with service.client(service.primary) as primary:
        before = primary.info("clients")["blocked_clients"]
        call = driver.listen("other", "me", seconds=60, want=1, nonce=1)
        task = asyncio.create_task(call)

        async def waits() -> bool:
            return bool(primary.info("clients")["blocked_clients"] > before)

        await until(waits)
    return task


async def test_work_is_done_at_the_primary(service: Watched, driver: RedisDriver) -> None:
    await driver.ping()
    await push(driver, "a", "b")
    assert await drain(driver) == ["a", "b"]
    with service.client(service.primary) as primary:
        clients = {int(one["db"]) for one in primary.client_list() if one["cmd"] != "client|list"}
        assert clients == {0}
        assert primary.exists("queued:{emails}:counters")


async def test_a_database_of_its_own(service: Watched) -> None:
    url = service.url.replace(f"/{SERVICE}", f"/{SERVICE}/3")
    async with opened(url) as driver:
        await push(driver, "a")
    with service.client(service.primary) as primary:
        assert primary.dbsize() == 0
        assert primary.info("keyspace")["db3"]["keys"]


async def test_sentinels_that_are_away_are_passed_over(service: Watched) -> None:
    hosts = f"127.0.0.1:{free_port()},{service.hosts.split(',')[2]}"
    async with opened(service.url_by(hosts)) as driver:
        await push(driver, "a")
    enqueuer = BlockingRedis(service.url_by(hosts))
    assert enqueuer.enqueue(Q, [NewJob("b", b"b")]) == [True]
    enqueuer.close()


async def test_a_sentinel_that_stands_still_is_passed_over(service: Watched) -> None:
    service.sentinels[0].pause()
    try:
        async with opened(service.url) as driver:
            await push(driver, "a")
    finally:
        service.sentinels[0].kill()  # one that goes on after a standstill does nothing for 30 s


async def test_a_sentinel_that_names_a_replica_is_passed_over(
    service: Watched, kind: str, tmp_path: Path
) -> None:
    """One that was cut off during a failover does."""
    astray = sentinel_of(kind, tmp_path / "astray", service.replica.port, service, quorum=99)
    with running(astray.start()):
        hosts = f"127.0.0.1:{astray.port}"
        for call in (opening(service.url_by(hosts)), enqueuing(service.url_by(hosts))):
            with pytest.raises(DriverUnavailable, match="it is a replica"):
                await call
        async with opened(service.url_by(f"{hosts},{service.hosts}")) as driver:
            await push(driver, "a")
        await enqueuing(service.url_by(f"{hosts},{service.hosts}"))


async def opening(url: str) -> None:
    async with opened(url):
        pass


async def enqueuing(url: str) -> None:
    enqueuer = BlockingRedis(url)
    try:
        await asyncio.to_thread(enqueuer.enqueue, Q, [NewJob("b", b"b")])
    finally:
        enqueuer.close()


@pytest.mark.parametrize("call", [opening, enqueuing])
async def test_what_is_wrong_is_told_in_one_line_without_a_secret(service: Watched, call) -> None:
    nobody = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    wrong = service.url.replace("p-rimary", "wr-ng")
    cases = {
        service.url_by(nobody): "none of the sentinels 127.0.0.1",
        service.url_by(service.hosts, "job"): 'know no service "job"; it follows the hosts',
        service.url.replace("s-entinel", "wr-ng"): "see sentinel_username and sentinel_password",
        service.url.partition("?")[0]: "see sentinel_username and sentinel_password",
        wrong: "it refuses the login; check user and password",
    }
    for url, saying in cases.items():
        with pytest.raises(DriverUnavailable, match=saying) as caught:
            await call(url)
        told = str(caught.value)
        assert "\n" not in told
        assert not {"p-rimary", "s-entinel", "wr-ng"} & set(told.replace(":", " ").split())
        assert not any(secret in told for secret in ("p-rimary", "s-entinel", "wr-ng"))


async def test_a_planned_failover(service: Watched, driver: RedisDriver) -> None:
    held = await hold(driver, "held")
    await push(driver, "a")
    enqueuer = BlockingRedis(service.url)
    enqueuer.enqueue(Q, [NewJob("b", b"b")])
    service.settle()  # all is replicated
    waiting = await listening(service, driver)

    await asyncio.to_thread(service.fail_over)
    with pytest.raises(DriverUnavailable):
        await waiting
    await pushed(driver, "c")
    assert await settle(driver, ack(held)) == []
    assert enqueuer.enqueue(Q, [NewJob("d", b"d")]) == [True]
    enqueuer.close()
    assert ids(await listen(driver, 1, want=9)) == ["a", "b", "c", "d"]


async def test_a_primary_that_is_killed(service: Watched, driver: RedisDriver) -> None:
    await push(driver, "a")
    service.settle()
    former = service.primary
    former.kill()
    with pytest.raises(DriverUnavailable):
        await push(driver, "b")
    await asyncio.to_thread(service.until_promoted, former)
    await pushed(driver, "c")
    assert ids(await reserve(driver, 9)) == ["a", "c"]


@pytest.mark.fault(47)
@pytest.mark.parametrize("beside", ["alone", "with a sentinel"])
async def test_a_primary_that_falls_silent_is_left_for_the_next_one(
    service: Watched, driver: RedisDriver, beside: str
) -> None:
    """As when its host loses power: nobody says that the connection is over."""
    if beside == "with a sentinel":
        dead = service.sentinels[0]
        dead.kill()
        for link in (driver._main, driver._waiter):
            assert isinstance(link, SentinelLink)
            link._sentinels.sort(key=lambda one: one.options["port"] != dead.port)
    await push(driver, "a")
    service.settle()
    driver._main.within = driver._waiter.within = 3600
    waiting = await listening(service, driver)
    former = service.primary
    former.pause()
    try:
        exchange = asyncio.create_task(reserve(driver))
        await asyncio.to_thread(service.until_promoted, former)
        for call in (exchange, waiting):
            with pytest.raises(DriverUnavailable, match="not the primary any more"):
                await call
        await pushed(driver, "b")
        assert ids(await reserve(driver, 9)) == ["a", "b"]
    finally:
        former.resume()
