"""The HTTP site against clients that mean harm: over a real socket, byte by byte."""

from __future__ import annotations

import asyncio
import html.parser
import logging
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.config.load import load
from queued.drivers.base import QueueStats
from queued.errors import ConfigError
from queued.web import server
from queued.web.guard import SECURITY_HEADERS
from queued.web.overview import Overview, PoolView, QueueView
from queued.web.page import render
from tests.security.fuzz import FUZZ, hostile_text, mutated
from tests.web.browser import visit
from tests.web.site import Site, running

PATHS = ["/", "/metrics", "/healthz", "/readyz", "/static/page.css", "/static/good.svg"]
GOOD = [
    f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n".encode()
    for path in PATHS
] + [
    b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
]


class Records(logging.Handler):
    """What is logged that has a traceback in it."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info or "Traceback" in text or record.levelno >= logging.ERROR:
            self.bad.append(f"{text} {record.exc_info}")


class Served:
    """The site, served by a thread."""

    def __init__(self) -> None:
        self.site: Site | None = None
        self.records = Records()
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._end: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with running() as (self.site, _):
            self._up.set()
            await self._end.wait()

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self.records)
        self._thread.start()
        assert self._up.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop
        assert self._end
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)
        logging.getLogger().removeHandler(self.records)

    def connect(self) -> socket.socket:
        assert self.site
        return socket.create_connection(("127.0.0.1", self.site.port), timeout=30)

    def ask(self, *pieces: bytes) -> bytes:
        """Send, say that nothing more comes, and return all that is answered."""
        with self.connect() as client:
            with suppress(OSError):  # it has hung up
                for piece in pieces:
                    client.sendall(piece)
                client.shutdown(socket.SHUT_WR)
            return everything(client)


def everything(client: socket.socket) -> bytes:
    """Read until the other side hangs up; TimeoutError: it hangs."""
    read = b""
    with suppress(ConnectionResetError):
        while data := client.recv(65_536):
            read += data
    return read


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as one:
        yield one


def judge(served: Served, answer: bytes) -> None:
    codes = [int(code) for code in re.findall(rb"(?m)^HTTP/1\.[01] (\d{3}) ", answer)]
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:200]
    assert all(code < 500 for code in codes), answer[:500]
    assert b"Traceback" not in answer
    assert served.records.bad == []


@FUZZ
@given(st.lists(mutated(GOOD) | st.sampled_from(GOOD), min_size=1, max_size=3))
def test_damaged_requests(served: Served, requests: list[bytes]) -> None:
    """Alone, and pipelined with whole ones."""
    judge(served, served.ask(b"".join(requests)))


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes(served: Served, data: bytes) -> None:
    judge(served, served.ask(data))


names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@FUZZ
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
    | names,
    st.sampled_from(PATHS) | names | hostile_text,
    st.dictionaries(
        st.sampled_from(
            [
                "Host",
                "Accept",
                "Accept-Encoding",
                "Authorization",
                "Origin",
                "Cookie",
                "Sec-Fetch-Site",
                "Content-Length",
                "Transfer-Encoding",
                "Range",
                "If-None-Match",
                "Connection",
                "X-Forwarded-For",
            ]
        )
        | names,
        st.sampled_from(["localhost", "gzip", "*/*", "Bearer x", "null", "1", "chunked", "close"])
        | hostile_text,
        max_size=5,
    ),
)
def test_any_method_path_and_headers(
    served: Served, method: str, path: str, headers: dict[str, str]
) -> None:
    lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
    text = "\r\n".join(lines) + "\r\n\r\n"
    judge(served, served.ask(text.encode(errors="surrogatepass")))


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 30_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" * 3 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n"
        + b"x" * 999,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nnonsense",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /static/..%2f..%2f..%2fetc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /static/../app.py HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /metrics%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_odd_requests(served: Served, request_: bytes) -> None:
    answer = served.ask(request_)
    judge(served, answer)
    assert b"root:" not in answer
    assert b"import " not in answer
    if answer:
        assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer[:200]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_can_be_changed(served: Served, method: str, path: str) -> None:
    """So there is nothing that another site's page could do in an operator's name (CSRF)."""
    answer = served.ask(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"access-control" not in answer.lower()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "",
        "[::2]",
        "localhost:80:80",
        "localhost@evil.example",
        "evil.example:9470",
        "localhost\t.evil",
    ],
)
def test_a_name_that_was_pointed_here_is_not_answered(served: Served, host: str) -> None:
    """DNS rebinding."""
    answer = served.ask(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert re.match(rb"HTTP/1\.1 4(21|00) ", answer), answer[:100]
    for header in SECURITY_HEADERS:
        assert header.lower().encode() in answer.lower() or answer.startswith(b"HTTP/1.1 400 ")


def test_who_never_finishes_is_hung_up_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent ones, and ones that send a byte now and then, in the head or in a body."""
    monkeypatch.setattr(server, "PATIENCE", 1.0)
    heads = {
        "silent": b"",
        "half a head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        "half a body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n",
        "half a second head": GOOD[2] + b"GET / HTTP/1.1\r\nX: ",
    }
    clients = {what: served.connect() for what in heads}
    for what, client in clients.items():
        client.sendall(heads[what])
        client.setblocking(False)
    deadline = time.monotonic() + 30
    while clients:
        assert time.monotonic() < deadline, f"still connected: {list(clients)}"
        for what, client in list(clients.items()):
            with suppress(BlockingIOError):
                try:
                    if what != "silent":
                        client.send(b"y")
                    hung_up = client.recv(65_536) == b""
                except (BrokenPipeError, ConnectionResetError):
                    hung_up = True
                if hung_up:
                    client.close()
                    del clients[what]
        time.sleep(0.05)
    monkeypatch.undo()  # who is served next may be slow within reason
    assert served.ask(GOOD[2]).startswith(b"HTTP/1.1 200 ")
    assert served.records.bad == []


# who may listen where


@pytest.mark.parametrize(
    "listen",
    ["0.0.0.0:9470", "[::]:9470", "192.0.2.1:9470", "[2001:db8::1]:9470", "[::ffff:0:0]:9470"],
)
def test_other_machines_need_a_token(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "queue.yaml"
    path.write_text(f'http: {{listen: "{listen}"}}\nqueues: {{default: }}')
    with pytest.raises(ConfigError, match="is open to other machines"):
        load(path, {})
    path.write_text(f'http: {{listen: "{listen}", token: {"t" * 20}}}\nqueues: {{default: }}')
    load(path, {})


@pytest.mark.parametrize(
    "listen",
    ["0:9470", "db.example:9470", "localhost.example:9470", "127.0.0.1.example:9470", "127.1:1"],
)
def test_what_a_name_leads_to_is_not_guessed(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "queue.yaml"
    path.write_text(f'http: {{listen: "{listen}", token: {"t" * 20}}}\nqueues: {{default: }}')
    with pytest.raises(ConfigError, match="expected an IP address, not a name"):
        load(path, {})


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "localhost:0", "[::1]:0", "127.8.9.10:0", ":0", "0"]
)
def test_this_machine_needs_none(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "queue.yaml"
    path.write_text(f'http: {{listen: "{listen}"}}\nqueues: {{default: }}')
    load(path, {})


# the page


class Tags(html.parser.HTMLParser):
    """What a browser would find besides text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag, tuple(name for name, _ in attrs)] += 1


def page_of(text: str) -> str:
    stats = QueueStats(ready=1, scheduled=0, reserved=0, failed=1, oldest_ready_age_seconds=9.0)
    pool = PoolView(
        name=text, state=text, running=0, desired=1, busy=0, slots=1, memory=1, exits={text: 1}
    )
    overview = Overview(
        backend=text,
        backend_up=True,
        backend_since=0.0,
        fleet_age=0.0,
        sample_age=0.0,
        config_ok=True,
        pools=[pool],
        queues=[QueueView(name=text, stats=stats, max_wait=1.0)],
    )
    return render(overview, [text], 0.0)


@FUZZ
@given(hostile_text)
def test_no_text_becomes_markup(text: str) -> None:
    assert Tags(page_of(text)).seen == Tags(page_of("x")).seen


XSS = (
    "\"'><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\"><!--"
)


async def test_a_browser_runs_nothing_that_a_name_says(tmp_path: Path) -> None:
    async with running() as (site, _):
        site.reasons.append(XSS)
        seen = await visit(site.url, tmp_path)
    assert "pwned</title>" not in seen.dom
    assert "<script" not in seen.dom
    assert "&lt;script&gt;" in seen.dom
    assert seen.console == []
