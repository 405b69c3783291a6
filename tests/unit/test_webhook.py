"""Notices get to a real receiver, once, in order, and whatever it does holds nothing else up."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError
from structlog.testing import capture_logs

from queued.daemon.monitor.alerts import webhook as webhook_module
from queued.daemon.monitor.alerts.episodes import OPENED, RESOLVED, Notice
from queued.daemon.monitor.alerts.post import Poster, PostFailed
from queued.daemon.monitor.alerts.webhook import MOST, Webhook
from queued.daemon.spec import WebhookSpec
from tests.receiver import DRIP, HANG, Receiver, receiving
from tests.tools import required

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def notice(kind: str = OPENED, number: int = 1, at: float | None = None) -> Notice:
    now = time.time() if at is None else at
    return Notice(
        id=f"msg_{number}",
        type=kind,
        at=now,
        episode="ep_1",
        alert="queue.failing",
        subject="emails",
        message="queue emails: <b>40 %</b> & more of 50 runs failed",
        value=0.4,
        threshold=0.05,
        opened_at=now,
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,host.invalid")
    monkeypatch.setattr(webhook_module, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(webhook_module, "LONGEST_RETRY", 0.05)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a thread of the receiver's makes it true
            await asyncio.sleep(0.005)


class Sending:
    """A webhook that runs, and what it has logged."""

    def __init__(self, url: str, *, outbox: list[Notice] | None = None, **spec: Any) -> None:
        self.changes = 0
        self.webhook = Webhook(WebhookSpec(url=url, **spec), outbox or [], self._changed)
        self.logged: list[dict[str, Any]] = []

    def _changed(self) -> None:
        self.changes += 1

    async def __aenter__(self) -> Self:
        self._logs = capture_logs()
        self.logged = self._logs.__enter__()
        self._task = asyncio.create_task(self.webhook.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._logs.__exit__(None, None, None)

    async def until_empty(self) -> None:
        await until(lambda: not self.webhook.outbox)

    def said(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.logged if one["event"] == event]


@pytest.fixture
async def sending(receiver: Receiver) -> AsyncIterator[Sending]:
    async with Sending(receiver.url, secret=SECRET) as sending:
        yield sending


async def test_it_is_posted_as_json_and_signed(receiver: Receiver, sending: Sending) -> None:
    sending.webhook.put(notice(at=1_700_000_000.25))
    await sending.until_empty()
    [got] = receiver.received
    assert got.path == "/services/T000/B000/hunter2"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("queued/")
    # the reference implementation of Standard Webhooks
    body = Verifier(SECRET).verify(got.body, got.headers)
    data = body.pop("data")
    assert body == {"type": "alert.opened", "timestamp": "2023-11-14T22:13:20.250Z"}
    assert data.pop("host")
    assert data == {
        "alert": "queue.failing",
        "subject": "emails",
        "message": "queue emails: <b>40 %</b> & more of 50 runs failed",
        "value": 0.4,
        "threshold": 0.05,
        "episode": "ep_1",
        "opened_at": "2023-11-14T22:13:20.250Z",
    }
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(got.body.replace(b"0.4", b"0.5"), got.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(got.body, got.headers | {"webhook-id": "msg_2"})
    assert sending.said("webhook.delivered")
    assert sending.changes == 1


async def test_the_page_shows_how_to_verify(receiver: Receiver, sending: Sending) -> None:
    sending.webhook.put(notice())
    await sending.until_empty()
    [got] = receiver.received
    page = (Path(__file__).parents[2] / "docs" / "webhook.md").read_text()
    [snippet] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    shown: dict[str, Any] = {}
    exec(snippet, shown)
    is_from_queued = shown["is_from_queued"]
    assert is_from_queued(SECRET, got.headers, got.body)
    assert not is_from_queued(SECRET, got.headers, got.body + b" ")
    assert not is_from_queued(SECRET, got.headers | {"webhook-timestamp": "1"}, got.body)
    assert not is_from_queued("whsec_" + "A" * 32, got.headers, got.body)


async def test_without_a_secret_there_is_no_signature(receiver: Receiver) -> None:
    async with Sending(receiver.url) as sending:
        sending.webhook.put(notice())
        await sending.until_empty()
    assert "webhook-signature" not in receiver.received[0].headers


async def test_slack_gets_a_text(receiver: Receiver) -> None:
    async with Sending(receiver.url, format="slack") as sending:
        sending.webhook.put(notice())
        sending.webhook.put(notice(RESOLVED, 2))
        await sending.until_empty()
    opened, resolved = (one.json for one in receiver.received)
    assert list(opened) == ["text"]
    assert opened["text"].startswith(":red_circle: queue.failing opened on ")
    assert opened["text"].endswith(
        ": queue emails: &lt;b&gt;40 %&lt;/b&gt; &amp; more of 50 runs failed"
    )
    assert resolved["text"].startswith(":large_green_circle: queue.failing resolved on ")


@pytest.mark.parametrize("status", [500, 502, 503, 408, 425, 429])
async def test_what_passes_is_tried_again_under_the_same_id(
    receiver: Receiver, sending: Sending, status: int
) -> None:
    receiver.answers = [status, status, 204]
    sending.webhook.put(notice())
    await sending.until_empty()
    assert receiver.ids == ["msg_1"] * 3
    assert all(Verifier(SECRET).verify(one.body, one.headers) for one in receiver.received)
    [failing] = sending.said("webhook.failing")  # once, however many tries it takes
    assert failing["error"] == f"HTTP {status}"
    [delivered] = sending.said("webhook.delivered")
    assert delivered["tries"] >= 3  # on a busy machine one may have got nowhere


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_what_is_refused_is_not_tried_again(
    receiver: Receiver, sending: Sending, status: int
) -> None:
    receiver.answers = [status, 200]
    sending.webhook.put(notice())
    sending.webhook.put(notice(number=2))
    await sending.until_empty()
    assert receiver.ids == ["msg_1", "msg_2"]
    [refused] = sending.said("webhook.refused")
    assert refused["error"] == f"HTTP {status}"
    assert refused["log_level"] == "error"


async def test_a_redirect_is_not_followed(receiver: Receiver, sending: Sending) -> None:
    receiver.answers = [(307, {"Location": receiver.url + "/elsewhere"}), 200]
    sending.webhook.put(notice())
    await sending.until_empty()
    assert len(receiver.received) == 1
    assert sending.said("webhook.refused")[0]["error"] == "HTTP 307"


async def test_the_receiver_says_when(
    receiver: Receiver, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_module, "GIVE_UP_AFTER", 100.0)
    receiver.answers = [(429, {"Retry-After": "200"})]
    sending.webhook.put(notice())
    await sending.until_empty()  # it would be later than it makes sense
    assert len(receiver.received) == 1
    assert sending.said("webhook.given_up")


async def test_it_is_given_up_when_it_is_no_news_any_more(
    receiver: Receiver, sending: Sending
) -> None:
    receiver.answers = [500]
    sending.webhook.put(notice(at=time.time() - 7_200))
    await sending.until_empty()
    assert len(receiver.received) == 1  # one try it has all the same
    [said] = sending.said("webhook.given_up")
    assert (said["error"], said["tries"], said["log_level"]) == ("HTTP 500", 1, "error")


@pytest.mark.parametrize("answer", [HANG, DRIP])
async def test_a_receiver_that_hangs_costs_one_thread(answer: str, receiver: Receiver) -> None:
    receiver.answers = [answer]
    poster = Poster(receiver.url, 0.2)
    with pytest.raises(PostFailed, match=r"no answer within 0\.2 s|timed out"):
        await poster.post(b"{}", {})
    if answer == DRIP:  # it cannot be stopped from here, and no other is begun beside it
        with pytest.raises(PostFailed, match="still hangs"):
            await poster.post(b"{}", {})
        assert len(receiver.received) <= 1


async def test_it_goes_on_when_the_receiver_does(receiver: Receiver) -> None:
    receiver.answers = [HANG, HANG, 200]
    async with Sending(receiver.url, timeout=0.1) as sending:
        sending.webhook.put(notice())
        await sending.until_empty()
    assert set(receiver.ids) == {"msg_1"}
    assert len(receiver.received) >= 3  # on a loaded machine the third answer may be late, too


async def test_nobody_waits_for_it(receiver: Receiver) -> None:
    receiver.answers = [HANG]
    async with Sending(receiver.url) as sending:
        for number in range(MOST + 50):
            sending.webhook.put(notice(number=number))
            if number == 0:
                await until(lambda: receiver.received)
        waiting = [one.id for one in sending.webhook.outbox]
        assert len(waiting) == MOST
        assert waiting[:2] == ["msg_0", "msg_51"]  # the first is under way; then the oldest go
        assert waiting[-1] == f"msg_{MOST + 49}"
        assert len(sending.said("webhook.dropped")) == 50


async def test_what_the_monitor_before_has_left_goes_first(receiver: Receiver) -> None:
    async with Sending(receiver.url, outbox=[notice(number=1), notice(number=2)]) as sending:
        sending.webhook.put(notice(number=3))
        await sending.until_empty()
    assert receiver.ids == ["msg_1", "msg_2", "msg_3"]


async def test_no_error_shows_the_url(receiver: Receiver) -> None:
    port = receiver.port
    wrong = [
        "http://127.0.0.1:1/services/hunter2",
        f"https://127.0.0.1:{port}/services/hunter2",
        "http://host.invalid/services/hunter2",
        f"http://127.0.0.1:{port}/services/hunter2 with space",
        f"http://127.0.0.1:{port}/\x00hunter2",
        "http://[hunter2/",
    ]
    for url in wrong:
        with pytest.raises(PostFailed) as caught:
            await Poster(url, 5.0).post(b"{}", {})
        assert str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert "hunter2" not in repr(WebhookSpec(url="https://h/hunter2", secret="hunter2"))
    assert receiver.received == []


async def test_a_proxy_is_heeded(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.port}")
    monkeypatch.setenv("NO_PROXY", "")
    assert (await Poster("http://host.invalid/x", 5.0).post(b"{}", {})).status == 200
    assert receiver.received[0].path == "http://host.invalid/x"


async def test_a_certificate_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    openssl = required("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    wanted = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = [openssl, "req", "-x509", *wanted, *name]
    subprocess.run(make, check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with receiving(tls) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/"
        with pytest.raises(PostFailed, match="certificate is not trusted: self-signed"):
            await Poster(url, 10.0).post(b"{}", {})
        assert receiver.received == []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(certificate))
            assert (await Poster(url, 10.0).post(b"{}", {})).status == 200
