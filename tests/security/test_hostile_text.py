"""Text that others wrote forges no line of the log and drives no terminal."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from queued.daemon import logs
from queued.daemon.spec import LogSpec
from queued.drivers import driver_for
from queued.drivers.base import Fail, NewJob
from queued.drivers.states import Charge
from queued.jobs.text import error_text
from tests.security.fuzz import FUZZ, HOSTILE, hostile_text, is_safe
from tests.unit.commands import Application, application

app = pytest.fixture(application)


@dataclass
class Written:
    """What is written to ``fd``, read back by a call."""

    reader: int
    fd: int

    def __call__(self) -> str:
        data = b""
        try:
            while more := os.read(self.reader, 1 << 20):
                data += more
        except BlockingIOError:
            pass
        return data.decode()


@pytest.fixture
def written() -> Iterator[Written]:
    """Yield what reads back what this process has logged; logging is as before afterwards."""
    root = logging.getLogger()
    level, hook = root.level, threading.excepthook
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield Written(reader, writer)
    for handler in root.handlers[:]:
        if isinstance(handler, logs.Forward):
            root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    threading.excepthook = hook
    structlog.reset_defaults()
    for fd in (reader, writer):
        os.close(fd)


values = st.recursive(
    hostile_text | st.integers() | st.floats() | st.none() | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=5,
)
names = st.text(st.characters(categories=["L"]), min_size=1, max_size=8) | hostile_text


def log_all(text: str, fields: dict[str, Any]) -> None:
    fields = {
        key: value for key, value in fields.items() if key not in {"event", "exc_info", "self"}
    }
    structlog.get_logger().warning(text, **fields)
    logging.getLogger(text).warning("%s", text, extra={"mine": fields})


@FUZZ
@given(hostile_text, st.dictionaries(names, values, max_size=3))
def test_a_line_of_json_stays_one_line(written: Written, text: str, fields: dict[str, Any]) -> None:
    logs.configure(LogSpec(format="json"), fd=written.fd)
    log_all(text, fields)
    out = written()
    lines = out.split("\n")
    assert len(lines) == 3
    assert lines[2] == ""
    for line in lines[:2]:
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["level"] == "warning"


@FUZZ
@given(hostile_text, st.dictionaries(names, values, max_size=3))
def test_a_line_of_the_console_stays_one_line(
    written: Written, text: str, fields: dict[str, Any]
) -> None:
    logs.configure(LogSpec(format="console"), fd=written.fd)
    multiline = {"stack", "exception", "stack_info"}
    log_all(text, {key: value for key, value in fields.items() if key not in multiline})
    out = written()
    assert out.count("\n") == 2
    assert all(is_safe(line) for line in out.split("\n")), out


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_forges_nothing(written: Written, style: str) -> None:
    logs.configure(LogSpec(format=style), fd=written.fd)
    said = '\x1b[2J\n{"level": "info", "event": "forged"}\r\x9b31m\u2028\u202e'
    try:
        raise ValueError(said)  # noqa: TRY301 - here its traceback begins
    except ValueError:
        structlog.get_logger().exception("job.failed")
    out = written()
    if style == "json":
        assert out.count("\n") == 1
        assert out.isascii()
    lines = out.split("\n")
    assert all(is_safe(line) for line in lines), out
    assert sum('"event": "forged"' in line or '\\"forged\\"' in line for line in lines) >= 1


@FUZZ
@given(hostile_text)
def test_the_text_of_an_error_is_one_line(text: str) -> None:
    kind = type("Own", (Exception,), {"__module__": text, "__qualname__": text})
    assert is_safe(error_text(ValueError(text)))
    assert is_safe(error_text(kind(text)))


RECORD = {
    "error": "".join(HOSTILE)[:400],
    "type": "\x1b[31mbuiltins.ValueError\n",
    "traceback": "line\n\x1b]0;pwned\x07\x9b2J\u2028\u202e\ud800line",
    "worker": "a\x1b[0m",
    "job": "\x1b[31m",
    "reason": "\r\n",
    "dossier": {
        "ending": "\x1b[31m",
        "host": "\x9b",
        "stack": "\x1b[2J\n",
        "log": ["\x1b[2J", "{"],
    },
}
COMMANDS = ("job", "failed show", "failed list", "failed retry")


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_commands_drive_no_terminal(app: Application, as_json: bool) -> None:
    """What a worker of another version, or somebody with access to the back-end, has stored."""

    async def store() -> None:
        driver = driver_for(app.url)
        await driver.open()
        names = ["\x1b[31m", 'x\\u001b[31m\\n\\u2028\\u009b\\ud800"', "work.Job"]
        for number, name in enumerate(names):
            payload = (
                b'{"v":1,"job":"' + name.encode() + b'"}\n{"a":"\\u001b[2J\\u009b\\ud800\x1b"}'
            )
            await driver.enqueue("default", [NewJob(f"id-{number}", payload)])
        taken = await driver.exchange("default", "owner", want=len(names))
        record = json.dumps(RECORD).encode()
        fails = [
            Fail(one.id, one.fence, Charge.ERROR, record, note=json.dumps(RECORD).encode())
            for one in taken.jobs
        ]
        await driver.exchange("default", "owner", fails, nonce=1)
        await driver.close()

    asyncio.run(store())
    for number in range(3):
        for command in COMMANDS:
            identity = [] if "list" in command else [f"id-{number}"]
            answer = app(*command.split(), *identity, *(["--json"] if as_json else []))
            assert answer.code == 0, answer
            for line in (answer.out + answer.err).split("\n"):
                assert is_safe(line), f"{command}: {line!r}"
            if as_json:
                json.loads(answer.out)


@pytest.mark.parametrize("text", [one for one in HOSTILE if not {"\0", "\ud800", "N"} & set(one)])
def test_what_is_typed_is_not_echoed_raw(app: Application, text: str) -> None:
    for command in (
        ["job", text],
        ["purge", text],
        ["failed", "list", "--queue", text],
        ["status", "-c", text],
        ["check", "-c", text],
        ["dispatch", text],
        ["dispatch", app.job("Nightly"), text],
        ["dispatch", app.job("Nightly"), "--queue", text],
        ["dispatch", app.job("Nightly"), "--id", text],
        ["work", "--queue", text],
        [text],
        ["failed", text],
        ["job", "x", "--connection", text],
        ["failed", "list", "--limit", text],
    ):
        answer = app(*command)
        assert answer.code != 70, answer
        assert "Traceback" not in answer.err
        for line in (answer.out + answer.err).split("\n"):
            assert is_safe(line), f"{command}: {line!r}"
