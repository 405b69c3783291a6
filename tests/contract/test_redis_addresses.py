"""Which servers the Redis driver takes, and how it reads their URLs."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
import redis
from redis.asyncio.connection import SSLConnection

from queued.drivers.base import NewJob
from queued.drivers.redis import RedisDriver
from queued.drivers.redis.address import SentinelAddress, address_of
from queued.drivers.redis.blocking import BlockingRedis
from queued.drivers.redis.versions import is_too_old
from queued.errors import ConfigError, DriverUnavailable
from tests.contract.backends import unavailable
from tests.contract.redis_steps import (
    SERVERS,
    opened,
    start,
)
from tests.contract.servers import Server, free_port, redis_program, running
from tests.contract.steps import (
    Q,
    drain,
    push,
)


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_unix_socket(kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket has at most 107 bytes
        path = Path(folder) / "s"
        with running(start(kind, Path(folder), "--unixsocket", str(path))):
            async with opened(f"unix://{path}?db=3") as driver:
                await push(driver, "a")
                assert await drain(driver) == ["a"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that vouches for itself; its key stands beside it."""
    made = tmp_path / "certificate"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", made.with_suffix(".key"), "-out", made]
    arguments = ["-addext", "subjectAltName=IP:127.0.0.1", *files]
    try:
        subprocess.run([*command.split(), *arguments], check=True, capture_output=True)
    except FileNotFoundError:
        unavailable("openssl is not installed")
    return made


def tls_options(certificate: Path, port: int) -> dict[str, str]:
    return {
        "tls-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(certificate.with_suffix(".key")),
        "tls-ca-cert-file": str(certificate),
        "tls-auth-clients": "no",
    }


def as_arguments(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", value)]


async def test_tls(tmp_path: Path, certificate: Path) -> None:
    port = free_port()
    tls = as_arguments(tls_options(certificate, port))
    with running(start("redis7", tmp_path / "server", *tls)):
        url = f"rediss://127.0.0.1:{port}/0"
        async with opened(f"{url}?ssl_ca_certs={certificate}") as driver:
            await push(driver, "a")
            assert await drain(driver) == ["a"]
        distrusting = RedisDriver(url)
        with pytest.raises(DriverUnavailable, match=r"(?i)certificate"):
            await distrusting.open()


async def test_tls_to_a_cluster(tmp_path: Path, certificate: Path) -> None:
    port = free_port()
    options = tls_options(certificate, port) | {"tls-cluster": "yes", "cluster-enabled": "yes"}
    with running(start("redis7", tmp_path / "server", *as_arguments(options))) as server:
        with redis.Redis(port=server.port) as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        url = f"rediss+cluster://127.0.0.1:{port}?ssl_ca_certs={certificate}"
        await are_enqueued(url)
        with pytest.raises(DriverUnavailable, match=r"(?i)certificate"):
            await RedisDriver(url.partition("?")[0]).open()


async def test_tls_to_sentinels_and_their_primary(tmp_path: Path, certificate: Path) -> None:
    port, sentinel_port = free_port(), free_port()
    tls = as_arguments(tls_options(certificate, port))
    options = tls_options(certificate, sentinel_port) | {"tls-replication": "yes"}
    lines = [f"sentinel monitor jobs 127.0.0.1 {port} 1", *map(" ".join, options.items())]
    (tmp_path / "sentinel.conf").write_text("\n".join(lines) + "\n")
    command = [str(redis_program()), str(tmp_path / "sentinel.conf"), "--sentinel"]
    sentinel = Server(command, tmp_path / "sentinel", free_port())
    with running(start("redis7", tmp_path / "server", *tls)), running(sentinel.start()):
        url = f"rediss+sentinel://127.0.0.1:{sentinel_port}/jobs?ssl_ca_certs={certificate}"
        await are_enqueued(url)
        with pytest.raises(DriverUnavailable, match=r"(?i)certificate"):
            await RedisDriver(url.partition("?")[0]).open()


async def are_enqueued(url: str) -> None:
    """Enqueue with an event loop and without."""
    async with opened(url) as driver:
        await push(driver, "a")
        enqueuer = BlockingRedis(url)
        enqueuer.enqueue(Q, [NewJob("b", b"b")])
        enqueuer.close()
        assert await drain(driver) == ["a", "b"]


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost?prefix={x}",
        "redis://localhost?colour=red",
        "redis://localhost?db=first",
        "redis://:se/cret@localhost",
        "redis+sentinel://:se/cret@localhost/jobs",
        "redis+sentinel://:secret@localhost",
        "redis+sentinel://:secret@localhost:x/jobs",
        "redis+sentinel://:secret@localhost/jobs/first",
        "redis+sentinel://localhost/jobs?colour=red&sentinel_password=secret",
        "redis+cluster://:secret@localhost/1",
        "redis+cluster://:secret@localhost?db=1",
        "redis+cluster://:secret@localhost:7000,:7001",
    ],
)
def test_a_wrong_url_is_an_error_of_one_line_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisDriver(url)
    [problem] = caught.value.problems
    assert problem.startswith("connection: ")
    assert "\n" not in problem
    assert "cret" not in problem


def test_sentinels_have_a_login_of_their_own_and_the_rest_in_common() -> None:
    options = "socket_keepalive=true&sentinel_username=ann&sentinel_password=p%40s&prefix=mine"
    url = f"rediss+sentinel://bob:b%3Fb@one,[::1]:5/jobs/3?{options}"
    address = address_of(url)
    assert isinstance(address, SentinelAddress)
    assert str(address) == "jobs (sentinels one:26379, [::1]:5)"
    assert (address.service, address.prefix) == ("jobs", "mine")
    primary = address.at("two", 6379)
    assert str(primary) == "two:6379"
    logins = {"username": "bob", "password": "b?b", "db": 3}
    assert primary.options == logins | {"host": "two", "port": 6379, "socket_keepalive": True}
    own = {"username": "ann", "password": "p@s", "socket_keepalive": True}
    assert [one.options for one in address.sentinels] == [
        own | {"host": "one", "port": 26379},
        own | {"host": "::1", "port": 5},
    ]
    assert {one.kind for one in (primary, *address.sentinels)} == {SSLConnection}


@pytest.mark.parametrize(
    ("name", "version", "too_old"),
    [
        ("redis", "6.2.14", True),
        ("redis", "7.0.0", False),
        ("redis", "10.1.0", False),
        ("valkey", "7.2.4", False),
        ("valkey", "7.1.0", True),
    ],
)
def test_a_server_that_is_too_old_is_known_by_its_version(
    name: str, version: str, *, too_old: bool
) -> None:
    assert is_too_old(name, version) is too_old
