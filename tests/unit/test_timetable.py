"""When schedules tick, over simulated time."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queued.jobs.timetable import LATE, Due, Timetable, check_cron, zone

PARIS = ZoneInfo("Europe/Paris")
DAY = 86_400


def at(text: str, tz: ZoneInfo | None = None) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=tz or UTC).timestamp())


def cron(expression: str, timezone: str = "UTC") -> Timetable:
    return Timetable(cron=expression, every=None, timezone=timezone)


def every(seconds: float) -> Timetable:
    return Timetable(cron=None, every=seconds)


def local(table: Timetable, after: str, count: int) -> list[str]:
    ticks = islice(table.ticks(at(after, PARIS)), count)
    return [datetime.fromtimestamp(tick, PARIS).strftime("%d %H:%M%z") for tick in ticks]


def test_an_interval_is_the_same_on_every_host():
    assert list(islice(every(600).ticks(at("2026-11-27 14:03:10")), 3)) == [
        at("2026-11-27 14:10"), at("2026-11-27 14:20"), at("2026-11-27 14:30"),
    ]  # fmt: skip


def test_cron_by_the_clock_of_a_place():
    assert local(cron("0 3 * * 0", "Europe/Paris"), "2026-11-27", 2) == [
        "29 03:00+0100",
        "06 03:00+0100",
    ]
    assert cron("0 3 * * *").next(at("2026-11-27 03:00")) == at("2026-11-28 03:00")


def test_a_time_that_the_clock_leaves_out_comes_right_after_the_gap():
    table = cron("30 2 * * *", "Europe/Paris")
    assert local(table, "2026-03-28 12:00", 2) == ["29 03:00+0200", "30 02:30+0200"]


def test_a_time_that_the_clock_shows_twice_comes_once():
    table = cron("30 2 * * *", "Europe/Paris")
    assert local(table, "2026-10-24 12:00", 2) == ["25 02:30+0200", "26 02:30+0100"]


def test_each_hour_is_each_hour_whatever_the_clock_does():
    for day in ("2026-03-29", "2026-10-25"):
        ticks = list(islice(cron("0 * * * *", "Europe/Paris").ticks(at(day, PARIS)), 6))
        assert {after - before for before, after in pairwise(ticks)} == {3600}


expressions = st.sampled_from(
    ["30 2 * * *", "*/7 * * * *", "0 3 * * 0", "15 1,2,3 * * *", "0 0 1 * *", "*/30 2 * * 1-5"]
)
zones = st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe"])
moments = st.one_of(
    st.integers(at("2026-01-01"), at("2027-12-31")),
    st.integers(at("2026-03-28 22:00"), at("2026-03-29 06:00")),  # Paris springs forward
    st.integers(at("2026-10-24 22:00"), at("2026-10-25 06:00")),  # and falls back
)


@settings(max_examples=200)
@given(expressions, zones, moments, st.integers(0, 8 * 3600))
def test_it_does_not_matter_from_where_one_looks(expression, timezone, start, later):
    """A host that looks later sees the same ticks: each is there once, and none twice."""
    table = cron(expression, timezone)
    end = start + 3 * DAY
    ticks = list(takewhile(lambda tick: tick <= end, table.ticks(start)))
    assert ticks == sorted(set(ticks))
    later += start
    seen = list(takewhile(lambda tick: tick <= end, table.ticks(later)))
    assert seen == [tick for tick in ticks if tick > later]


def test_what_is_due():
    table = every(60)
    now = at("2026-11-27 14:00:30")
    assert table.due(now - 10, now) == Due([], None)
    assert table.due(at("2026-11-27 13:59"), now) == Due([at("2026-11-27 14:00")], None)
    assert table.due(at("2026-11-27 13:00"), now) == Due(
        [at("2026-11-27 14:00")], at("2026-11-27 13:59")
    )


def test_ticks_of_the_last_minute_are_all_on_time():
    now = at("2026-11-27 14:00:30")
    assert every(1).due(now - 5, now) == Due([now - 4, now - 3, now - 2, now - 1, now], None)
    due = every(1).due(now - 1000, now)
    assert (len(due.on_time), due.missed) == (LATE, now - LATE)


def test_a_missed_tick_is_the_newest_one():
    table = cron("0 3 * * *")
    due = table.due(at("2026-11-20 03:00"), at("2026-11-27 14:00"))
    assert due == Due([], at("2026-11-27 03:00"))
    assert table.due(at("2026-11-27 03:00"), at("2026-11-27 14:00")) == Due([], None)


def test_after_years_it_is_found_at_once():
    table = cron("* * * * *")
    now = at("2026-11-27 14:00:30")
    assert table.due(at("2010-01-01"), now).missed == at("2026-11-27 13:59")
    yearly = cron("0 0 1 1 *")
    assert yearly.due(at("2010-01-01"), now).missed == at("2026-01-01")
    leap = cron("0 0 29 2 *")
    assert leap.due(at("2010-01-01"), now).missed == at("2024-02-29")
    assert leap.next(now) == at("2028-02-29")


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("0 3 * *", "expected five fields"),
        ("0 0 3 * * *", "expected five fields"),
        ("@daily", "expected five fields"),
        ("61 * * * *", "its minute is wrong"),
        ("* * 31 2 *", "its day-of-month is wrong"),
        ("* * * * frog", "its day-of-week is wrong"),
    ],
)
def test_wrong_expressions(expression, problem):
    with pytest.raises(ValueError, match=problem):
        check_cron(expression)


@pytest.mark.parametrize("name", ["Europe/Pari", "", "/etc/passwd", "../UTC", "CET CEST"])
def test_wrong_time_zones(name):
    with pytest.raises(ValueError, match="expected a time zone such as"):
        zone(name)


def test_nothing_is_no_schedule():
    with pytest.raises(ValueError, match="cron, or every"):
        Timetable(cron=None, every=None)
