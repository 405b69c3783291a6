"""Stored payloads: their header, names that are not registered, and bodies as text."""

from __future__ import annotations

import json
import sys

import pytest

from queued.errors import (
    CorruptPayload,
    InvalidJob,
    UnknownJob,
)
from queued.jobs import header, payload, registry
from queued.jobs.job import Job
from tests.unit.payloads import (
    SendEmail,
    kept_registry,
)

_registry = pytest.fixture(autouse=True)(kept_registry)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "its first line is no header"),
        (b"\n{}", "its first line is no header"),
        (b'{"v":2,"job":"x"}\n{}', "version 2, and this queued reads 1"),
        (b'{"v":1}\n{}', "is no header"),
        (b"[" * 900 + b"\n{}", "is no header"),
        (b'{"v":1,"job":"' + b"x" * 2_000 + b'"}\n{}', "is no header"),
    ],
)
def test_a_broken_header_is_corrupt(data: bytes, message: str) -> None:
    with pytest.raises(CorruptPayload, match=message):
        payload.decode(data)


def test_a_payload_without_a_body_is_corrupt() -> None:
    header = payload.encode(SendEmail(to="a")).partition(b"\n")[0]

    with pytest.raises(CorruptPayload, match="has no body"):
        payload.decode(header)


def test_a_name_that_is_not_registered_is_unknown_and_never_imported() -> None:
    module = "this_module_must_never_be_imported"
    data = json.dumps({"v": 1, "job": f"{module}.X\n"}).encode() + b"\n{}"

    with pytest.raises(UnknownJob, match=rf'no job is registered as "{module}.X\\n"'):
        payload.decode(data)
    assert module not in sys.modules


def test_unknown_names_suggest_a_near_one_and_do_not_fill_memory() -> None:
    known = len(header._headers)
    for number in range(50):
        data = (
            json.dumps({"v": 1, "job": f"{SendEmail.__module__}.SendEmial{number}"}).encode()
            + b"\n{}"
        )
        with pytest.raises(UnknownJob, match=r"did you mean \".*SendEmail\""):
            payload.decode(data)

    assert len(header._headers) == known


def test_the_search_for_a_near_name_is_made_once_for_each_state_of_the_registry() -> None:
    def message() -> str:
        with pytest.raises(UnknownJob) as caught:
            registry.lookup("shop.SendParsel")
        return str(caught.value)

    assert "is its module in imports?" in message()
    searched = registry._hint.cache_info().misses
    assert message() == message()
    assert registry._hint.cache_info().misses == searched

    class SendParcel(Job):
        name = "shop.SendParcel"

    assert 'did you mean "shop.SendParcel"?' in message()


def test_the_name_is_read_from_the_header_alone() -> None:
    assert (
        payload.job_name(payload.encode(SendEmail(to="a"))) == f"{SendEmail.__module__}.SendEmail"
    )
    assert payload.job_name(b'{"v":1,"job":"gone.Class"}\nno json') == "gone.Class"
    assert payload.job_name(b"garbage") is None


def test_a_name_from_outside_is_safe_to_print_and_to_encode() -> None:
    assert payload.job_name(b'{"v":1,"job":"a\\ud800\\n\\u001b[31m"}\n{}') == "a\\ud800\\n\\x1b[31m"


def test_body_text_hides_secrets_and_escapes() -> None:
    data = b'{"v":1,"job":"x"}\n{"user":"ann\\u001b[31m","password":"p","list":[{"api_key":1}]}'

    assert payload.body_text(data) == (
        '{"user": "ann\\u001b[31m", "password": "***", "list": [{"api_key": "***"}]}'
    )
    assert '"p"' in payload.body_text(data, reveal=True)
    assert payload.body_text(b"\xff\x00\x1b") == "\\xff\\x00\\x1b"


@pytest.mark.parametrize("broken", [b"", b',"n":' + b"1" * 5_000 + b"}", b',"n":' + b"[" * 100_000])
def test_body_text_hides_what_it_cannot_read_and_may_hold_a_secret(broken: bytes) -> None:
    data = b'{"v":1,"job":"x"}\n{"password":"hunter2"' + broken

    assert "hunter2" not in payload.body_text(data)
    assert "hunter2" in payload.body_text(data, reveal=True)


def test_build_makes_a_job_of_what_people_type() -> None:
    job = payload.build(f"{SendEmail.__module__}.SendEmail", b'{"to": "a@b.c"}')

    assert vars(job) == {"to": "a@b.c", "subject": "Hello"}
    with pytest.raises(InvalidJob, match=r"SendEmail\.to: Field required"):
        payload.build(f"{SendEmail.__module__}.SendEmail", b"{}")
    with pytest.raises(InvalidJob, match="Invalid JSON"):
        payload.build(f"{SendEmail.__module__}.SendEmail", b"{")
    with pytest.raises(UnknownJob):
        payload.build("nobody.knows", b"{}")
