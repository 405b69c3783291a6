"""``@job``: a function as a short form of a Job class."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from queued import Job, Queue, job
from queued.errors import InvalidJob, JobDefinitionError
from queued.jobs import payload, registry
from queued.jobs.function import JobFunction, Settings
from queued.jobs.outcome import Outcome
from queued.jobs.receipt import Receipt
from queued.jobs.settings import SETTINGS
from queued.jobs.testing import fake, run
from tests.unit.checking import Checker, checker, of

ROOT = Path(__file__).parents[2]
check = pytest.fixture(checker)
seen: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@job
async def send_email(to: str, subject: str = "Hello") -> int:
    """Send it."""
    seen.append((to, subject))
    return len(to)


def undo(job: Any, exception: Exception) -> None:
    seen.append((job.order, job.attempts, str(exception)))


def sane(job: Any) -> None:
    if job.order < 0:
        raise ValueError("order must not be negative")


@job(queue="billing", max_tries=2, timeout="30s", backoff=[0], failed=undo, validate=sane)
def charge(order: int, *, day: date = date(2026, 1, 1), tags: list[str] = []) -> None:  # noqa: B006
    tags.append("seen")
    seen.append((order, day, tags))
    if order == 13:
        raise LookupError("no such order")


@job(name="test.function.sync", unique_key="{user}", unique_for="1h")
def sync_user(user, force=False):
    seen.append((user, force))


def test_a_call_makes_a_job() -> None:
    one = send_email(to="a@b.c")
    assert isinstance(one, Job)
    assert (one.to, one.subject) == ("a@b.c", "Hello")  # type: ignore[attr-defined]
    assert repr(one) == "send_email(to='a@b.c', subject='Hello')"
    assert vars(send_email("a@b.c", "Hi")) == vars(send_email(subject="Hi", to="a@b.c"))
    assert seen == []


def test_the_class_behind_it() -> None:
    cls = send_email.job_class
    assert cls.__queued__.name == f"{__name__}.send_email"
    assert registry.lookup(f"{__name__}.send_email") is cls
    assert (charge.job_class.queue, charge.job_class.max_tries) == ("billing", 2)
    assert registry.lookup("test.function.sync") is sync_user.job_class
    assert (cls.__doc__, send_email.__doc__) == ("Send it.", "Send it.")
    assert repr(send_email) == f"<job function {__name__}.send_email>"


async def test_it_is_enqueued_and_decoded_like_any_job() -> None:
    encoded = payload.encode(charge(order=7, day=date(2026, 2, 3)))
    assert encoded.startswith(b'{"v":1,"job":"tests.unit.test_job_function.charge"}\n')
    back = payload.decode(encoded)
    assert type(back) is charge.job_class
    assert vars(back) == {"order": 7, "day": date(2026, 2, 3), "tags": []}


async def test_it_runs() -> None:
    assert (await run(send_email("a@b.c"))).outcome is Outcome.SUCCEEDED
    assert (await run(charge(7))).outcome is Outcome.SUCCEEDED
    assert (await run(charge(7))).outcome is Outcome.SUCCEEDED
    fresh = (7, date(2026, 1, 1), ["seen"])
    assert seen == [("a@b.c", "Hello"), fresh, fresh]  # a default is made anew for each job


async def test_its_failed_hook() -> None:
    ran = await run(charge(13), attempts=2)
    assert ran.outcome is Outcome.FAILED
    assert seen[-1] == (13, 2, "no such order")


async def test_the_function_itself_is_there_for_tests() -> None:
    assert await send_email.function("a@b.c") == 5
    charge.function(3, tags=["x"])
    assert seen[-1] == (3, date(2026, 1, 1), ["x", "seen"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: send_email(to=7), r"send_email\.to: .* \(got int\)"),
        (lambda: charge("x"), r"charge\.order: .* \(got str\)"),
        (lambda: charge(-1), r"charge: order must not be negative"),
    ],
)
async def test_what_does_not_fit_is_not_enqueued(make: Any, message: str) -> None:
    with fake() as queue:
        with pytest.raises(InvalidJob, match=message):
            await Queue(queue.url).push(make())
        queue.assert_nothing_dispatched()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (send_email, r"send_email\(\): missing to"),
        (lambda: send_email(too="a"), r'no field "too"; did you mean "to"'),
        (lambda: send_email("a", "b", "c"), "too many positional"),
        (lambda: send_email("a", to="b"), "multiple values"),
    ],
)
def test_arguments_that_do_not_fit_are_named(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


async def test_unique_keys() -> None:
    async with Queue("memory://functions") as queue:
        first = await queue.push(sync_user("ann"))
        assert await queue.push(sync_user("ann", force=True)) == Receipt(first.id, enqueued=False)


def refused(function: Any, message: str, **settings: Any) -> None:
    with pytest.raises(JobDefinitionError, match=message):
        job(**settings)(function)


def test_what_cannot_be_a_job() -> None:
    class Thing:
        def method(self, a: int) -> None: ...

    def named(name: str) -> None: ...
    def private(_a: str) -> None: ...
    def everything(*args: str) -> None: ...
    def keywords(**values: str) -> None: ...
    def by_place(a: int, /) -> None: ...
    def yields(a: int) -> Any:
        yield a

    refused(Thing.method, r"method is a method, which has nothing to be called on")
    refused(named, r'named\(name\): the name "name" is a setting in jobs')
    refused(private, r'the name "_a" is private in jobs')
    refused(everything, r"\(\*args: .*\): a job's arguments are stored by name")
    refused(keywords, r"\(\*\*values: .*\): a job's arguments")
    refused(by_place, r"\(a: .*\): a job's arguments")
    refused(yields, "has a yield in it")
    refused(Thing, "is none")
    refused(lambda a: None, 'no setting "tiemout"; did you mean "timeout"', tiemout=3)
    with pytest.raises(JobDefinitionError, match=r'takes settings by name: @job\(queue="emails"\)'):
        job("emails")  # type: ignore[call-overload]


def test_a_wrong_setting_is_named_as_of_a_class() -> None:
    refused(lambda a: None, r"<lambda>\.max_tries: expected a whole number", max_tries=0)


def test_every_setting_is_known_to_type_checkers() -> None:
    assert {*SETTINGS, "failed", "validate"} == set(Settings.__annotations__), (
        "add the setting to Settings in jobs/function.py"
    )


TYPED = """
from queued import Job, dispatch, job

@job
async def send_email(to: str, subject: str = "Hello") -> int:
    return 1

@job(queue="emails", max_tries=3, timeout=30)
def charge(order: int) -> None: ...

async def main() -> None:
    await dispatch(send_email(to="a"))
    await dispatch(send_email("a", "b"), delay="5m")
    one: Job = charge(order=3)
    number: int = await send_email.function("a")
    charge(order="x")  # error
    send_email()  # error
    send_email(to="a", too="b")  # error

@job(tiemout=3)  # error
def wrong() -> None: ...
"""


def test_type_checkers_see_the_arguments(tmp_path: Path) -> None:
    links = tmp_path / "links"
    (links / "queued").mkdir(parents=True)
    for part in (ROOT / "queued").iterdir():
        (links / "queued" / part.name).symlink_to(part)
    for folder in ("drivers", "jobs"):
        (links / "queued" / folder).symlink_to(ROOT / folder)
    (tmp_path / "typed.py").write_text(TYPED)
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-incremental",
            "--follow-imports=silent",
            "typed.py",
        ],
        cwd=tmp_path,
        env={"MYPYPATH": str(links), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = {int(line.split(":")[1]) for line in checked.stdout.splitlines() if ": error:" in line}
    lines = TYPED.splitlines()
    assert {lines[number - 1].endswith("# error") for number in wrong} == {True}, checked.stdout
    assert len(wrong) == TYPED.count("# error")


BAD = """
import time
from queued import job

@job(max_tries=2)
async def process(image_data: bytes, password: str = ""):
    time.sleep(1)

@job(timeout=30, failed=lambda job, error: None)
async def send_welcome_email(user_id: int):
    print(user_id)

@job(timeout=900)  # queued: ignore[long-timeout]
def resize_image(image_id: int):
    helper()

def helper():
    time.sleep(1)
"""


def test_queued_check_reads_functions_too(check: Checker) -> None:
    review = check(BAD, head="")
    found = {row.name.rpartition(".")[2]: {one.rule for one in row.broken} for row in review.rows}
    assert found["process"] >= {"vague-name", "no-failed", "blocking-call", "secret-field"}
    assert found["send_welcome_email"] == set()
    assert found["resize_image"] == {"no-failed"}
    [blocking] = of(review, "blocking-call")
    assert blocking.line == 7
    assert all((one.fix or "").startswith("@job(failed=") for one in of(review, "no-failed"))
    assert [row.line for row in review.rows] == [6, 14, 10]


def test_a_job_function_is_one() -> None:
    assert isinstance(send_email, JobFunction)
