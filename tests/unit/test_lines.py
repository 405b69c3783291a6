"""A log that nobody reads stops nobody: real pipes, sockets and terminals that fill up."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import socket
import tty
from collections.abc import Iterator
from typing import Any

import pytest

from queued.daemon import logs
from queued.daemon.logs import lines
from queued.daemon.logs.lines import Lines
from queued.daemon.spec import LogSpec

LINE = "x" * 100


class Reader:
    """The other end of what is written to; it reads only when it is told."""

    def __init__(self, kind: str) -> None:
        match kind:
            case "pipe":
                self._fd, self.writer = os.pipe()
            case "terminal":
                self._fd, self.writer = pty.openpty()
                tty.setraw(self.writer)
            case "socket":
                ours, theirs = socket.socketpair()
                self._fd, self.writer = ours.detach(), theirs.detach()
        os.set_blocking(self._fd, False)

    def read(self) -> list[str]:
        """Return every line that has been written."""
        data = b""
        try:
            while more := os.read(self._fd, 65_536):
                data += more
        except BlockingIOError:
            pass
        return data.decode().splitlines()

    def close(self) -> None:
        os.close(self._fd)
        os.close(self.writer)


@pytest.fixture(params=["pipe", "socket", "terminal"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setattr(lines, "READER_PATIENCE", 0.01)
    made = Reader(request.param)
    logs.configure(LogSpec(format="json"), fd=made.writer)
    yield made
    logs.configure(LogSpec())
    made.close()


def fill(written: Lines) -> int:
    """Write lines until one is dropped; return how many were written."""
    count = 0
    while not written._dropped:
        written.msg(LINE)
        count += 1
    return count - 1


def test_what_nobody_reads_is_dropped_and_counted_and_then_goes_on(reader: Reader) -> None:
    log = Lines(reader.writer)
    written = fill(log)
    for _ in range(99):
        log.msg(LINE)
    assert reader.read()[:written] == [LINE] * written
    log.msg("and on")
    found = reader.read()
    assert found[-2] == "and on"
    assert json.loads(found[-1])["event"] == "log.dropped"
    assert json.loads(found[-1])["lines"] == 100
    log.msg("again")
    assert reader.read() == ["again"]


def test_errors_among_what_was_dropped_are_told_as_errors(reader: Reader) -> None:
    log = Lines(reader.writer)
    fill(log)
    for _ in range(3):
        log.error(LINE)
        log.critical(LINE)
        log.warning(LINE)
    reader.read()
    log.info("and on")
    told = json.loads(reader.read()[-1])
    assert (told["lines"], told["errors"], told["level"]) == (10, 6, "error")
    fill(log)
    reader.read()
    log.info("and on")
    told = json.loads(reader.read()[-1])
    assert (told["lines"], told["errors"], told["level"]) == (1, 0, "warning")


def test_the_descriptor_is_left_as_it_is(reader: Reader) -> None:
    """Its flags are everybody's who shares the terminal or the pipe."""
    fill(Lines(reader.writer))
    assert not fcntl.fcntl(reader.writer, fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_default_timeout_of_sockets_is_not_for_the_log(reader: Reader) -> None:
    socket.setdefaulttimeout(3600)
    try:
        fill(Lines(reader.writer))
    finally:
        socket.setdefaulttimeout(None)
    assert not fcntl.fcntl(reader.writer, fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_line_that_was_cut_off_does_not_run_into_the_next(reader: Reader) -> None:
    log = Lines(reader.writer)
    log.msg("y" * 4_000_000)
    first = "".join(reader.read())
    log.msg("next")
    assert set(first) == {"y"}
    assert len(first) < 4_000_000
    assert "next" in reader.read()


def test_only_the_first_line_waits(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal may take a little more at any time: then the next line is a first one again."""
    log = Lines(reader.writer)
    waits: list[int] = []
    wait = select.select

    def watched(*arguments: Any) -> Any:
        if arguments[-1] > 0:
            waits.append(log._dropped)
        return wait(*arguments)

    monkeypatch.setattr(select, "select", watched)
    fill(log)
    for _ in range(10):
        log.msg(LINE)
    assert set(waits) == {0}
