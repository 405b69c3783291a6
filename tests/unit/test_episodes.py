"""Alerts begin once and end once, whatever flaps between, and outlive a monitor."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from queued.daemon.monitor.alerts.episodes import (
    OPENED,
    RESOLVED,
    STEADY,
    Episodes,
    EpisodesFile,
    Notice,
    a_test,
)
from queued.daemon.monitor.alerts.readings import Alert, Finding, Reading

BAD, GOOD, UNCLEAR = Finding.BAD, Finding.GOOD, Finding.UNCLEAR


def reading(finding: Finding, alert: Alert = Alert.QUEUE_LATE, subject: str = "emails") -> Reading:
    return Reading(
        alert=alert, subject=subject, finding=finding, message=f"it is {finding.value}", value=1.0
    )


class Watch:
    """Episodes, and a clock of seconds."""

    def __init__(self) -> None:
        self.episodes = Episodes()
        self.now = 1_000.0

    def see(self, finding: Finding, seconds: int = 1, **what: object) -> list[Notice]:
        """Take a reading each second; return all that was said."""
        said = []
        for _ in range(seconds):
            self.now += 1
            said += self.episodes.look([reading(finding, **what)], now=self.now, at=self.now + 1e9)
        return said


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_an_episode_is_said_once_and_its_end_once(watch: Watch) -> None:
    [opened] = watch.see(BAD, 600)
    assert (opened.type, opened.alert, opened.subject) == (OPENED, "queue.late", "emails")
    assert opened.message == "it is bad"
    [resolved] = watch.see(GOOD, 600)
    assert resolved.type == RESOLVED
    assert resolved.episode == opened.episode
    assert resolved.id != opened.id
    assert resolved.opened_at == opened.opened_at
    assert resolved.message == "it is good; it lasted 10m 50s"


def test_what_lasts_too_shortly_is_not_said(watch: Watch) -> None:
    to_open, _ = STEADY[Alert.QUEUE_LATE]
    assert watch.see(BAD, int(to_open)) == []
    assert watch.see(GOOD) == watch.see(BAD, int(to_open)) == []
    assert len(watch.see(BAD)) == 1


def test_what_flaps_is_one_episode(watch: Watch) -> None:
    said = watch.see(BAD, 20)
    _, to_end = STEADY[Alert.QUEUE_LATE]
    for _ in range(50):
        said += watch.see(GOOD, int(to_end) - 1) + watch.see(BAD, 3)
    assert [one.type for one in said] == [OPENED]
    assert [one.type for one in watch.see(GOOD, int(to_end) + 1)] == [RESOLVED]


def test_what_is_unclear_neither_begins_nor_ends_anything(watch: Watch) -> None:
    assert watch.see(BAD, 9) + watch.see(UNCLEAR, 100) + watch.see(BAD, 9) == []
    watch.see(BAD, 20)
    assert watch.see(UNCLEAR, 1_000) == []
    assert watch.see(GOOD, 59) + watch.see(UNCLEAR) + watch.see(GOOD, 59) == []
    assert len(watch.see(GOOD, 3)) == 1


def test_subjects_and_alerts_have_episodes_of_their_own(watch: Watch) -> None:
    watch.see(BAD, 20)
    both = [reading(GOOD), reading(BAD, Alert.POOL_FATAL), reading(BAD, subject="other")]
    said = [
        one
        for second in range(30)
        for one in watch.episodes.look(both, now=watch.now + second, at=0.0)
    ]
    assert [(one.type, one.alert, one.subject) for one in said] == [
        (OPENED, "pool.fatal", "emails"),
        (OPENED, "queue.late", "other"),
    ]


def test_what_is_not_watched_any_more_is_over(watch: Watch) -> None:
    [opened] = watch.see(BAD, 20)
    [resolved] = watch.episodes.look([], now=watch.now, at=opened.at + 3)
    assert resolved.type == RESOLVED
    assert resolved.message == "it is not watched any more; it lasted 3s"
    assert watch.episodes.open == []


@given(st.lists(st.tuples(st.sampled_from(Finding), st.integers(1, 90)), max_size=30))
def test_beginnings_and_ends_take_turns(runs: list[tuple[Finding, int]]) -> None:
    watch = Watch()
    said = [one for finding, seconds in runs for one in watch.see(finding, seconds)]
    types = [one.type for one in said]
    assert types == list(itertools.islice(itertools.cycle((OPENED, RESOLVED)), len(types)))
    assert len({one.id for one in said}) == len(said)
    for opened, resolved in zip(said[::2], said[1::2], strict=False):
        assert opened.episode == resolved.episode


def test_a_new_monitor_goes_on_with_the_episode(tmp_path: Path, watch: Watch) -> None:
    [opened] = watch.see(BAD, 20)
    file = EpisodesFile(str(tmp_path / "episodes"))
    file.save(watch.episodes.open, [opened])
    assert (tmp_path / "episodes").stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["episodes"]

    found, outbox = EpisodesFile(str(tmp_path / "episodes")).load()
    assert found == outbox == [opened]
    later = Watch()
    later.episodes.go_on(found)
    assert later.see(BAD, 100) == []
    [resolved] = later.see(GOOD, 100)
    assert resolved.episode == opened.episode


def kept(**wrong: object) -> str:
    """Return a file in which one value of a notice is of another kind."""
    values = {**asdict(a_test(1.0)), **wrong}
    return json.dumps({"open": [values], "outbox": []})


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "7", '{"open": 1}', '{"open": [{}], "outbox": []}', "\x00"),
        *(kept(opened_at="today"), kept(at=None), kept(at=1e300), kept(at=float("nan"))),
        *(kept(subject=None), kept(alert=["x"]), kept(type="other"), kept(type=["alert"])),
        *(kept(value="7"), kept(threshold=float("inf"))),
    ],
)
def test_a_file_that_is_broken_is_said_and_forgotten(tmp_path: Path, content: str) -> None:
    (tmp_path / "episodes").write_text(content)
    with capture_logs() as logged:
        assert EpisodesFile(str(tmp_path / "episodes")).load() == ([], [])
    assert [one["event"] for one in logged] == ["episodes.unreadable"]


def test_a_folder_that_takes_nothing_is_said_once(tmp_path: Path) -> None:
    file = EpisodesFile(str(tmp_path / "none" / "episodes"))
    assert file.load() == ([], [])
    with capture_logs() as logged:
        file.save([], [])
        file.save([], [])
    assert [one["event"] for one in logged] == ["episodes.not_kept"]


def test_without_a_file_nothing_is_kept() -> None:
    file = EpisodesFile(None)
    file.save([], [])
    assert file.load() == ([], [])
