"""Encryption: only who has a key reads a job, and nothing shows what is in it."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

import pytest
import structlog

from queued.daemon import logs
from queued.daemon.spec import LogSpec
from queued.drivers.base import Charge, Fail, NewJob
from queued.errors import CorruptPayload, EncryptionError, InvalidJob, JobDefinitionError
from queued.jobs import encryption
from queued.jobs.header import header_of
from queued.jobs.job import Job
from queued.jobs.payload import adopt, body_text, decode, encode, job_name, pack, prepare
from queued.jobs.trace_context import TraceContext
from queued.jobs.veil import Veil
from queued.policy import Policy, generate_key
from tests.unit.working import QUEUE, Shop, until_async

OLD, NEW = generate_key(), generate_key()
CARD = "4111-secret-1111"


class Pay(Job):
    name = "encryption.pay"
    queue = QUEUE
    max_tries = 2
    encrypt = True
    card: str
    pin: int = 9731
    kind: Literal["visa", "other"] = "visa"

    async def handle(self) -> None:
        seen.append(self.card)
        if self.pin == 4242:
            structlog.get_logger().info("paying", card=self.card, all={"of": [self, self.pin]})
            logging.getLogger("app").warning("pin %s of %r", self.pin, self.card)
            raise RuntimeError(f"refused: {self.card!r} with {self.pin}")

    async def failed(self, exception: Exception) -> None:
        seen.append(f"failed {self.card}")
        raise LookupError(self.card)


class Plain(Job):
    name = "encryption.plain"
    queue = QUEUE
    encrypt = True

    def __init__(self) -> None:
        super().__init__()
        self.card = ""

    def handle(self) -> None:
        seen.append(self.card)
        logging.getLogger("app").warning("in a thread: %s", self.card)


seen: list[str] = []


@pytest.fixture(autouse=True)
def _policy() -> Iterator[None]:
    seen.clear()
    adopt(Policy(encryption=(NEW, OLD)))
    yield
    adopt(None)


def pay(**values: Any) -> Pay:
    return Pay(card=CARD, **values)


def test_the_class_stands_in_clear_and_nothing_else() -> None:
    stored = encode(pay())
    header, _, body = stored.partition(b"\n")

    assert json.loads(header) == {"v": 1, "job": "encryption.pay", "enc": 1}
    assert job_name(stored) == "encryption.pay"
    assert header_of(header).encrypted
    assert b"secret" not in stored
    assert b"visa" not in stored
    assert b"\n" not in body
    job = decode(stored)
    assert (job.card, job.pin, job.kind) == (CARD, 9731, "visa")
    assert encode(pay()) != stored


def test_a_job_in_routemqs_style_is_encrypted_too() -> None:
    job = Plain()
    job.card = CARD
    stored = encode(job)

    assert b"secret" not in stored
    assert decode(stored).card == CARD


def test_keys_are_rotated_new_first_then_the_old_one_goes() -> None:
    adopt(Policy(encryption=(OLD,)))
    before = encode(pay())
    adopt(Policy(encryption=(NEW, OLD)))
    after = encode(pay())
    assert decode(before).card == decode(after).card == CARD
    adopt(Policy(encryption=(NEW,)))
    assert decode(after).card == CARD
    with pytest.raises(EncryptionError, match="cannot be decrypted with the key"):
        decode(before)


def test_without_a_key_nothing_is_dispatched() -> None:
    adopt(Policy())
    with pytest.raises(EncryptionError, match="QUEUED_ENCRYPTION_KEYS") as caught:
        encode(pay())
    assert caught.value.reason == "no_key"
    assert CARD not in str(caught.value)


def test_one_classs_data_is_no_others() -> None:
    header = encode(Plain()).partition(b"\n")[0]
    body = encode(pay()).partition(b"\n")[2]
    with pytest.raises(EncryptionError, match="for another class") as caught:
        decode(header + b"\n" + body)
    assert caught.value.reason == "wrong_key"


@pytest.mark.parametrize("body", [b"", b"{}", b"gAAAAA", b"\xff\xfe", b"a\nb"])
def test_what_is_no_token_is_refused(body: bytes) -> None:
    with pytest.raises(EncryptionError):
        decode(b'{"v":1,"job":"encryption.pay","enc":1}\n' + body)


def test_jobs_that_were_dispatched_before_the_class_encrypted_are_read() -> None:
    stored = json.dumps({"card": CARD}).encode()
    assert decode(b'{"v":1,"job":"encryption.pay"}\n' + stored).card == CARD


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    monkeypatch.delitem(sys.modules, encryption.__name__)

    class Needs(Pay):
        name = "encryption.needs"

    with pytest.raises(JobDefinitionError, match=r"pip install 'queued\[crypto\]'"):
        prepare(Needs)


def test_the_setting_is_yes_or_no() -> None:
    with pytest.raises(JobDefinitionError, match=r"Wrong\.encrypt: expected True or False"):
        type("Wrong", (Job,), {"encrypt": "yes"})


# nothing shows it


def test_people_see_that_it_is_encrypted() -> None:
    stored = encode(pay())

    assert body_text(stored).startswith("(encrypted, ")
    assert body_text(stored, reveal=True).startswith("(encrypted, ")
    assert repr(pay()) == "Pay(card=***, pin=***, kind=***)"


@pytest.mark.parametrize(
    "values",
    [{"kind": CARD}, {"pin": CARD}, {"pin": [CARD]}, {"card": {CARD: CARD}}],
)
def test_an_error_of_a_value_shows_none(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob) as caught:
        encode(Pay(**{"card": CARD, **values}))
    assert CARD not in str(caught.value)
    assert f"Pay.{next(iter(values))}" in str(caught.value)
    stored = json.dumps({"card": CARD, **values}).encode()
    with pytest.raises(CorruptPayload) as corrupt:
        decode(b'{"v":1,"job":"encryption.pay"}\n' + stored)
    assert CARD not in str(corrupt.value)


def veil(**values: Any) -> Veil:
    return Veil(json.dumps(values, default=str).encode(), lambda _: values)


def test_a_veil_hides_each_value_in_every_form() -> None:
    hide = veil(
        name='O\'Brien "the\tsecond"',
        city="Köln",
        amount=Decimal("12.50"),
        day=dt.date(2026, 11, 27),
        deep={"answer-key": [b"raw-bytes", 65_537]},
        pin="973",
        yes=True,
        small=1,
    )
    for text in (
        'O\'Brien "the\tsecond"',
        repr('O\'Brien "the\tsecond"'),
        json.dumps("Köln"),
        "Köln",
        "12.50",
        "datetime.date(2026, 11, 27)",
        "2026-11-27",
        "answer-key",
        "raw-bytes",
        "65537",
        "pin=973.",
    ):
        shown = hide(f"before {text} after")
        assert shown.startswith("before ")
        assert shown.endswith(" after")
        assert "***" in shown
        assert not {"Brien", "ln", "12.50", "27", "raw", "answer", "537", "973"} & set(
            shown.replace("***", " ").split()
        )
    assert hide("1 is True, and 19734 is another number") == (
        "1 is True, and 19734 is another number"
    )


def test_of_too_many_values_the_whole_text_is_hidden() -> None:
    hide = veil(many=[f"value {number}" for number in range(1_000)])
    assert hide("anything") == "(hidden: the job is encrypted)"

    def broken(_: bytes) -> dict[str, Any]:
        raise ValueError

    assert Veil(b"{}", broken)("anything") == "(hidden: the job is encrypted)"


async def test_a_failure_shows_nothing_of_it(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSpec(level="debug", format="json", jobs="all"))
    job = Plain()
    job.card = CARD
    [job_id, _] = await shop.push(pay(pin=4242), job)
    await shop.clear()

    assert seen.count(CARD) == 3
    assert f"failed {CARD}" in seen
    info = await shop.driver.find(job_id)
    assert info
    assert info.failed
    said = capfd.readouterr().err
    for text in (info.failed.record.decode(), info.history.decode(), said):
        assert CARD not in text
        assert "4242" not in text
        assert "***" in text
    assert "refused: " in said
    assert "in a thread: ***" in said
    events = [json.loads(line)["event"] for line in said.splitlines() if line.startswith("{")]
    assert {"job.retried", "job.failed", "hook.failed", "paying"} <= set(events)
    record = json.loads(info.failed.record)
    assert record["type"] == "builtins.RuntimeError"
    assert "raise RuntimeError" in record["traceback"]


async def test_without_its_key_a_job_waits_among_the_failed_ones_uncharged(shop: Shop) -> None:
    adopt(Policy(encryption=(OLD,)))
    [job_id] = await shop.push(pay())
    for policy, reason in ((Policy(), "no_key"), (Policy(encryption=(NEW,)), "wrong_key")):
        adopt(policy)
        await shop.clear()
        [failed] = await shop.driver.failed(QUEUE)
        record = json.loads(failed.record)
        assert (record["reason"], failed.counts.tries) == (reason, 0)
        assert "EncryptionError: encryption.pay" in record["error"]
        assert not failed.hook_pending
        assert await shop.driver.requeue(QUEUE, [job_id]) == [True]
    adopt(Policy(encryption=(NEW, OLD)))
    await shop.clear()
    assert seen == [CARD]
    assert await shop.driver.failed(QUEUE) == []


async def test_a_hook_that_another_worker_runs_gets_the_fields(shop: Shop) -> None:
    await shop.push(pay())
    [held] = (await shop.driver.exchange(QUEUE, "a-b-tests.9-9", want=1, nonce=1)).jobs
    fail = Fail(held.id, held.fence, Charge.ERROR, b'{"error":"x","type":"x"}', b"", 0.0)
    await shop.driver.exchange(QUEUE, "a-b-tests.9-9", [fail])
    async with shop.open():

        async def ran() -> bool:
            return bool(seen)

        await until_async(ran, "the hook")
    assert seen == [f"failed {CARD}"]


async def test_it_is_traced_and_signed_like_others(shop: Shop) -> None:
    adopt(Policy(encryption=(NEW,), signing=(OLD,)))
    trace = TraceContext(f"00-{'4b' * 16}-{'f0' * 8}-01")
    new = trace.in_job(NewJob("id-1", pack(pay(), QUEUE, "id-1")))
    await shop.driver.enqueue(QUEUE, [new])
    await shop.clear()

    assert seen == [CARD]
    assert await shop.driver.failed(QUEUE) == []
