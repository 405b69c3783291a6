"""Invariant 6: "empty" is an empty answer, "unreachable" is ``DriverUnavailable``, never mixed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from queued.drivers import driver_for
from queued.drivers.base import Driver, FailedJob, NewJob
from queued.errors import DriverUnavailable
from tests.contract.backends import unavailable
from tests.contract.chains import batch_of
from tests.contract.postgresql import Postgresql, program, running_postgresql
from tests.contract.servers import Server, redis_program, running, start_redis, start_valkey
from tests.contract.steps import ME, Q, drain, push, until

VERBS: dict[str, Callable[[Driver], Awaitable[object]]] = {
    "ping": lambda driver: driver.ping(),
    "enqueue": lambda driver: driver.enqueue(Q, [NewJob("x", b"")]),
    "exchange": lambda driver: driver.exchange(Q, ME, want=5, nonce=1),
    "settle": lambda driver: driver.exchange(Q, ME),
    "listen": lambda driver: driver.listen(Q, ME, seconds=5, want=1, nonce=2),
    "renew": lambda driver: driver.renew(Q, [ME], 30),
    "held": lambda driver: driver.held(Q, ME),
    "retire": lambda driver: driver.retire(Q, "other"),
    "owners": lambda driver: driver.owners(Q),
    "promote": lambda driver: driver.promote(Q),
    "enqueue_batch": lambda driver: driver.enqueue_batch(Q, batch_of((Q, "x"))),
    "forward": lambda driver: driver.forward(Q),
    "batch": lambda driver: driver.batch("batch-1", Q),
    "claim_hooks": lambda driver: driver.claim_hooks(Q, 5, 60),
    "finish_hook": lambda driver: driver.finish_hook(Q, "x"),
    "queues": lambda driver: driver.queues(),
    "stats": lambda driver: driver.stats([Q]),
    "find": lambda driver: driver.find("x"),
    "find in a queue": lambda driver: driver.find("x", Q),
    "ahead": lambda driver: driver.ahead(Q, "x"),
    "cancel": lambda driver: driver.cancel(Q, "x"),
    "pause": lambda driver: driver.pause("paused", "ada", "why"),
    "resume": lambda driver: driver.resume("paused"),
    "purge": lambda driver: driver.purge(Q),
    "failed": lambda driver: driver.failed(Q),
    "requeue": lambda driver: driver.requeue(Q, ["x"]),
    "forget": lambda driver: driver.forget(Q, ["x"]),
    "prune": lambda driver: driver.prune(Q, 60),
    "ticks": lambda driver: driver.ticks(Q),
    "tick": lambda driver: driver.tick(Q, "nightly", None, 1, NewJob("y", b"")),
    "restore": lambda driver: driver.restore(Q, [FailedJob("x", Q, b"x", b"{}", 1.0, 1.0)]),
}


@pytest.fixture(params=["valkey", "redis7", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server | Postgresql]:
    """A server of the test's own, to be taken away."""
    if request.param == "postgresql":
        if program("postgres") is None:
            unavailable("PostgreSQL is not installed")
        with running_postgresql() as postgres:
            yield postgres
        return
    if request.param == "redis7" and redis_program() is None:
        unavailable("redis-server is not installed")
    start = {"valkey": start_valkey, "redis7": start_redis}[request.param]
    with running(start(tmp_path / "server", "--appendonly", "yes")) as server:
        yield server


@pytest.fixture
async def driver(server: Server | Postgresql) -> AsyncIterator[Driver]:
    driver = driver_for(server.url)
    await driver.open()
    yield driver
    await driver.close()


async def test_no_verb_takes_an_outage_for_an_empty_queue(
    server: Server | Postgresql, driver: Driver
) -> None:
    await push(driver, "a")
    server.kill()
    for verb in [*VERBS.values()] * 2:  # the connection that broke, and the one that is refused
        with pytest.raises(DriverUnavailable):
            await verb(driver)


async def test_an_enqueue_names_the_jobs_whose_fate_is_unknown(
    server: Server | Postgresql, driver: Driver
) -> None:
    server.kill()
    with pytest.raises(DriverUnavailable) as caught:
        await driver.enqueue(Q, [NewJob("a", b""), NewJob("b", b"")])
    assert caught.value.ids == ("a", "b")


async def test_a_client_goes_on_by_itself_when_the_back_end_is_back(
    server: Server | Postgresql, driver: Driver
) -> None:
    await push(driver, "a", "b")
    server.stop()
    with pytest.raises(DriverUnavailable):
        await driver.stats([Q])
    server.start()

    async def answers() -> bool:
        try:
            await driver.ping()
        except DriverUnavailable:
            return False
        return True

    await until(answers)
    await driver.listen("other", ME, seconds=0, want=1, nonce=1)
    await push(driver, "c")
    assert await drain(driver) == ["a", "b", "c"]


async def test_opening_what_is_not_there(server: Server | Postgresql) -> None:
    server.kill()
    driver = driver_for(server.url)
    with pytest.raises(DriverUnavailable):
        await driver.open()
    await driver.close()


async def test_without_an_outage_every_verb_answers(driver: Driver) -> None:
    for verb in VERBS.values():
        await verb(driver)


def test_every_verb_is_tried() -> None:
    verbs = {name for name, value in vars(Driver).items() if callable(value)}
    tried = {name.split()[0] for name in VERBS if name != "settle"}
    assert {name for name in verbs if not name.startswith("_")} - {"open", "close"} == tried
