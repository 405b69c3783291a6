"""queued webhook: a test message to a real receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook as Verifier

from queued.cli.exits import Exit
from tests.receiver import Receiver, receiving
from tests.unit.commands import Application, application

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
app = pytest.fixture(application)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def configure(app: Application, webhook: str) -> None:
    app.configure(f"webhook: {webhook}\nqueues: {{default: }}")


def test_a_test_message_is_signed_and_says_that_it_is_one(
    app: Application, receiver: Receiver
) -> None:
    configure(app, f'{{url: "{receiver.url}", secret: "{SECRET}"}}')
    answer = app("webhook")
    assert answer.code == Exit.OK
    assert answer.out == "the receiver has taken a test message (HTTP 200)\n"
    [got] = receiver.received
    body = Verifier(SECRET).verify(got.body, got.headers)
    assert body["type"] == "alert.test"
    assert app("webhook", "--json").json == {"ok": True, "status": 200, "error": None}


def test_slack_gets_a_text(app: Application, receiver: Receiver) -> None:
    configure(app, f'{{url: "{receiver.url}", format: slack}}')
    assert app("webhook").code == Exit.OK
    [got] = receiver.received
    assert got.json["text"].startswith(":large_blue_circle: test on ")


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_the_receiver_says_is_told_and_it_is_asked_once(
    app: Application, receiver: Receiver, status: int
) -> None:
    receiver.answers = [status]
    configure(app, f'{{url: "{receiver.url}"}}')
    line = app("webhook").refused(Exit.PROBLEM)
    assert line == f"queued: the receiver answered HTTP {status}; is the url right?\n"
    assert len(receiver.received) == 1
    answer = app("webhook", "--json")
    assert answer.code == Exit.PROBLEM
    assert answer.json["status"] == status


def test_a_receiver_that_is_not_there(app: Application) -> None:
    configure(app, '{url: "http://127.0.0.1:1/hunter2"}')
    line = app("webhook").refused(Exit.PROBLEM)
    assert line == "queued: the receiver cannot be reached: Connection refused\n"
    assert "hunter2" not in app("webhook", "--json").out


def test_without_a_webhook_there_is_nothing_to_test(app: Application) -> None:
    assert "queue.yaml has no webhook" in app("webhook").refused(Exit.PROBLEM)
    configure(app, '{url: "${ALERTS:-}"}')
    assert "queue.yaml has no webhook" in app("webhook").refused(Exit.PROBLEM)
