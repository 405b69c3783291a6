"""Which failures are the same."""

import json
from itertools import pairwise

import pytest

from queued import Job
from queued.drivers.base import Reservation
from queued.jobs.fingerprint import constant_part, fingerprint, raised_in
from queued.jobs.limits import Limits
from queued.jobs.outcome import decide


class Breaks(Job):
    name = "test.fp_breaks"
    how: int = 0

    def handle(self):
        if self.how < 100:
            self._lookup({})
        json.loads("{" * self.how)

    def _lookup(self, known):
        try:
            known[self.how]
        except KeyError as error:
            raise ValueError(f"no customer {self.how} ('{self.how * 'x'}')") from error


def of(how: int):
    job = Breaks(how=how)
    reservation = Reservation("id", b'{"v":1,"job":"x"}\n{}', 1, 0, 0, 0)
    try:
        job.handle()
    except ValueError as error:
        end = decide(reservation, error, Limits(max_tries=1), worker="", hook=False, now=0)
    return fingerprint(end.settlement.record)


def test_what_differs_by_job_is_left_out():
    one, other = of(1), of(42)
    assert one == other
    assert one.kind == "builtins.ValueError"
    assert one.where == "unit/test_fingerprint.py:_lookup"
    assert one.message == "no customer N ('…')"
    assert len(one.id) == 12


def test_what_a_library_raises_is_told_by_our_own_line():
    print_ = of(100)
    assert print_.kind == "json.decoder.JSONDecodeError"
    assert print_.where == "unit/test_fingerprint.py:handle"
    assert print_ == of(101)
    assert print_.id != of(1).id


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("user 12 of 1,000.5", "user N of N"),
        ("can't open 'a b' or \"c\" or `d`", "can't open '…' or \"…\" or `…`"),
        ("019ab1c2-3d4e-7f00-8a1b-2c3d4e5f6a7b is gone", "<id> is gone"),
        ("<Obj at 0x7f8Ab>: deadbeef01 effaced", "<Obj at <id>>: <id> effaced"),
        ("no mail to a.b@c.de today", "no mail to …@… today"),
        ("  a\n b  ", "a b"),
        ("", ""),
    ],
)
def test_messages(text, constant):
    assert constant_part(text) == constant


def test_where():
    ours = '  File "/srv/app/jobs/mail.py", line 3, in handle\n    x\n'
    theirs = '  File "/v/lib/python3.11/site-packages/httpx/_c.py", line 9, in get\n'
    std = '  File "/usr/lib/python3.11/json/__init__.py", line 9, in loads\n'
    chain = "\nThe above exception was the direct cause of the following exception:\n\n"
    assert raised_in(ours + theirs + std) == "jobs/mail.py:handle"
    assert raised_in(theirs) == "httpx/_c.py:get"
    assert raised_in(ours + chain + "JobTimeout: too long") == "jobs/mail.py:handle"
    assert raised_in(ours.replace("handle", "first") + chain + ours) == "jobs/mail.py:handle"
    assert raised_in("") == ""
    assert raised_in("  | " + ours.strip()) == "jobs/mail.py:handle"


def test_any_record_has_one():
    records = [b"", b"{}", b"\xff", b"[]", b'{"type":1,"error":2}', b"[" * 100_000]
    prints = [fingerprint(record).id for record in records]
    assert all(len(one) == 12 for one in prints)
    assert all(one != other for one, other in pairwise(prints))
