"""Durations and sizes as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.units import (
    format_duration,
    format_latency,
    format_rate,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (0, 0),
        (3, 3),
        (2.5, 2.5),
        ("3", 3),
        ("0.5", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("12h", 43_200),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("250ms", 0.25),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        (" 5 M ", 300),
        ("1.5h", 5_400),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("soon", "expected a duration"),
        ("", "expected a duration"),
        ("5 6", "expected a duration"),
        ("5x", "expected a duration"),
        ("-3s", "cannot be negative"),
        ("-", "expected a duration"),
        ("m5", "expected a duration"),
        ("٣", "expected a duration"),
        ("1:30", "write 1m30s or 1h30m"),
        (-1, "cannot be negative"),
        (True, "expected a duration"),
        (None, "expected a duration"),
        ([5], "expected a duration"),
        (float("nan"), "expected a duration"),
        (float("inf"), "at most"),
        (10**400, "at most"),
        ("9" * 400, "at most"),
        ("40000d", "at most"),
    ],
)
def test_no_durations(text: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_duration(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (1024, 1024),
        ("100", 100),
        ("100B", 100),
        ("64KiB", 65_536),
        ("512 mib", 536_870_912),
        ("1.5GB", 1_500_000_000),
        ("1TiB", 2**40),
        ("0.1KiB", 102),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("512M", "write 512MiB or 512MB"),
        ("1g", "write 1GiB or 1GB"),
        ("big", "expected a size"),
        ("", "expected a size"),
        (-1, "cannot be negative"),
        (2.5, "expected a size"),
        (True, "expected a size"),
        (None, "expected a size"),
        ("9" * 400, "at most"),
        (10**40, "at most"),
    ],
)
def test_no_sizes(text: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_size(text)  # type: ignore[arg-type]


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1, "1s"),
        (1.26, "1.3s"),
        (59, "59s"),
        (60, "1m"),
        (125, "2m 5s"),
        (3_600, "1h"),
        (3_605, "1h"),
        (90_000, "1d 1h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (65_536, "64 KiB"), (1_572_864, "1.5 MiB"), (2**41, "2 TiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 10**9))
def test_a_duration_for_people_is_a_duration(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.05)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (0.001, "0.01"), (0.016, "0.02"), (3.14, "3.1"), (123.4, "123.4"),
     (4321.6, "4322")],
)  # fmt: skip
def test_rates(value: float, text: str) -> None:
    assert format_rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0s"), (0.01234, "12ms"), (3.456, "3.5s"), (59.96, "1m"), (125.0, "2m 5s")],
)
def test_latencies(value: float, text: str) -> None:
    assert format_latency(value) == text
