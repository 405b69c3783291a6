"""The trace context in a payload: data from outside, that older and newer queued both read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.drivers.base import NewJob
from queued.errors import CorruptPayload
from queued.jobs import header, payload
from queued.jobs.job import Job
from queued.jobs.trace_context import MAX_HEADER, TraceContext, without_context

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MANY = ",".join(["a=b"] * 33)
LONG = ",".join(["a=" + "b" * 200] * 3)
AS = "a" * 513
X = "x" * 250
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Traced(Job):
    number: int

    async def handle(self) -> None: ...


def packed(context: TraceContext, encoded: bytes | None = None) -> bytes:
    encoded = payload.encode(Traced(number=1)) if encoded is None else encoded
    return context.in_job(NewJob("a", encoded, 2.0)).payload


CONTEXTS = [
    TraceContext(PARENT),
    TraceContext(PARENT, link=True),
    TraceContext(PARENT, "vendor=x:1,1other@sys=a b,third=!#~<>"),
    TraceContext(PARENT, ",".join(f"vendor{n}=1" for n in range(32))),
    TraceContext(PARENT, "vendor=1", link=True),
]


@pytest.mark.parametrize("context", CONTEXTS)
def test_it_comes_back_as_it_went(context):
    assert TraceContext.of(packed(context)) == context


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_job_is_read_past_it(context):
    traced = packed(context)
    assert payload.decode(traced).number == 1
    assert payload.job_name(traced) == Traced.__queued__.name
    assert payload.body_text(traced) == '{"number": 1}'


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_queued_that_knows_nothing_of_it_reads_over_it(context):
    """It parses an unknown header as JSON, of which it takes ``v`` and ``job``."""
    header, _, body = packed(context).partition(b"\n")
    fields = json.loads(header)
    assert fields["v"] == 1
    assert fields["job"] == Traced.__queued__.name
    assert json.loads(body) == {"number": 1}


def test_a_payload_without_it_has_none():
    encoded = payload.encode(Traced(number=1))
    assert TraceContext.of(encoded) is None
    header = encoded.partition(b"\n")[0]
    assert without_context(header) is header


def test_all_jobs_of_a_class_have_one_header_without_it():
    plain = payload.encode(Traced(number=1)).partition(b"\n")[0]
    headers = {packed(context).partition(b"\n")[0] for context in CONTEXTS}
    assert len(headers) == len(CONTEXTS)
    assert {without_context(header) for header in headers} == {plain}


def test_headers_with_it_do_not_fill_what_is_remembered(monkeypatch):
    monkeypatch.setattr(header, "_headers", {})
    for number in range(10):
        context = TraceContext(f"00-{TRACE}-{number + 1:016x}-01")
        assert payload.job_name(packed(context)) == Traced.__queued__.name
    assert list(header._headers) == [payload.encode(Traced(number=1)).partition(b"\n")[0]]


def test_the_rest_of_the_job_stays():
    job = TraceContext(PARENT).in_job(NewJob("id", payload.encode(Traced(number=1)), 2.5))
    assert (job.id, job.delay) == ("id", 2.5)


def test_a_body_may_look_like_one():
    class Text(Job):
        text: str

        async def handle(self) -> None: ...

    text = f'"}}\n,"traceparent":"{PARENT}"}}\n'
    encoded = payload.encode(Text(text=text))
    assert TraceContext.of(encoded) is None
    assert payload.decode(packed(TraceContext(PARENT), encoded)).text == text


def test_a_name_may_look_like_one():
    name = f'x","traceparent":"{PARENT}"}}'
    encoded = json.dumps({"v": 1, "job": name}, separators=(",", ":")).encode() + b"\n{}"
    assert TraceContext.of(encoded) is None
    traced = packed(TraceContext(PARENT, link=True), encoded)
    assert TraceContext.of(traced) == TraceContext(PARENT, link=True)
    assert payload.job_name(traced) == name


def header_with(extra: str) -> bytes:
    return f'{{"v":1,"job":"{Traced.__queued__.name}"{extra}}}\n{{"number":1}}'.encode()


@pytest.mark.parametrize(
    "extra",
    [
        ',"traceparent":""',
        ',"traceparent":null',
        f',"traceparent":"{PARENT.upper()}"',
        f',"traceparent":"01{PARENT[2:]}"',
        f',"traceparent":"{PARENT}-more"',
        f',"traceparent":"{PARENT}","more":1',
        f',"traceparent": "{PARENT}"',
        f',"traceparent":"{PARENT}","tracestate":""',
        f',"traceparent":"{PARENT}","tracestate":"a={AS}"',
        f',"traceparent":"{PARENT}","tracestate":"a=\\u0000"',
        f',"traceparent":"{PARENT}","tracestate":"a=\\""',
        f',"traceparent":"{PARENT}","tracestate":"a"',
        f',"traceparent":"{PARENT}","tracestate":"a=b,"',
        f',"traceparent":"{PARENT}","tracestate":"a=b=c"',
        f',"traceparent":"{PARENT}","tracestate":"A=b"',
        f',"traceparent":"{PARENT}","tracestate":"{MANY}"',
        f',"traceparent":"{PARENT}","tracestate":"{LONG}"',
        f',"tracefoo":"{PARENT}"',
    ],
)
def test_what_has_another_form_is_no_context_and_costs_no_job(extra):
    strange = header_with(extra)
    assert TraceContext.of(strange) is None
    assert payload.decode(strange).number == 1


@pytest.mark.parametrize("extra", [',"traceparent":"', f',"traceparent":"{PARENT}"}}}}', ',"trace'])
def test_what_is_no_json_stays_corrupt(extra):
    with pytest.raises(CorruptPayload):
        payload.decode(header_with(extra))


@pytest.mark.parametrize("state", ['a="quoted"', "a=back\\slash", "a=\n", "a=ü", "a=" + "x" * 511])
def test_a_tracestate_that_json_would_write_otherwise_is_left_out(state):
    assert TraceContext.of(packed(TraceContext(PARENT, state))) == TraceContext(PARENT)


@pytest.mark.parametrize(
    ("length", "kept"),
    [
        (50, TraceContext(PARENT, f"a={X},b={X}")),
        (100, TraceContext(PARENT)),
        (155, None),
    ],
)
def test_a_header_grows_no_longer_than_every_queued_reads(length, kept):
    class Long(Job):
        name = "é" * length  # six bytes each, as JSON writes it

        async def handle(self) -> None: ...

    traced = packed(TraceContext(PARENT, f"a={X},b={X}"), payload.encode(Long()))
    assert TraceContext.of(traced) == kept
    assert len(traced.partition(b"\n")[0]) <= MAX_HEADER
    assert payload.job_name(traced) == Long.name


@given(st.binary(max_size=200))
def test_whatever_stands_there_is_read_in_peace(garbage):
    for line in (garbage, b'{"v":1,"job":"a","trace' + garbage):
        assert TraceContext.of(line) is None
        assert without_context(line) == line
