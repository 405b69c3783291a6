"""Which driver a URL gets: what ships, what was registered, what an entry point names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints

import pytest

import queued.drivers as registry
from queued.drivers import driver_for, known_schemes, register_driver
from queued.drivers.base import Driver, NewJob
from queued.drivers.memory import MemoryDriver
from queued.errors import ConfigError


class OwnDriver(MemoryDriver):
    """Somebody else's driver."""


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Entry points as if a package that declares them were installed."""
    entries: list[EntryPoint] = []

    def entry_points(*, group: str) -> EntryPoints:
        return EntryPoints(entries).select(group=group)

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    return entries


def own_entry(name: str, value: str = f"{__name__}:OwnDriver") -> EntryPoint:
    return EntryPoint(name, value, "queued.drivers")


def test_memory() -> None:
    driver = driver_for("memory://")
    assert isinstance(driver, Driver)
    assert driver.name == "memory"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://localhost:6379/0", "redis"),
        ("rediss://localhost:6379/0", "redis"),
        ("redis+sentinel://one:26379,[::1]:26380,three/jobs/2", "redis"),
        ("redis+cluster://one,two:7000", "redis"),
        ("unix:///run/redis.sock", "redis"),
        ("sqlite:////nowhere/queued.db", "database"),
        ("SQLite:////nowhere/queued.db", "database"),
    ],
)
def test_what_ships_connects_nowhere_yet(url: str, name: str) -> None:
    driver = driver_for(url)
    assert isinstance(driver, Driver)
    assert driver.name == name


def test_a_driver_of_ones_own() -> None:
    register_driver("Own", OwnDriver)
    assert isinstance(driver_for("own://x"), OwnDriver)
    assert isinstance(driver_for("OWN://x"), OwnDriver)
    assert "own" in known_schemes()


def test_the_last_one_registered_wins_over_what_ships() -> None:
    register_driver("memory", MemoryDriver)
    register_driver("memory", OwnDriver)
    assert isinstance(driver_for("memory://"), OwnDriver)


def test_an_entry_point(installed: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[OwnDriver.__module__])
    installed.append(own_entry("own"))
    installed.append(EntryPoint("stranger", "nowhere:Nothing", "another.group"))
    assert isinstance(driver_for("own://x"), OwnDriver)
    assert "own" in known_schemes()
    assert "stranger" not in known_schemes()


def test_an_entry_point_wins_over_what_ships(installed: list[EntryPoint]) -> None:
    installed.append(own_entry("memory"))
    assert isinstance(driver_for("memory://"), OwnDriver)
    register_driver("memory", MemoryDriver)
    assert type(driver_for("memory://")) is MemoryDriver


@pytest.mark.parametrize("value", ["nowhere_at_all:Nothing", "queued.drivers.memory:Nothing"])
def test_an_entry_point_that_cannot_be_imported(installed: list[EntryPoint], value: str) -> None:
    installed.append(own_entry("own", value))
    with pytest.raises(ConfigError, match=r"own:// \(.*:Nothing\) cannot be imported"):
        driver_for("own://x")


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        driver_for("amqp://user:s3cret@host")
    [problem] = caught.value.problems
    assert problem.startswith('connection: no driver for "amqp://"; known: ')
    assert problem.endswith(
        "memory, postgresql, redis, redis+cluster, redis+sentinel,"
        " rediss, rediss+cluster, rediss+sentinel, sqlite, unix"
    )


def test_a_slip_of_the_finger_names_what_was_meant() -> None:
    with pytest.raises(ConfigError, match='did you mean "redis"'):
        driver_for("reddis://host")


@pytest.mark.parametrize("url", ["", "redis", "localhost:6379", "user:s3cret@host"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match="expected a URL") as caught:
        driver_for(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("missing", ["psycopg", "psycopg.pq"])
def test_postgresql_without_psycopg_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second: there is psycopg, and neither its binary part nor a libpq."""
    for name in list(sys.modules):
        if name.startswith(("psycopg", "queued.drivers.sql.postgresql", "queued.drivers.sql.not")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'queued\[postgres\]'") as caught:
        driver_for("postgresql://u:s3cret@host/db")
    assert "s3cret" not in str(caught.value)


async def test_a_shared_store_and_private_ones() -> None:
    one, two = driver_for("memory://registry"), driver_for("memory://registry")
    other, alone, alone_too = (
        driver_for(u) for u in ("memory://other-registry", "memory://", "memory://")
    )
    await one.enqueue("q", [NewJob("a", b"")])
    assert await two.queues() == ["q"]
    await alone.enqueue("q", [NewJob("a", b"")])
    assert await other.queues() == await alone_too.queues() == []


def test_a_program_pays_only_for_its_own_back_end() -> None:
    program = "import sys, queued.drivers as d; d.driver_for('memory://'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "queued.drivers.memory" in loaded
    assert not {"sqlalchemy", "redis", "aiosqlite"} & set(loaded)
