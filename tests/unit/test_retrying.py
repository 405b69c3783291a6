"""For which errors there is a further try, and RouteMQ's way to say how long it waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from queued.drivers import base
from queued.errors import JobDefinitionError, JobTimeout
from queued.jobs.job import Job
from queued.jobs.limits import PoolLimits, resolve
from queued.jobs.outcome import Fail, Outcome, Retry, decide
from tests.unit.working import Shop

RESERVATION = base.Reservation(
    "id-1", b'{"v":1,"job":"x"}\n{}', 7, enqueued_at=1.0, ready_at=1.0, reserved_at=1.0
)


@pytest.fixture
def shop() -> Iterator[Shop]:
    one = Shop()
    yield one
    one.close()


class Plain(Job):
    async def handle(self) -> None: ...


class Picky(Plain):
    retry_on = (OSError, ValueError)
    give_up_on = FileNotFoundError


class Patient(Plain):
    give_up_on = (TimeoutError, KeyError)


def reason(cls: type[Job], error: BaseException | None, *, timed_out: bool = False) -> str | None:
    """Return why there is no further try."""
    decision = decide(
        RESERVATION,
        error,
        resolve(cls),
        worker="w/1",
        hook=False,
        now=1.0,
        timed_out=timed_out,
    )
    settlement = decision.settlement
    if isinstance(settlement, base.Retry):
        return None
    assert isinstance(settlement, base.Fail)
    assert decision.outcome is (Outcome.TIMED_OUT if timed_out else Outcome.FAILED)
    return str(json.loads(settlement.record)["reason"])


@pytest.mark.parametrize(
    ("cls", "error", "expected"),
    [
        (Plain, KeyError("x"), None),
        (Picky, ConnectionError("away"), None),
        (Picky, UnicodeError("a subclass of ValueError"), None),
        (Picky, KeyError("x"), "retry_on"),
        (Picky, FileNotFoundError("x"), "give_up_on"),
        (Picky, SystemExit(1), "retry_on"),
        (Picky, ExceptionGroup("several", [OSError()]), "retry_on"),
        (Patient, OSError("x"), None),
        (Patient, KeyError("x"), "give_up_on"),
        (Picky, Retry("asked for"), None),
        (Picky, Fail("no more"), "fail"),
    ],
)
def test_what_the_class_says_of_an_error(
    cls: type[Job], error: BaseException, expected: str | None
) -> None:
    assert reason(cls, error) == expected


@pytest.mark.parametrize(
    ("cls", "expected", "tries"),
    [(Plain, None, 3), (Picky, None, 3), (Patient, "give_up_on", 1)],
)
def test_a_timeout_is_a_timeout_error_and_so_an_os_error(
    cls: type[Job], expected: str | None, tries: int
) -> None:
    assert reason(cls, JobTimeout("too long"), timed_out=True) == expected
    assert reason(cls, None, timed_out=True) == expected
    assert reason(cls, KeyboardInterrupt(), timed_out=True) == expected
    assert resolve(cls).tries_after_timeout == tries


def test_the_base_of_all_exceptions_does_not_include_the_jobs_own_word() -> None:
    class Once(Plain):
        give_up_on = BaseException

    assert reason(Once, ValueError("x")) == "give_up_on"
    assert reason(Once, Retry("later")) is None


@pytest.mark.parametrize("setting", ["retry_on", "give_up_on"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("OSError", "expected a class of exceptions such as ConnectionError"),
        (OSError("x"), "write the class, not an instance"),
        ((), "expected at least one"),
        ((OSError, int), "got <class 'int'>"),
        ((OSError, (ValueError,)), "expected a class"),
        (int, "expected a class"),
    ],
)
def test_only_classes_of_exceptions_are_taken(setting: str, value: Any, message: str) -> None:
    with pytest.raises(JobDefinitionError, match=message) as caught:
        type("Wrong", (Plain,), {setting: value})
    assert str(caught.value).startswith(f"Wrong.{setting}: ")


def test_what_has_no_effect_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match="ConnectionError has no effect"):

        class Torn(Plain):
            retry_on = (ValueError, ConnectionError)
            give_up_on = OSError


def test_a_subclass_may_take_it_back() -> None:
    class Calm(Picky):
        retry_on = None
        give_up_on = None

    assert reason(Calm, KeyError("x")) is None


# RouteMQ's names


def delays(cls: type[Job], pool: PoolLimits | None = None, count: int = 5) -> list[float]:
    limits = resolve(cls, pool or PoolLimits())
    return [round(limits.delay(tries), 6) for tries in range(1, count + 1)]


class Growing(Plain):
    retry_after = 10
    retry_backoff_enabled = True


class Capped(Growing):
    retry_backoff_max_delay = 25


def test_retry_after_doubles_up_to_a_minute() -> None:
    assert delays(Growing) == [10, 20, 40, 60, 60]
    assert delays(Capped) == [10, 20, 25, 25, 25]


def test_without_the_switch_the_other_names_mean_nothing() -> None:
    class Off(Plain):
        retry_after = 10
        retry_backoff_max_delay = 25
        retry_backoff_jitter = 1.0

    assert delays(Off, count=3) == [10, 10, 10]


def test_the_cap_is_never_below_the_first_wait() -> None:
    class Long(Capped):
        retry_after = 40

    assert delays(Long, count=2) == [40, 40]


def test_the_queue_may_say_where_it_begins() -> None:
    class Silent(Plain):
        retry_backoff_enabled = True

    assert delays(Silent, PoolLimits(retry_after=5), 3) == [5, 10, 20]
    assert delays(Silent, count=2) == [0, 0]
    assert delays(Silent, PoolLimits(retry_after=5, backoff=[1, 2]), 3) == [1, 2, 2]


def test_jitter_keeps_at_least_the_rest_of_the_wait() -> None:
    class Half(Growing):
        retry_backoff_jitter = 0.5

    class Full(Growing):
        retry_backoff_jitter = 3

    halves = [resolve(Half).delay(2) for _ in range(300)]
    assert all(10 <= delay <= 20 for delay in halves)
    assert len(set(halves)) > 100
    full = [resolve(Full).delay(2) for _ in range(300)]
    assert all(0 <= delay <= 20 for delay in full)
    assert min(full) < 10


def test_the_environment_says_what_classes_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(Plain):
        retry_after = 10

    monkeypatch.setenv("QUEUE_RETRY_BACKOFF_ENABLED", "True")
    monkeypatch.setenv("QUEUE_RETRY_MAX_DELAY", "15")
    assert delays(Fixed, count=3) == [10, 15, 15]
    assert delays(Capped, count=3) == [10, 20, 25]
    monkeypatch.setenv("QUEUE_RETRY_MAX_DELAY", "soon")
    assert delays(Fixed, count=4) == [10, 20, 40, 60]
    monkeypatch.setenv("QUEUE_RETRY_BACKOFF_ENABLED", "no")
    assert delays(Fixed, count=2) == [10, 10]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("retry_backoff_enabled", "yes", "expected True or False"),
        ("retry_backoff_max_delay", "soon", "expected a duration"),
        ("retry_backoff_max_delay", -1, "negative"),
        ("retry_backoff_jitter", -0.1, "expected 0 or more"),
        ("retry_backoff_jitter", "1", "expected a number"),
    ],
)
def test_routemqs_settings_are_checked(setting: str, value: Any, message: str) -> None:
    with pytest.raises(JobDefinitionError, match=message):
        type("Wrong", (Plain,), {setting: value})


# on a worker


class Flaky(Job):
    name = "retrying.flaky"
    max_tries = 5
    retry_on = ConnectionError
    missing: bool = False

    async def handle(self) -> None:
        seen.append(self.attempts)
        if self.attempts < 3:
            raise Retry("not yet", in_=0) if self.attempts == 1 else ConnectionError("away")
        if self.missing:
            raise LookupError("no such customer")


class Slow(Job):
    name = "retrying.slow"
    timeout = 0.05
    max_tries = 5
    give_up_on = TimeoutError

    async def handle(self) -> None:
        seen.append(self.attempts)
        await asyncio.sleep(3600)


seen: list[int] = []


async def test_a_worker_tries_what_is_worth_it_and_fails_the_rest_at_once(shop: Shop) -> None:
    seen.clear()
    await shop.push(Flaky(), Flaky(missing=True))
    await shop.clear()

    assert sorted(seen) == [1, 1, 2, 2, 3, 3]
    [failed] = await shop.driver.failed("tests")
    assert json.loads(failed.record)["reason"] == "retry_on"
    assert failed.counts.tries == 3


async def test_a_timeout_that_the_class_gives_up_on_is_the_last_try(shop: Shop) -> None:
    seen.clear()
    await shop.push(Slow())
    await shop.clear()

    assert seen == [1]
    [failed] = await shop.driver.failed("tests")
    assert json.loads(failed.record)["reason"] == "give_up_on"
    assert failed.counts.timeouts == 1
