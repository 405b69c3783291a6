"""A real template, asked directly: it imports once and forks on request."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from queued.daemon.channel import Channel
from queued.daemon.master import fork
from queued.daemon.master.template import IMPORTS_WITHIN, Template
from queued.daemon.master.template_process import Code
from queued.daemon.scoreboard import Scoreboard
from queued.daemon.spec import WorkerSpec
from queued.errors import ImportFailed
from tests.process.harness import is_alive, until

JUNK = {
    "text": b"garbage",
    "list": b"[]",
    "kind": b'{"type":"other"}',
    "pid": b'{"type":"forked","id":1,"pid":"1"}',
    "deep": b"[" * 100_000,
}


class Programs:
    def load(self, imports, folder):
        if "broken" in imports:
            raise ImportFailed("work.py:3: NameError: x")
        if "verbose" in imports:
            raise ImportFailed("\n".join(["work.py:3: NameError: x"] * 50_000))
        if "hangs" in imports:
            time.sleep(3600)
        if "junk" in imports:
            for fd in range(3, 4096):  # its number depends on what else is open
                with suppress(OSError):
                    os.write(fd, JUNK[imports[1]])
        return ["work starts threads"]

    def warm(self, url):
        if url == "oracle://":
            raise ImportFailed("no driver")

    def worker(self, spec, channel, board):
        channel.send({"type": "ready", "pool": spec.pool, "slots": board.slots})
        board.begin(0, "job", "Job", 1, 1.0, 0.0, 3, 0.0)
        while not channel.closed:
            channel.receive()
            time.sleep(0.01)
        return 0

    def monitor(self, spec, channel, listener):
        return 0


def spec(**settings) -> WorkerSpec:
    return WorkerSpec(
        owner="o", pool="emails", index=1, generation=1, url="sqlite:///x.db", **settings
    )


@pytest.fixture
def make(tmp_path):
    made = []

    def template(*imports: str, url: str = "sqlite:///x.db") -> Template:
        fork.become_subreaper()
        code = Code(imports, Path(tmp_path), url)
        made.append(Template(code, 1, Programs(), now=time.monotonic()))
        return made[-1]

    yield template
    for one in made:
        one.kill()
        os.waitpid(one.pid, 0)
        one.close()
    fork._prctl(fork._PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def frames(template: Template) -> list[dict]:
    return until(template.receive, "the template's word")


def test_it_says_when_its_imports_are_done(make):
    template = make("work")
    assert not template.ready
    assert frames(template) == [{"type": "ready", "warnings": ["work starts threads"]}]
    assert template.ready
    assert template.imported


@pytest.mark.parametrize(
    ("imports", "url", "error"),
    [
        (["broken"], "sqlite:///x.db", "work.py:3: NameError: x"),
        (["work"], "oracle://", "no driver"),
    ],
)
def test_it_says_why_they_are_not(make, imports, url, error):
    template = make(*imports, url=url)
    assert frames(template) == [{"type": "failed", "error": error}]
    assert template.error == error
    until(lambda: not is_alive(template.pid), "it to end")


def test_it_says_that_much_is_wrong_with_them(make):
    template = make("verbose")
    (failed,) = frames(template)
    first, *_, last = failed["error"].splitlines()
    assert first == "work.py:3: NameError: x"
    assert last.endswith("more like these")


@pytest.mark.parametrize("kind", JUNK)
def test_an_import_that_writes_to_its_socket_ends_it_and_not_its_master(make, kind):
    """Its master has thousands of jobs to look after, and an import may do what it likes."""
    template = make("junk", kind)
    until(lambda: template.receive() or not is_alive(template.pid), "its end")
    assert not template.ready
    assert template.hung == "an import wrote to a socket of queued's"


def test_imports_that_take_for_ever_hang(make):
    template = make("hangs")
    assert not template.hangs(template.started + IMPORTS_WITHIN)
    assert "imports took longer" in template.hangs(template.started + IMPORTS_WITHIN + 1.0)


def test_a_worker_is_ours_and_outlives_it(make):
    template = make("work")
    frames(template)
    ours, theirs = Channel.pair()
    board = Scoreboard.create(4)
    template.fork(7, spec(), theirs, board, now=time.monotonic())
    theirs.close()
    assert template.pending
    (answer,) = frames(template)
    assert (answer["type"], answer["id"]) == ("forked", 7)
    assert not template.pending
    (ready,) = until(ours.receive, "the worker's word")
    assert (ready["pool"], ready["slots"]) == ("emails", 4)
    assert [slot.job_id for slot in board.read()] == ["job"]  # one memory for both
    template.kill()
    until(lambda: not is_alive(template.pid), "the template's end")
    assert is_alive(answer["pid"])
    ours.close()
    assert os.waitpid(answer["pid"], 0) == (answer["pid"], 0)  # it is our own child
    board.close()


def test_many_requests_at_once(make):
    """More than the socket takes: the rest is sent when there is room."""
    template = make("work")
    frames(template)
    ends = []
    for key in range(60):
        ours, theirs = Channel.pair()
        board = Scoreboard.create(1)
        template.fork(key, spec(env={"PAD": "x" * 20_000}), theirs, board, now=time.monotonic())
        theirs.close()
        ends.append((ours, board))
    answers: list[dict] = []

    def all_answered() -> bool:
        template.flush()
        answers.extend(template.receive())
        return len(answers) == 60

    until(all_answered, "all answers")
    assert {answer["type"] for answer in answers} == {"forked"}
    assert sorted(answer["id"] for answer in answers) == list(range(60))
    for ours, board in ends:
        ours.close()
        board.close()
    for answer in answers:
        os.waitpid(answer["pid"], 0)


def test_it_hangs_when_it_does_not_answer(make):
    template = make("work")
    frames(template)
    ours, theirs = Channel.pair()
    board = Scoreboard.create(1)
    now = time.monotonic()
    template.fork(1, spec(), theirs, board, now=now)
    assert not template.hangs(now + 1.0)
    assert template.hangs(now + 11.0)
    template.fork(2, spec(), theirs, board, now=now)
    theirs.close()
    ours.close()
    first, *rest = frames(template)
    assert not template.hangs(now + 10.0)  # it has answered, if not all
    (second,) = rest or frames(template)
    for answer in (first, second):
        os.waitpid(answer["pid"], 0)
    assert not template.hangs(now + 100.0)
    board.close()


def test_closed_it_ends(make):
    template = make("work")
    frames(template)
    template.close()
    until(lambda: not is_alive(template.pid), "it to end with its socket")
    assert template.closed
