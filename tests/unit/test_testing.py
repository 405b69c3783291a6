"""``queued.jobs.testing``: the fake queue, and jobs run as the daemon would run them."""

import asyncio
import contextlib
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import create_engine

from queued import Fail, Job, Link, Retry, batch, chain, dispatch, job, queue
from queued.errors import InvalidJob, JobTimeout
from queued.jobs.outcome import Outcome
from queued.jobs.pytest_plugin import fake_queue as fixture
from queued.jobs.testing import (
    Ran,
    assert_dispatched,
    assert_not_dispatched,
    assert_nothing_dispatched,
    fake,
    run,
    run_now,
)

fake_queue = fixture  # whether the plugin is installed or not
seen: list = []


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    seen.clear()
    monkeypatch.chdir(tmp_path)  # no queue.yaml, and
    monkeypatch.delenv("QUEUE_CONNECTION", raising=False)


class Mail(Job):
    name = "test.t_mail"
    queue = "emails"
    to: str
    subject: str = "Hello"

    async def handle(self) -> None:
        seen.append((self.to, self.attempts, self.job_id))


class Other(Job):
    name = "test.t_other"

    def handle(self) -> None:
        seen.append(threading.current_thread() is threading.main_thread())


class Breaks(Job):
    name = "test.t_breaks"
    max_tries = 3
    backoff = (10, 60)
    how: str = "error"

    async def handle(self) -> None:
        seen.append(self.attempts)
        match self.how:
            case "error":
                raise ValueError("boom")
            case "fail":
                raise Fail("no such customer")
            case "retry":
                raise Retry("rate limited", in_=90)
            case "hang":
                await asyncio.sleep(3600)

    async def failed(self, exception: Exception) -> None:
        seen.append(exception)
        if self.how == "fail":
            raise RuntimeError("the hook broke")


class Parent(Job):
    name = "test.t_parent"
    again: bool = False

    async def handle(self) -> None:
        await dispatch(Parent(again=True) if self.again else Mail(to="child"))


# what was dispatched


async def test_every_way_to_dispatch_is_seen(fake_queue):
    await dispatch(Mail(to="a"))
    await queue.push(Mail(to="b"), queue="other")
    await queue.later("5m", Mail(to="c"))
    await queue.bulk([Mail(to="d"), Other()])
    queue.sync.push(Mail(to="e"))
    queue.sync.bulk([Mail(to="f")], delay=timedelta(hours=1))
    assert [one.job.to for one in fake_queue.dispatched(Mail)] == list("abcdef")
    fake_queue.assert_dispatched(Mail, times=6)
    fake_queue.assert_dispatched(Mail, to="b", queue="other")
    fake_queue.assert_dispatched(Mail, to="c", delay="5m")
    fake_queue.assert_dispatched(Mail, delay=3600, times=1)
    fake_queue.assert_dispatched(Mail, delay=0, times=4)
    fake_queue.assert_dispatched(Mail, matching=lambda job: job.to > "e", times=1)
    [other] = fake_queue.assert_dispatched(Other)
    assert (other.queue, other.delay, other.enqueued) == ("default", 0, True)
    assert await queue.size("emails") == 5


@job(queue="emails", name="test.t_function", max_tries=2, retry_after=5)
async def function(to: str, subject: str = "Hello") -> None:
    seen.append(to)
    if to == "wrong":
        raise ValueError(subject)


async def test_a_function_that_is_a_job(fake_queue):
    await dispatch(function("a", subject="x"))
    fake_queue.assert_dispatched(function, to="a", queue="emails", times=1)
    fake_queue.assert_not_dispatched(function, subject="Hello")
    with pytest.raises(TypeError, match='no field "too"'):
        fake_queue.assert_dispatched(function, too="a")
    [ran] = await fake_queue.drain()
    assert ran.succeeded
    assert seen == ["a"]
    ran = await run(function(to="wrong"))
    assert (ran.retried, ran.delay) == (True, 5)
    assert (await run(function(to="wrong"), attempts=2)).failed


async def test_chains_and_batches_are_seen_and_run(fake_queue):
    await dispatch(chain([Mail(to="a@b.c"), Link(Mail(to="c@d.e"), delay="1h")]).catch(Other()))
    receipt = await dispatch(batch([Mail(to="f@g.h")]).then(Other()))
    assert len(fake_queue.dispatched(Mail)) == 3
    assert_dispatched(Mail, to="c@d.e", delay="1h")
    assert_not_dispatched(Other)
    ran = await fake_queue.drain()
    assert sorted(type(one.job).__name__ for one in ran) == ["Mail", "Mail", "Mail", "Other"]
    assert (await queue.batch(receipt.id)).finished


def test_plain_functions_need_no_loop(fake_queue):
    queue.sync.push(Mail(to="a"))
    assert_dispatched(Mail, to="a", times=1)
    assert_not_dispatched(Other)
    [ran] = fake_queue.drain_now()
    assert ran.succeeded
    assert seen == [("a", 1, ran.job_id)]


async def test_a_wrong_job_is_refused_as_ever(fake_queue):
    with pytest.raises(InvalidJob, match="subject"):
        await dispatch(Mail(to="a", subject=3))
    assert_nothing_dispatched()


async def test_a_repeated_id_was_not_dispatched_twice(fake_queue):
    await dispatch(Mail(to="a"), id="one")
    assert not (await dispatch(Mail(to="b"), id="one")).enqueued
    fake_queue.assert_dispatched(Mail, times=1)
    with pytest.raises(AssertionError, match="not enqueued: one was there"):
        fake_queue.assert_dispatched(Mail, to="b")


async def test_messages_list_what_was_dispatched(fake_queue):
    with pytest.raises(AssertionError, match=r"nothing was dispatched$"):
        fake_queue.assert_dispatched(Mail)
    await queue.later(300, Mail(to="a"))
    await dispatch(Other())
    with pytest.raises(AssertionError) as told:
        fake_queue.assert_dispatched(Mail, to="b", queue="x", delay=1, times=2)
    assert str(told.value).splitlines() == [
        "expected Mail(to='b') to x, in 1s to be dispatched twice; dispatched were:",
        "  Mail(to='a', subject='Hello') to emails, in 5m",
        "  Other() to default",
    ]
    with pytest.raises(AssertionError, match="to be dispatched 3 times, but that was once"):
        fake_queue.assert_dispatched(Mail, times=3)
    with pytest.raises(AssertionError, match="expected no Other"):
        assert_not_dispatched(Other)
    with pytest.raises(AssertionError, match="expected nothing to be dispatched"):
        assert_nothing_dispatched()
    await queue.bulk([Other() for _ in range(30)])
    with pytest.raises(AssertionError, match=r"and 12 more$"):
        assert_nothing_dispatched()


def test_a_mistyped_field_is_told(fake_queue):
    with pytest.raises(TypeError, match='Mail has no field "tto"; did you mean "to"'):
        fake_queue.assert_not_dispatched(Mail, tto="a")
    with pytest.raises(TypeError, match="expected a Job class or a @job function"):
        fake_queue.assert_dispatched("Mail")


def test_without_a_fake_queue_the_functions_say_so():
    with pytest.raises(RuntimeError, match="fake_queue"):
        assert_nothing_dispatched()


async def test_a_program_that_connects_does_not_leave_the_fake(fake_queue):
    queue.connect("redis://nowhere.invalid:1/0")
    try:
        await dispatch(Mail(to="a"))
    finally:
        queue._url = None
    fake_queue.assert_dispatched(Mail)


async def test_blocks_are_apart_and_the_last_one_counts():
    with fake() as outer:
        await dispatch(Mail(to="a"))
        with fake() as inner:
            await dispatch(Other())
            assert_dispatched(Other)
            assert_not_dispatched(Mail)
        assert_dispatched(Mail)
        assert not outer.dispatched(Other)
        assert not inner.dispatched(Mail)
        outer.clear()
        assert_nothing_dispatched()
        assert await queue.size("emails") == 0


# running it


async def test_drain_runs_what_comes_of_jobs(fake_queue):
    await dispatch(Parent())
    await dispatch(Breaks())
    runs = await fake_queue.drain()
    assert [(type(ran.job), ran.outcome.value, ran.attempt) for ran in runs] == [
        (Parent, "succeeded", 1),
        (Breaks, "retried", 1),
        (Mail, "succeeded", 1),
        (Breaks, "retried", 2),
        (Breaks, "failed", 3),
    ]
    assert runs[1].job_id == runs[4].job_id
    assert [ran.delay for ran in runs] == [None, 10, None, 60, None]
    assert runs[4].hook_called
    assert await queue.size() == 0


async def test_time_stands_still_until_it_travels(fake_queue):
    await queue.later("5m", Mail(to="a"))
    assert await fake_queue.drain(travel=False) == []
    fake_queue.travel("4m")
    assert await fake_queue.drain(travel=False) == []
    fake_queue.travel(timedelta(minutes=1))
    [ran] = await fake_queue.drain(travel=False)
    assert ran.succeeded


async def test_drain_has_a_bound(fake_queue):
    await dispatch(Parent(again=True))
    with pytest.raises(AssertionError, match="5 jobs were run and others are left"):
        await fake_queue.drain(limit=5)
    assert len(fake_queue.dispatched(Parent)) == 6


async def test_a_bound_that_is_reached_before_a_retry_is_due(fake_queue):
    await dispatch(Breaks())
    with pytest.raises(AssertionError, match="1 jobs were run and others are left"):
        await fake_queue.drain(limit=1)
    assert len(await fake_queue.drain(limit=2)) == 2


async def test_a_run_is_that_of_a_fresh_instance():
    job = Mail(to="a")
    ran = await run(job, id="mine")
    assert (ran.succeeded, ran.retried, ran.failed) == (True, False, False)
    assert ran.job is not job
    assert ran.job.to == "a"
    assert ran.outcome is Outcome.SUCCEEDED
    assert seen == [("a", 1, "mine")]
    assert (await run(Other())).succeeded
    assert seen[-1] is False


async def test_a_run_validates():
    with pytest.raises(InvalidJob):
        await run(Mail(to=3))
    with pytest.raises(ValueError, match="attempts"):
        await run(Mail(to="a"), attempts=0)


@pytest.mark.parametrize(("attempt", "delay"), [(1, 10), (2, 60)])
async def test_an_error_is_retried_after_the_backoff(attempt, delay):
    ran = await run(Breaks(), attempts=attempt)
    assert (ran.retried, ran.delay, ran.attempt) == (True, delay, attempt)
    assert isinstance(ran.error, ValueError)
    assert not ran.hook_called
    assert seen == [attempt]
    assert f"try {attempt} of 3): ValueError: boom" in repr(ran)


async def test_the_last_try_fails_and_calls_the_hook():
    ran = await run(Breaks(), attempts=3)
    assert (ran.failed, ran.retried, ran.delay) == (True, False, None)
    assert ran.hook_called
    assert seen == [3, ran.error]
    assert (await run(Breaks(), max_tries=1)).failed


async def test_what_a_job_raises_to_decide_is_decided():
    ran = await run(Breaks(how="fail"))
    assert ran.failed
    assert isinstance(ran.hook_error, RuntimeError)
    assert "failed() raised" in repr(ran)
    ran = await run(Breaks(how="retry"))
    assert (ran.retried, ran.delay) == (True, 90)


async def test_a_run_is_cut_at_its_timeout():
    ran = await run(Breaks(how="hang"), timeout=0.01)
    assert (ran.outcome, ran.timed_out, ran.delay) == (Outcome.TIMED_OUT, True, 10)
    assert isinstance(ran.error, JobTimeout)
    ran = await run(Breaks(how="hang"), timeout=timedelta(milliseconds=10), attempts=3)
    assert ran.failed
    assert isinstance(seen[-1], JobTimeout)


class Stubborn(Job):
    name = "test.t_stubborn"
    timeout = 0.01

    async def handle(self) -> None:
        while not seen:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)


class Thread(Job):
    name = "test.t_thread"
    timeout = 0.01

    def handle(self) -> None:
        while not seen:
            time.sleep(0.05)


@pytest.mark.parametrize("job", [Stubborn(), Thread()], ids=["async", "plain"])
async def test_what_does_not_end_is_left_behind(job):
    try:
        ran = await run(job)
        assert ran.timed_out
        assert isinstance(ran.error, JobTimeout)
    finally:
        seen.append("over")
        await asyncio.sleep(0.06)


def test_run_now_is_for_plain_functions():
    ran = run_now(Breaks(), attempts=3)
    assert isinstance(ran, Ran)
    assert ran.failed
    assert run_now(Mail(to="a")).succeeded


async def test_run_now_in_a_loop_says_what_to_do():
    with pytest.raises(RuntimeError, match="await run"):
        run_now(Mail(to="a"))


async def test_what_a_run_dispatches_goes_to_the_fake_queue(fake_queue):
    assert (await run(Parent())).succeeded
    fake_queue.assert_dispatched(Mail, to="child", times=1)


def test_what_joins_a_transaction_is_dispatched_too():
    with fake() as jobs, create_engine("sqlite://").begin() as connection:
        queue.within(connection).push(Mail(to="a"))
        jobs.assert_dispatched(Mail, to="a")


def test_duplicates_are_refused_by_the_fake_queue_too(fake_queue):
    first = queue.sync.push(Mail(to="a"), unique_key="a")
    assert queue.sync.push(Mail(to="b"), unique_key="a") == (first.id, False)
    assert [one.enqueued for one in fake_queue.all] == [True, False]
