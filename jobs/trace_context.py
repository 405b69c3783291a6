"""Whose trace a job belongs to, in the header of its payload, in the words of W3C Trace Context.

    {"v":1,"job":"app.jobs.SendEmail","traceparent":"00-4bf9…-00f0…-01","tracestate":"vendor=1"}

It stands at the end of the header and always looks like this, so that the header without it, which
is the same for all jobs of a class, is found by cutting. A queued that knows nothing of it reads
over it. It comes from outside: what has not exactly this form is no context, whatever it is.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple, Self

from queued.drivers.base import NewJob

MAX_HEADER = 1_000
"""Bytes that a header may have, the context included."""

_START = b',"trace'
_TRACEPARENT = "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
_MEMBER = r"[a-z0-9][a-z0-9_*/@-]{0,255}=[ !#-+\--<>-\[\]-~]{0,255}[!#-+\--<>-\[\]-~]"
"""One vendor's, but for quotes and backslashes, which JSON would write otherwise."""
_TRACESTATE = rf"{_MEMBER}(?:,{_MEMBER}){{0,31}}"
_MAX_TRACESTATE = 512
_FORM = (
    rf',"trace(parent|link)":"({_TRACEPARENT})"'
    rf'(?:,"tracestate":"(?=[^"]{{1,{_MAX_TRACESTATE}}}")({_TRACESTATE})")?}}'
)


class TraceContext(NamedTuple):
    """The span that sent a job."""

    traceparent: str
    tracestate: str = ""
    link: bool = False
    """It has sent many jobs: each has a trace of its own with a link to it. Else it is the parent
    of what the job does."""

    @property
    def trace_id(self) -> str:
        """In 32 hexadecimal digits."""
        return self.traceparent.split("-")[1]

    def in_job(self, job: NewJob) -> NewJob:
        """Return a job of ours with this context in its payload, as far as the header has room."""
        payload = job.payload
        end = payload.find(b"}\n")
        word = "tracelink" if self.link else "traceparent"
        parent = f',"{word}":"{self.traceparent}"'
        state = ""
        if len(self.tracestate) <= _MAX_TRACESTATE and re.fullmatch(_TRACESTATE, self.tracestate):
            state = f',"tracestate":"{self.tracestate}"'
        for added in (parent + state, parent):
            if end + len(added) < MAX_HEADER:
                with_context = b"".join((payload[:end], added.encode(), payload[end:]))
                return job._replace(payload=with_context)
        return job

    @classmethod
    def of(cls, payload: bytes) -> Self | None:
        """Return the context in a payload; None: it has none."""
        header, _, _ = payload.partition(b"\n")
        found = _find(header)
        if found is None:
            return None
        word, parent, state = found.groups(b"")
        return cls(parent.decode(), state.decode(), link=word == b"link")


def without_context(header: bytes) -> bytes:
    """Return a header as all jobs of its class have it."""
    found = _find(header)
    return header if found is None else header[: found.start()] + b"}"


def _find(header: bytes) -> re.Match[bytes] | None:
    start = header.find(_START)  # within a name its quotes would have backslashes
    return None if start < 0 else _form().fullmatch(header, start)


@cache
def _form() -> re.Pattern[bytes]:
    """Compile it when it is first needed: a program that does not trace never does."""
    return re.compile(_FORM.encode())
