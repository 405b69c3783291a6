"""rate_limit of queue.yaml and of the command line: what is taken, and what is refused."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from queued.config.json_schema import json_schema
from queued.config.load import load
from queued.drivers.brakes import RateLimit, whole
from queued.errors import ConfigError
from queued.units import parse_rate

DAY = 86_400.0


@pytest.mark.parametrize(
    ("text", "jobs", "seconds"),
    [
        ("100/1m", 100, 60),
        ("5/s", 5, 1),
        ("5/S", 5, 1),
        (" 100 / 1 m ", 100, 60),
        ("3/500ms", 3, 0.5),
        ("1/1.5h", 1, 5_400),
        ("0/1d", 0, 86_400),
        ("7/2w", 7, 1_209_600),
    ],
)
def test_rates(text: str, jobs: int, seconds: float) -> None:
    assert parse_rate(text) == (jobs, seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", "5/", "/s", "/", "-5/s", "1.5/s", "5/0s", "5/1.2.3s", "5/-1s", "5/x", "5/60", "5/s/2",
     "soon", "٣/s"],
)  # fmt: skip
def test_no_rates(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a (rate|duration) such as"):
        parse_rate(text)


@given(st.text(alphabet="0123456789/. smhdwx-"))
def test_any_text_is_a_rate_or_a_value_error(text: str) -> None:
    try:
        jobs, seconds = parse_rate(text)
    except ValueError:
        return
    assert jobs >= 0
    assert seconds > 0


def limit_of(folder: Path, setting: str, defaults: str = "", **environ: str) -> RateLimit | None:
    text = f"defaults: {{{defaults}}}\nqueues:\n  a: {{{setting}}}\n"
    (folder / "queue.yaml").write_text(text)
    return load(folder / "queue.yaml", environ).config.queues["a"].rate_limit


@pytest.mark.parametrize(
    ("setting", "every", "burst"),
    [
        ("100/1m", 0.6, 2),  # what comes in a second, rounded up
        ("60/1m", 1.0, 1),
        ("50/s", 0.02, 50),
        ("3/2s", 2 / 3, 2),
        ("1/1d", DAY, 1),
        ("1/400w", 2_800 * DAY, 1),
        ("1000000/1ms", 1e-9, 10**9),
        ("{jobs: 100, per: 1m}", 0.6, 2),
        ("{jobs: 100, per: 1m, burst: 10}", 0.6, 10),
        ("{jobs: 1, per: 60, burst: none}", 60.0, 1),
        ("{jobs: 5, per: 1s, burst: 0}", 0.2, 5),
    ],
)
def test_limits(tmp_path: Path, setting: str, every: float, burst: int) -> None:
    limit = limit_of(tmp_path, f"rate_limit: {setting}")
    assert limit == (pytest.approx(every), burst)
    document = {"queues": {"a": {"rate_limit": yaml.safe_load(setting)}}}
    jsonschema.validate(document, json_schema())


@pytest.mark.parametrize("setting", ["none", "None", "", "0", "null", "''"])
def test_no_limit(tmp_path: Path, setting: str) -> None:
    """A queue may have none where ``defaults`` have one."""
    assert limit_of(tmp_path, f"rate_limit: {setting}", "rate_limit: 5/s") is None
    assert limit_of(tmp_path, "", "rate_limit: 5/s") == (0.2, 5)
    assert limit_of(tmp_path, "") is None


def test_the_environment_may_say_it(tmp_path: Path) -> None:
    assert limit_of(tmp_path, "rate_limit: '${RATE}'", RATE="50/s") == (0.02, 50)
    assert limit_of(tmp_path, "rate_limit: '${RATE:-none}'") is None
    setting = "rate_limit: {jobs: '${N}', per: '${T}', burst: '${B}'}"
    assert limit_of(tmp_path, setting, N="100", T="1m", B="3") == (0.6, 3)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("5", "rate_limit: expected a rate such as 100/1m, got 5; say in what time: 5/1m"),
        ("-5", "rate_limit: expected a rate such as 100/1m, got -5"),
        ("0.5", "rate_limit: expected a rate such as 100/1m, got 0.5"),
        ("true", "rate_limit: expected a rate such as 100/1m, got true"),
        ("false", "rate_limit: expected a rate such as 100/1m, got false"),
        ("[5]", "rate_limit: expected a rate such as 100/1m, got a list"),
        ("soon", "rate_limit: expected a rate such as 100/1m or 5/s, got 'soon'"),
        ("5/0s", "rate_limit: expected a rate such as 100/1m or 5/s, got '5/0s'"),
        ("0/1m", "rate_limit: expected 1 to 1000000 jobs, got '0/1m'"),
        ("1000001/s", "rate_limit: expected 1 to 1000000 jobs, got '1000001/s'"),
        ("{jobs: 5}", "rate_limit: per is missing"),
        ("{per: 5s}", "rate_limit: jobs is missing"),
        ("{jobs: many, per: 1s}", "rate_limit.jobs: expected a whole number, got 'many'"),
        ("{jobs: 0, per: 1s}", "rate_limit.jobs: must be at least 1, got 0"),
        ("{jobs: 5, per: soon}", "rate_limit.per: expected a duration such as 30s, 5m or 1h30m,"),
        ("{jobs: 5, per: 0}", "rate_limit.per: must be at least 0.001, got 0.0"),
        ("{jobs: 5, per: 1s, burst: -1}", "rate_limit.burst: must be at least 1, got -1"),
        ("{jobs: 5, per: 1s, burst: x}", "rate_limit.burst: expected a whole number, got 'x'"),
        ("{jobs: 5, per: 1s, brust: 1}", 'rate_limit.brust: unknown key; did you mean "burst"?'),
        ("{jobs: 5, per: 1s, xy: 1}", "rate_limit.xy: unknown key; expected jobs, per or burst"),
    ],
)
def test_what_is_no_limit(tmp_path: Path, setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        limit_of(tmp_path, f"rate_limit: {setting}")
    [line] = caught.value.problems
    assert f"queue.yaml:3: queues.a.{said}" in line


def test_what_the_environment_says_is_not_shown(tmp_path: Path) -> None:
    for setting in ("'${S}'", "{jobs: '${S}', per: 1s}", "{jobs: 1, per: '${S}'}"):
        with pytest.raises(ConfigError) as caught:
            limit_of(tmp_path, f"rate_limit: {setting}", S="hunter2")
        assert "hunter2" not in str(caught.value)


@given(
    st.builds(RateLimit, st.floats(1e-6, 1e6), st.integers(1, 1000)),
    st.floats(0, 1000),
    st.floats(1e9, 2e9),
)
def test_what_is_stored_gives_the_tokens_that_there_were(
    limit: RateLimit, tokens: float, now: float
) -> None:
    """A clock in seconds since the epoch has parts of a microsecond."""
    tokens = min(tokens, float(limit.burst))
    found = limit.tokens(limit.opens_at(tokens, now), now)
    assert found == pytest.approx(tokens, abs=1e-6 / limit.every + 1e-6)
    assert (limit.wait(found) is None) == (whole(found) >= 1)
