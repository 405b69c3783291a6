"""The site over a real socket: who is let in, and what it answers."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from queued.web.server import serve
from tests.web.site import running


async def raw(port: int, request: bytes) -> bytes:
    """Send bytes, return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_healthz_says_that_the_loop_turns() -> None:
    async with running() as (_, client):
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readyz_tells_every_reason() -> None:
    async with running() as (site, client):
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})
        site.reasons = ["backend unreachable for 12s", "pool emails: no worker running (fatal)"]
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "reasons": site.reasons}


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", parse_text),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            parse_openmetrics,
        ),
    ],
)
async def test_metrics_come_as_they_are_asked_for(
    accept: str, content_type: str, parse: Callable[[str], Iterable[Metric]]
) -> None:
    async with running() as (_, client):
        plain = await client.get("/metrics", headers={"Accept": accept, "Accept-Encoding": ""})
        assert plain.headers["content-type"] == content_type
        assert "content-encoding" not in plain.headers
        assert "queued_driver_up" in {family.name for family in parse(plain.text)}

        async with client.stream(
            "GET", "/metrics", headers={"Accept": accept, "Accept-Encoding": "gzip"}
        ) as zipped:
            assert zipped.headers["content-encoding"] == "gzip"
            assert "Accept-Encoding" in zipped.headers["vary"]
            body = b"".join([chunk async for chunk in zipped.aiter_raw()])
        assert list(parse(gzip.decompress(body).decode()))


@pytest.mark.parametrize(
    ("accept", "zipped"),
    [
        ("gzip", True),
        ("GZip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("br;q=1,gzip;q=0.001", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, identity", False),
        ("br, GZIP ; Q=0.0", False),
        ("identity", False),
        ("x-gzip-like", False),
        ("", False),
    ],
)
async def test_compressed_only_for_whoever_takes_it(accept: str, zipped: bool) -> None:
    async with running() as (_, client):
        answer = await client.get("/metrics", headers={"Accept-Encoding": accept})
        assert answer.status_code == 200
        assert ("content-encoding" in answer.headers) == zipped
        assert "queued_driver_up" in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/static/page.css", "/metrics", "/healthz", "/readyz", "/nonsuch"]
)
async def test_every_answer_is_hardened(path: str) -> None:
    async with running() as (_, client):
        headers = (await client.get(path)).headers
        assert headers["content-security-policy"] == (
            "default-src 'self'; script-src 'none'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_only_reading_is_allowed(method: str) -> None:
    async with running() as (_, client):
        answer = await client.request(method, "/readyz")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_head_has_the_headers_alone() -> None:
    async with running() as (_, client):
        answer = await client.head("/metrics")
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) > 0
        assert answer.content == b""


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:9470", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("[::1]", 200),
        ("[::1]:9470", 200),
        ("127.0.0.1:", 200),
        ("evil.example", 421),
        ("evil.example:9470", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("localhost:80@evil.example", 421),
        ("::1", 421),
        ("", 421),
    ],
)
async def test_another_hosts_name_is_misdirected(host: str, status: int) -> None:
    async with running() as (site, _):
        request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        answer = await raw(site.port, request.encode())
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())


async def test_a_token_is_asked_for_everywhere_but_by_probes() -> None:
    async with running(token="s3cret-ü") as (_, client):
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        for path in ("/", "/static/page.css", "/metrics", "/healthz/", "/readyz/", "/nonsuch"):
            refused = await client.get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
        for value in (b"Bearer", b"Bearer s3cret", b"Basic s3cret-\xc3\xbc", b"s3cret", b"\xff"):
            answer = await client.get("/metrics", headers={b"Authorization": value})
            assert answer.status_code == 401
        right = {"Authorization": "bearer s3cret-ü".encode(), "Host": b"jobs.example"}
        assert (await client.get("/metrics", headers=right)).status_code == 200
        assert (await client.post("/metrics", headers=right)).status_code == 405


async def test_a_probe_without_the_token_hears_yes_or_no() -> None:
    async with running(token="s3cret") as (site, client):
        site.reasons = ["pool emails: no worker running (fatal)"]
        answer = await client.get("/readyz", headers={"Authorization": "Bearer wrong"})
        assert (answer.status_code, answer.json()) == (503, {"ready": False})
        answer = await client.get("/readyz", headers={"Authorization": "Bearer s3cret"})
        assert answer.json() == {"ready": False, "reasons": site.reasons}


async def test_a_request_without_end_is_cut_off() -> None:
    async with running() as (site, _):
        endless = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000
        with suppress(ConnectionError):  # it stops to read before we stop to write
            assert b" 400 " in await raw(site.port, endless)


async def test_it_stops_though_clients_linger() -> None:
    async with running() as (site, client):
        await client.get("/healthz")  # keeps its connection
        _, silent = await asyncio.open_connection("127.0.0.1", site.port)
        _, halfway = await asyncio.open_connection("127.0.0.1", site.port)
        halfway.write(b"GET / HTTP/1.1\r\nHost: local")
        await halfway.drain()
        started = time.monotonic()
    assert time.monotonic() - started < 10  # the bound of a hang; it takes about 0.3 s
    silent.close()
    halfway.close()


async def test_the_listener_survives_for_the_next_monitor() -> None:
    async with running() as (site, client):
        assert (await client.get("/healthz")).status_code == 200
        heir = site.listener.dup()
    again = asyncio.Event()
    async with asyncio.TaskGroup() as group, httpx.AsyncClient(base_url=site.url) as client:
        group.create_task(serve(site.app, heir, again))
        assert (await client.get("/healthz")).status_code == 200
        again.set()
