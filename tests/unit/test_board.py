"""What ``queued top`` draws: it fits, it sorts, and what matters is on it whatever the size."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from queued.cli.watch import columns
from queued.cli.watch.board import KEYS, View, board
from queued.cli.watch.reading import Reading

JOB_ID = "019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b"
VIEW = View(2.0)


def status(queues: int = 3, jobs: int = 2, **pools: Any) -> dict[str, Any]:
    """Return a daemon's answer; ``pools`` change what is said of some."""
    names = [f"queue-{number:02}" for number in range(queues)]
    running = [
        {"id": JOB_ID, "job": "app.jobs.SendEmail", "seconds": float(n), "timeout": 60.0}
        for n in range(jobs)
    ]
    worker = {"name": "queue-00/1", "pid": 7, "state": "running", "slots": 10, "jobs": running}
    pool = {"state": "running", "desired": 1, "busy": 2, "rss": 1 << 20, "exits": {"crash": 1}}
    return {
        "state": "running", "uptime": 61.5, "version": "1", "connection": "redis://h",
        "driver_up": True, "sampled_at": 1_000.0, "monitor": {"state": "running"},
        "pools": {
            name: pool | {"workers": [worker | ({"jobs": []} if name != names[0] else {})]}
            | pools.get(name.replace("-", "_"), {})
            for name in names
        },
        "queues": {
            name: {"ready": number, "scheduled": 1, "reserved": 2, "failed": 0,
                   "oldest_ready_age_seconds": 100.0 - number}
            for number, name in enumerate(names)
        },
    }  # fmt: skip


def drawn(
    answer: dict[str, Any], view: View = VIEW, width: int = 80, height: int = 24, away: str = ""
) -> list[str]:
    reading = Reading(answer, now=1_000.5)
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(board(reading, view, away, width, height))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


def queues_of(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines if line.startswith("queue-")]


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 2, 5, 10, 24, 60])
@pytest.mark.parametrize("queues", [0, 1, 3, 50])
def test_it_fits_whatever_the_size(width: int, height: int, queues: int) -> None:
    for jobs in (0, 2, 100):
        for away in ("", "the daemon is not running"):
            lines = drawn(status(queues, jobs if queues else 0), VIEW, width, height, away)
            assert len(lines) == height
            assert max(map(len, lines)) <= width


def test_what_matters_is_on_a_small_terminal() -> None:
    late = {"max_wait": 5.0}
    lines = drawn(status(50, 30, queue_40=late, queue_41={"state": "fatal", "workers": []}))
    assert lines[0].startswith("not ready")
    assert lines[1] == "  pool queue-41: no worker running (fatal)"
    assert lines[2] == "  queue queue-40: a job has waited 1m, max_wait is 5s"
    assert queues_of(lines)[:3] == ["queue-40", "queue-41", "queue-00"]
    assert f"1 to {len(queues_of(lines))} of 50 queues" in lines
    assert [line.split()[2] for line in lines if line.startswith("SendEmail")][:2] == ["29s", "28s"]
    assert all(line.endswith(JOB_ID) for line in lines if line.startswith("SendEmail"))
    assert lines[-1].startswith(KEYS)
    assert lines[-1].endswith("trouble first, every 2s")


def test_many_problems_leave_room_for_the_queues() -> None:
    gone = {f"queue_{number:02}": {"workers": [], "state": "backoff"} for number in range(20)}
    lines = drawn(status(20, **gone))
    assert lines[4] == "  and 17 more; queued status has them all"
    assert len(queues_of(lines)) >= 5


def test_the_jobs_get_what_the_queues_leave() -> None:
    lines = drawn(status(3, 100))
    assert len([line for line in lines if line.startswith("SendEmail")]) == 14


def test_columns_come_and_go_with_the_width() -> None:
    def titles(width: int, view: View = VIEW) -> list[str]:
        line = next(line for line in drawn(status(), view, width) if line.startswith("queue "))
        return line.replace(" p95", "-p95").split()

    assert titles(80) == [
        "queue", "workers", "busy", "ready", "sched", "failed", "oldest", "rate/s", "wait-p95",
        "run-p95", "fail%",
    ]  # fmt: skip
    assert titles(200) == [column.title.replace(" p95", "-p95") for column in columns.ALL]
    assert titles(30) == ["queue", "ready", "oldest", "rate/s"]
    assert titles(30, View(2.0, columns.MEMORY)) == ["queue", "ready", "oldest", "memory"]


def test_it_sorts_and_reverses() -> None:
    ready = View(2.0, columns.READY)
    assert queues_of(drawn(status(), ready)) == ["queue-02", "queue-01", "queue-00"]
    back = View(2.0, columns.READY, reverse=True)
    assert queues_of(drawn(status(), back)) == ["queue-00", "queue-01", "queue-02"]
    assert drawn(status(), back)[-1].endswith("by ready, reversed, every 2s")
    # the oldest of queue-00, where nothing is ready, is unknown, and so it is last in either order
    for reverse in (False, True):
        oldest = View(2.0, columns.OLDEST, reverse=reverse)
        assert queues_of(drawn(status(), oldest))[-1] == "queue-00"


def test_many_failures_are_bad_where_somebody_said_how_many_may_be() -> None:
    some = {"attempts": 100, "failures": 30, "failure_ratio": 0.3, "finished_per_second": 1.0}
    window = some | {"wait_p95": None, "run_p95": 0.25}
    few = window | {"attempts": 19}

    def styles(recent: dict[str, Any], **pools: Any) -> tuple[str, str]:
        answer = status(1, **pools) | {"recent": {"queue-00": {"1m": recent, "5m": recent}}}
        (row,) = columns.rows_of(Reading(answer, now=1_000.5))
        assert columns.FAILING.text(row) == "30%"
        assert (columns.WAIT.text(row), columns.RUN.text(row)) == ("-", "250ms")
        return columns.FAILING.style(row), columns.NAME.style(row)

    assert styles(window, queue_00={"max_failure_rate": 0.2}) == ("red", "bold red")
    assert styles(window, queue_00={"max_failure_rate": 0.5}) == ("", "bold")
    assert styles(window) == ("yellow", "bold")
    assert styles(few, queue_00={"max_failure_rate": 0.2}) == ("", "bold")


def test_it_scrolls() -> None:
    answer = status(50, 0)
    view = VIEW
    for _ in range(3):
        view = view.after("down", 50)
    lines = drawn(answer, view)
    assert queues_of(lines)[0] == "queue-03"
    assert any(line.startswith("4 to ") for line in lines)
    for _ in range(10):
        view = view.after("pagedown", 50)
    lines = drawn(answer, view)
    assert queues_of(lines) == ["queue-49"]
    assert "50 to 50 of 50 queues" in lines
    assert view.after("up", 50).first == 48
    for _ in range(10):
        view = view.after("pageup", 50)
    assert view.first == 0
    assert queues_of(drawn(status(3), VIEW.after("down", 3)))[0] == "queue-00"  # all fit


def test_keys_change_the_view() -> None:
    assert VIEW.after("x", 3) == VIEW
    assert VIEW.after("p", 3).paused
    assert VIEW.after("space", 3).after("p", 3) == VIEW
    there = VIEW
    for _ in columns.ALL:
        there = there.after("s", 3)
    assert there == VIEW
    assert VIEW.after("s", 3).after("S", 3) == VIEW
    assert VIEW.after("right", 3).sort is columns.WORKERS
    assert VIEW.after("left", 3).sort is columns.MEMORY
    assert not VIEW.after("r", 3).after("s", 3).reverse


def test_a_daemon_that_is_away_is_shown_as_it_was() -> None:
    lines = drawn(status(), away="the daemon is not running")
    assert lines[0].startswith("the daemon is not running, waiting for it; this is how it was at ")
    assert queues_of(lines) == ["queue-00", "queue-01", "queue-02"]


def test_text_that_a_job_wrote_does_not_drive_the_terminal() -> None:
    answer = status(1, 1)
    job = answer["pools"]["queue-00"]["workers"][0]["jobs"][0]
    job.update(id="\x1b[2J", job="\x1b]0;x\x07")
    assert not {"\x1b", "\x07"} & set("".join(drawn(answer)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0, "0"), (99_999, "99999"), (100_000, "100k"), (1_234_567, "1.2M"),
        (999_999, "1000k"), (12_345_678, "12M"), (5 * 10**12, "5.0T"),
    ],
)  # fmt: skip
def test_counts_are_short(value: float | None, text: str) -> None:
    assert columns.number(value) == text


def test_restarts_are_ends_that_somebody_followed() -> None:
    exits = {"signal": 2, "max_jobs": 4, "empty": 9, "crash": 0}
    assert columns.restarts(exits) == 6
    assert columns.exits_text(exits) == "6 (signal 2, max_jobs 4)"
    assert columns.exits_text({"empty": 1}) == "0"
