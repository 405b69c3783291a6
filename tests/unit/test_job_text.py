"""Text of others: on one line, without control characters, with secrets hidden."""

from __future__ import annotations

from asyncio import CancelledError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.jobs.redaction import looks_secret, redact
from queued.jobs.text import error_text, nearest, one_line, safe_lines


@given(st.text(), st.integers(min_value=1, max_value=200))
def test_one_line_is_one_printable_line_that_fits(text: str, limit: int) -> None:
    line = one_line(text, limit)

    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    line.encode()
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in line)


def test_control_characters_are_shown_as_escapes() -> None:
    assert one_line("a\r\n\tb\x1b[31m\u2028\u202e\ud800") == r"a\r\n\tb\x1b[31m\u2028\u202e\ud800"


def test_lines_are_kept_where_they_may() -> None:
    assert safe_lines("a\n\tb\x1b\r") == "a\n\tb\\x1b\\r"


def test_the_text_of_an_error_has_its_kind() -> None:
    assert error_text(ValueError("boom\nbang")) == r"ValueError: boom\nbang"
    assert error_text(KeyError()) == "KeyError"


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit, KeyboardInterrupt, CancelledError])
def test_an_error_that_cannot_be_printed_has_a_text(raised: type[BaseException]) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise raised

    assert error_text(Odd()) == "Odd: (its message cannot be printed)"


def test_the_nearest_name_is_suggested() -> None:
    assert nearest("subjct", ["to", "subject"]) == '; did you mean "subject"?'
    assert nearest("x", ["to", "subject"]) == ""


SECRET = (
    "password db_passwd passphrase token access_token api_key apikey APIKey secret client_secret"
    " authorization auth credentials private_key cookie session_id card_number pin jwt"
)


@pytest.mark.parametrize("name", SECRET.split())
def test_names_that_look_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name", ["to", "subject", "author", "key", "user_id", "pinned", "passenger", "keyword", "body"]
)
def test_names_that_do_not(name: str) -> None:
    assert not looks_secret(name)


def test_redaction_reaches_into_data() -> None:
    assert redact({"a": [{"token": {"x": 1}}], "b": 1}) == {"a": [{"token": "***"}], "b": 1}
