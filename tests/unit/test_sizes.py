"""``max_payload``: what is too large is refused at dispatch, and what nearly is, is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from queued.daemon import logs
from queued.daemon.spec import LogSpec
from queued.daemon.worker.sizes import AGAIN, Sizes
from queued.errors import JobDefinitionError, PayloadTooLarge
from queued.jobs.job import Job
from queued.jobs.payload import adopt, encode
from queued.jobs.queue import Queue
from queued.policy import Policy
from tests.unit.working import QUEUE, Shop, observed


class Report(Job):
    name = "sizes.report"
    queue = "reports"
    data: str

    async def handle(self) -> None: ...


class Small(Report):
    name = "sizes.small"
    queue = QUEUE
    max_payload = "1KiB"


HEADER = len(encode(Report(data="")))


@pytest.fixture(autouse=True)
def _policy() -> Iterator[None]:
    adopt(Policy(max_payload=2_000, by_queue={"reports": 4_000, "tiny": 500}))
    yield
    adopt(None)


def report(size: int) -> Report:
    """Return a job that takes so many bytes as stored."""
    return Report(data="x" * (size - HEADER))


@pytest.mark.parametrize(
    ("queue", "limit"), [(None, 4_000), ("reports", 4_000), ("tiny", 500), ("other", 2_000)]
)
def test_each_queue_has_its_limit_to_the_byte(queue: str | None, limit: int) -> None:
    assert len(encode(report(limit), queue)) == limit
    with pytest.raises(PayloadTooLarge) as caught:
        encode(report(limit + 1), queue)
    assert str(caught.value).startswith("Report has ")
    assert f"(max_payload of the queue {queue or 'reports'})" in str(caught.value)
    assert str(caught.value).endswith("store the data elsewhere and dispatch its id")


def test_what_the_class_says_wins() -> None:
    with pytest.raises(PayloadTooLarge, match=r"at most 1 KiB are taken \(max_payload of the clas"):
        encode(Small(data="x" * 1_024), "reports")
    assert encode(Small(data="x" * 900), "tiny")


@pytest.mark.parametrize("size", ["big", 0, -1, "17MiB", True])
def test_a_class_with_an_impossible_limit_is_refused(size: object) -> None:
    with pytest.raises(JobDefinitionError, match=r"Wrong\.max_payload: "):
        type("Wrong", (Report,), {"max_payload": size})


async def test_nothing_of_a_bulk_is_sent_when_one_is_too_large() -> None:
    async with Queue("memory://sizes") as producer:
        jobs = [report(600), report(400)]
        with pytest.raises(PayloadTooLarge, match=r"jobs\[0\]: Report has"):
            await producer.bulk(jobs, queue="tiny")
        with pytest.raises(PayloadTooLarge):
            await producer.push(report(600), queue="tiny")
        assert await producer.size("tiny") == 0
        await producer.bulk(jobs)
        assert await producer.size("reports") == 2


def test_a_producer_finds_its_limits_by_itself(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setenv("QUEUED_MAX_PAYLOAD", "1000")
    adopt(None)
    with pytest.raises(PayloadTooLarge, match="at most 1000 B are taken"):
        encode(report(1_001))
    assert encode(report(1_000))


# what a worker notices


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    return [one for one in said if one["event"] == "payload.large"]


def test_a_class_that_is_near_its_limit_is_told_of_once_an_hour(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logs.configure(LogSpec(format="json"))
    now = 1.0
    sizes = Sizes("reports", Policy(by_queue={"reports": 4_000}), lambda: now)
    assert sizes.notable <= 1_024 * 0.8
    sizes.tell(encode(report(3_200)))
    assert lines(capfd) == []
    for _ in range(3):
        sizes.tell(encode(report(3_201)))
    sizes.tell(encode(Small(data="x" * 900)))
    sizes.tell(b"garbage" * 1_000)
    [first, second] = lines(capfd)
    assert first["message"] == (
        "report has 3.1 KiB of payload, and at most 3.9 KiB are taken (max_payload of the queue"
        " reports)"
    )
    assert (first["size"], first["limit"]) == (3_201, 4_000)
    assert (second["job"], second["limit"]) == ("sizes.small", 1_024)
    now += AGAIN
    sizes.tell(encode(report(3_201)))
    assert len(lines(capfd)) == 1


async def test_a_worker_notices_what_it_takes(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure(LogSpec(format="json"))
    policy = Policy(by_queue={QUEUE: 2_000})
    await shop.push(report(1_900), report(300))
    worker = await shop.clear(policy=policy)

    assert [one["size"] for one in lines(capfd)] == [1_900]
    assert observed(worker, "job_payload_bytes", queue=QUEUE) == 2
