"""The rules on job classes: what each finds, and what it lets be."""

from __future__ import annotations

import pytest

from queued.jobs.checks.subject import PoolTimeout
from tests.unit.checking import Checker, checker, of, rules

check = pytest.fixture(checker)

JOB = """
{head}
class SendInvoice(Job):
    timeout = 30
    {body}
    async def handle(self): {handle}
    async def failed(self, exception): ...
"""
FIELDS = [
    # annotation and what is expected of it
    ("password: str", "secret-field"),
    ("api_key: str | None = None", "secret-field"),
    ("session_id: int", "secret-field"),
    ("card_number: str", "secret-field"),
    ("code: SecretStr", "secret-field"),
    ("_password: str = ''", None),
    ("has_password: bool = False", None),
    ("tokens: int = 0", None),
    ("token_id: str", None),
    ("password_changed_at: datetime", None),
    ("author: str", None),
    ("scan: bytes", "large-payload"),
    ("scan: bytes | None = None", "large-payload"),
    ("scans: list[bytes]", "large-payload"),
    ("scan: Annotated[bytes, Field(max_length=100)]", None),
    ("scan: Annotated[bytes, Field(max_length=10_000_000)]", "large-payload"),
    ("scan: bytes = Field(max_length=100)", None),
    ("orders: list[dict]", "large-payload"),
    ("orders: list[dict[str, int]] = []", "large-payload"),
    ("orders: Sequence[Order]", "large-payload"),
    ("orders: list[Order] | None = None", "large-payload"),
    ("orders: Annotated[list[Order], Field(max_length=10)]", None),
    ("max_payload = '64KiB'; scan: bytes", None),
    ("max_payload = '65KiB'; scan: bytes", "large-payload"),
    ("orders: tuple[Order, ...]", "large-payload"),
    ("orders: tuple[Order, Order]", None),
    ("order: Order", None),
    ("ids: list[int]", None),
    ("names: dict[str, str]", None),
    ("call: Callable[[], None]", "unserialisable-field"),
    ("kind: type", "unserialisable-field"),
    ("lines: Iterator[str]", "unserialisable-field"),
    ("when: datetime", None),
    ("amount: Decimal", None),
]
IMPORTS = """
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from pydantic import Field, SecretStr
@dataclass
class Order:
    id: int
"""


@pytest.mark.parametrize(("field", "rule"), FIELDS, ids=[field for field, _ in FIELDS])
def test_fields(check: Checker, field: str, rule: str | None) -> None:
    found = check(JOB.format(head=IMPORTS, body=field, handle="..."))
    assert rules(found) == ({rule} if rule else set())


UNTYPED = [
    ("self.password = None", "secret-field"),
    ("self.api_token = None", "secret-field"),
    ("self._password = None", None),
    ("self.order_data = None", "large-payload"),
    ("self.order_id = None", None),
    ("self.metadata = {}", None),
    ("self.callback = lambda: 1", "unserialisable-field"),
    ("self.lock = threading.Lock()", "unserialisable-field"),
    ("self.seen = set()", "unserialisable-field"),
    ("self.file = open('x')", "unserialisable-field"),
    ("self.at = datetime.now()", "unserialisable-field"),
    ("self.at = datetime.now().isoformat()", None),
    ("self.items = []", None),
]


@pytest.mark.parametrize(("line", "rule"), UNTYPED, ids=[line for line, _ in UNTYPED])
def test_attributes_of_a_class_with_an_init(check: Checker, line: str, rule: str | None) -> None:
    init = f"def __init__(self): super().__init__(); {line}"
    head = "import threading\nfrom datetime import datetime"
    found = check(JOB.format(head=head, body=init, handle="..."))
    assert rules(found) == ({rule} if rule else set())


def test_a_secret_that_is_only_read(check: Checker) -> None:
    source = JOB.format(head="", body="", handle="print(self.password, self.user_id)")
    assert rules(check(source)) == {"secret-field"}
    assert not rules(check(JOB.format(head="", body="user_id: int", handle="self.user_id")))


def test_encrypted_fields_may_be_secret(check: Checker) -> None:
    assert not rules(check(JOB.format(head="", body="encrypt = True; password: str", handle="...")))


def test_a_type_without_json_is_an_error_of_the_class(check: Checker) -> None:
    head = "class Socket: ..."
    found = check(JOB.format(head=head, body="link: Socket", handle="..."))
    [finding] = of(found, "unserialisable-field")
    assert finding.level == "error"
    assert "SendInvoice: a field has a type that has no JSON" in finding.reason
    assert finding.line == 4


@pytest.mark.parametrize(
    "name",
    ["Job1", "ProcessJob", "DoStuff", "DoStuffJob", "Task", "RunTask2", "J", "Test", "HandleIt"],
)
def test_vague_names(check: Checker, name: str) -> None:
    source = JOB.format(head="", body="", handle="...").replace("SendInvoice", name)
    assert rules(check(source)) == {"vague-name"}


@pytest.mark.parametrize(
    "name",
    ["SendPasswordResetEmailJob", "ProcessIoTSensorDataJob", "EmailJob", "DataProcessingJob",
     "ProcessOrders", "CleanupJob", "Greet", "RunBackup", "HTTPProbe"],
)  # fmt: skip
def test_names_that_say_something(check: Checker, name: str) -> None:
    assert not rules(check(JOB.format(head="", body="", handle="...").replace("SendInvoice", name)))


@pytest.mark.parametrize(
    ("own", "pool", "rule"),
    [
        ("timeout = 30", PoolTimeout(60, None), None),
        ("timeout = '10m'", PoolTimeout(60, None), None),
        ("timeout = '11m'", PoolTimeout(60, None), "long-timeout"),
        ("timeout = 0", PoolTimeout(60, "defaults.timeout"), "no-timeout"),
        ("", PoolTimeout(60, "defaults.timeout"), None),
        ("", PoolTimeout(60, None), "no-timeout"),
        ("", PoolTimeout(None, "queues.emails.timeout"), "no-timeout"),
        ("", PoolTimeout(3600, "queues.emails.timeout"), "long-timeout"),
        ("timeout = 60", PoolTimeout(3600, "queues.emails.timeout"), None),
    ],
)
def test_timeouts(check: Checker, own: str, pool: PoolTimeout, rule: str | None) -> None:
    source = JOB.format(head="", body="", handle="...").replace("timeout = 30", own)
    found = check(source, pool)
    assert rules(found) == ({rule} if rule else set())
    for finding in found.findings():
        assert finding.line == (5 if own else 4)


def test_a_job_without_failed(check: Checker) -> None:
    found = check("""
        class SendInvoice(Job):
            async def handle(self): ...
        class Careful(Job):
            async def failed(self, exception): ...
        class PayInvoice(Careful):
            async def handle(self): ...
        """)
    assert [one.line for one in of(found, "no-failed")] == [3]


STATE = [
    ("cache = {}", "...", "class-state"),
    ("seen = set()", "...", "class-state"),
    ("by_name = collections.defaultdict(list)", "...", "class-state"),
    ("counter = 0", "self.counter += 1", "class-state"),
    ("counter = 0", "type(self).counter += 1", "class-state"),
    ("counter = 0", "SendInvoice.counter = 1", "class-state"),
    ("NAMES = {1: 'one'}", "self.NAMES[2] = 'two'", "class-state"),
    ("names: ClassVar[list] = []", "self.names.append(1)", "class-state"),
    ("NAMES = {1: 'one'}", "print(self.NAMES)", None),
    ("names: ClassVar[list] = []", "...", None),
    ("rate = 1.2", "print(self.rate)", None),
    ("state = 'new'", "self.state = 'done'", None),
    ("backoff = [1, 2]", "...", None),
    ("rows: list[int] = []", "self.rows.append(1)", None),
    ("", "self.own = []", None),
    ("", "SEEN.append(1)", "module-state"),
    ("", "SEEN[0] = 1", "module-state"),
    ("", "global COUNT; COUNT += 1", "module-state"),
    ("", "print(SEEN, COUNT)", None),
    ("", "SEEN = []; SEEN.append(1)", None),
]


@pytest.mark.parametrize(("body", "handle", "rule"), STATE)
def test_state(check: Checker, body: str, handle: str, rule: str | None) -> None:
    head = "import collections\nfrom typing import ClassVar\nSEEN = []\nCOUNT = 0"
    found = check(JOB.format(head=head, body=body, handle=handle))
    assert rules(found) == ({rule} if rule else set())


DISPATCH = [
    ("", "await dispatch(self)"),
    ("", "await queue.push(self)"),
    ("", "await queue.later(5, self)"),
    ("", "await queue.bulk([self])"),
    ("", "queue.sync.push(self)"),
    ("from queued import chain", "await chain([self]).dispatch()"),
    ("from queued import batch", "await batch([self]).then(self).dispatch()"),
    ("", "queue.within(self.session).push(self)"),
    ("import queued", "await queued.dispatch(self)"),
    ("from queued import dispatch as send", "await send(self)"),
    ("from queued import Queue\nmine = Queue()", "await mine.push(self)"),
    ("async def follow(job): await dispatch(job)", "await follow(self)"),
    ("from queued import chain", "await chain([self]).dispatch()"),
    ("from queued import batch", "await batch([self]).then(self).catch(self).dispatch()"),
    ("from queued import chain", "await dispatch(chain([self]))"),
]


@pytest.mark.parametrize(("head", "handle"), DISPATCH)
def test_a_dispatch_in_handle(check: Checker, head: str, handle: str) -> None:
    found = check(JOB.format(head=head, body="", handle=handle))
    assert rules(found) == {"dispatch-in-handle"}
    plain = JOB.format(head="", body="", handle="queue.sync.push(self)").replace("async ", "")
    assert rules(check(plain)) == {"dispatch-in-handle"}


def test_a_dispatch_elsewhere(check: Checker) -> None:
    found = check("""
        class Basket:
            def push(self, item): ...
        basket = Basket()
        class SendInvoice(Job):
            async def handle(self):
                basket.push(1)
                await dispatch(self, id=f"after-{self.job_id}")
                await queue.bulk([self], ids=["a"])
            async def failed(self, exception): await dispatch(self)
        async def order(): await dispatch(SendInvoice())
        """)
    assert not rules(found)


def test_a_loop_that_dispatches(check: Checker) -> None:
    found = check("""
        class SendInvoice(Job):
            user: int
            async def handle(self): ...
            async def failed(self, exception): ...
        async def one_by_one(users):
            for user in users:
                if user:
                    await dispatch(SendInvoice(user=user))
        class Shop:
            def close(self, users):
                for user in users:
                    queue.sync.push(SendInvoice(user=user))
        async def all_at_once(users):
            jobs = []
            for user in users:
                jobs.append(SendInvoice(user=user))
            await queue.bulk(jobs)
        async def serve(requests):
            async for request in requests:
                await dispatch(SendInvoice(user=request))
        """)
    assert rules(found) == {"dispatch-in-loop"}
    assert sorted(one.line for one in found.findings()) == [10, 14]


def test_one_job_that_does_everything(check: Checker) -> None:
    steps = "\n        ".join(f"await step{n}()" for n in range(4))
    head = "\n".join(f"async def step{n}(): ..." for n in range(4))
    source = JOB.format(head=head, body="", handle="\n        " + steps)
    assert rules(check(source)) == {"unfocused"}
    fewer = source.replace("await step0()", "...")
    assert not rules(check(fewer))
    related = source.replace("await step0()", "user = await step0()")
    assert not rules(check(related))


@pytest.mark.parametrize(
    ("statement", "is_found"),
    [
        ("UPDATE users SET score = score + 10 WHERE id = ?", True),
        ("update users set seen = now(), score=score-1", True),
        ("UPDATE users u SET score = u.score * 2", True),
        ("UPDATE users SET score = ? WHERE id = ?", False),
        ("UPDATE users SET score = base + 10", False),
        ("SELECT score + 10 FROM users", False),
    ],
)
def test_statements_that_add_up(check: Checker, statement: str, is_found: bool) -> None:
    found = check(JOB.format(head="", body="", handle=f"self.run({statement!r})"))
    assert rules(found) == ({"not-idempotent"} if is_found else set())
