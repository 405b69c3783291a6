"""Payloads are data: whatever bytes are in the back-end, no code is chosen, imported or built of
them that no module of ``imports`` has registered."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from queued import Job
from queued.drivers import driver_for
from queued.drivers.base import NewJob
from queued.errors import CorruptPayload, InvalidJob, UnknownJob
from queued.jobs.payload import body_text, build, decode, encode, job_name, prepare
from queued.jobs.registry import registered
from queued.policy import MAX_PAYLOAD
from tests.process.harness import QUEUED
from tests.security.fuzz import FUZZ, hostile_text, is_safe, mutated


class Typed(Job):
    name = "security.typed"
    to: str
    count: int = 1
    ratio: float = 0.0
    tags: list[str] = []  # noqa: RUF012 - a field of a job
    nested: dict[str, Any] = {}  # noqa: RUF012 - as above

    def handle(self) -> None: ...


class Loose(Job):
    """RouteMQ's style: whatever attributes there are."""

    name = "security.loose"

    def __init__(self) -> None:
        super().__init__()
        self.anything = None

    def handle(self) -> None: ...


def examples() -> list[bytes]:
    loose = Loose()
    loose.anything = {"deep": [1, 2.5, None, "text"]}
    typed = Typed(to="a@b.c", tags=["x"], nested={"k": [1, {"l": True}]})
    return [encode(typed), encode(loose)]


VALID = examples()
NAMES = st.sampled_from(
    [
        "os.system",
        "builtins.eval",
        "builtins.exec",
        "subprocess.Popen",
        "__main__.Job",
        "posix.system",
        "queued.jobs.job.Job",
        "security_canary.Job",
        "this",
        "antigravity",
        "security.typed.__class__",
        "security.typed\n",
        "pickle.loads",
        "importlib.import_module",
        "../jobs.Job",
        "",
    ]
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=10,
)


def judge(payload: bytes) -> None:
    """Read a payload as the worker and as the commands do."""
    for cls in (Typed, Loose):
        prepare(cls)
    known, modules = registered(), set(sys.modules)
    try:
        job = decode(payload)
    except (UnknownJob, CorruptPayload) as error:
        said = str(error)
        assert is_safe(said), said
        assert len(said) < 12_000
    else:
        assert type(job) in (Typed, Loose)
        assert not {"handle", "__class__", "__dict__"} & set(job.__dict__)
    job_name(payload)
    assert is_safe(body_text(payload))
    assert set(sys.modules) == modules
    assert registered() == known


@FUZZ
@given(st.binary(max_size=200) | mutated(VALID))
def test_any_bytes_are_a_job_or_a_clear_refusal(payload: bytes) -> None:
    judge(payload)


@FUZZ
@given(NAMES | st.sampled_from(["security.typed", "security.loose"]) | hostile_text, plain)
def test_any_json_under_any_name_is_a_job_or_a_clear_refusal(name: str, body: Any) -> None:
    header = json.dumps({"v": 1, "job": name}).encode()
    judge(header + b"\n" + json.dumps(body).encode())


@FUZZ
@given(hostile_text | plain.map(json.dumps))
def test_what_people_type_is_a_job_or_a_clear_refusal(text: str) -> None:
    body = text.encode(errors="surrogatepass")
    for name in ("security.typed", "security.loose"):
        try:
            build(name, body)
        except InvalidJob as error:
            assert is_safe(str(error))  # noqa: PT017 - where it is raised at all


HEADER = b'{"v":1,"job":"security.typed"}\n'
LOOSE = b'{"v":1,"job":"security.loose"}\n'
MEGABYTE = MAX_PAYLOAD - 100
BOMBS = {
    "deep lists": b"[" * MEGABYTE,
    "deep objects": b'{"to":' * (MEGABYTE // 6),
    "a deep field": b'{"nested":' + b'{"a":' * (MEGABYTE // 8),
    "a huge integer": b'{"to":"x","count":' + b"9" * MEGABYTE + b"}",
    "a huge exponent": b'{"to":"x","ratio":1e999999999}',
    "many keys": b"{" + b",".join(b'"%x":1' % n for n in range(80_000)) + b"}",
    "one key often": b"{" + b'"to":"x",' * (MEGABYTE // 9) + b'"to":"y"}',
    "many items": b'{"to":"x","tags":[' + b'"",' * (MEGABYTE // 3) + b'""]}',
    "wrong items": b'{"to":"x","tags":[' + b"1," * (MEGABYTE // 2) + b"1]}",
    "escapes": b'{"to":"' + b"\\u0000" * (MEGABYTE // 6) + b'"}',
    "a lone surrogate": b'{"to":"\\ud800"}',
    "not a number": b'{"to":"x","ratio":NaN}',
    "invalid UTF-8": b'{"to":"\xff\xfe\xc0\x80"}',
    "a null byte": b'{"to":"x"}\x00',
}


LIMIT = 512 << 20
"""Bytes beyond what the process has with its imports; 1 MiB of wrong items takes 190 MiB."""


def read_the_bombs() -> None:
    import resource

    judge(VALID[0])
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + LIMIT, size + LIMIT))
    for name, bomb in BOMBS.items():
        for header in (HEADER, LOOSE) if "deep" in name or "huge" in name else (HEADER,):
            began = time.process_time()
            judge(header + bomb)
            spent = time.process_time() - began
            assert spent < 10, f"{name}: {spent:.1f} s of processor for 1 MiB"


def test_a_megabyte_of_malice_costs_little() -> None:
    """In a process of its own, whose memory is limited."""
    program = "from tests.security.test_payloads import read_the_bombs; read_the_bombs()"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-2_000:]


CANARY = """
from pathlib import Path
Path("imported").touch()
from queued import Job
class Job(Job):
    def handle(self): Path("ran").touch()
"""


def test_a_worker_imports_nothing_that_a_payload_names(tmp_path: Path) -> None:
    """The module lies where an import would find it; the jobs fail at once, their bytes kept."""
    (tmp_path / "canary.py").write_text(CANARY)
    names = ["canary.Job", "canary", "os.system", "builtins.eval", "__main__.Job", "queued.Job"]
    payloads = [
        json.dumps({"v": 1, "job": name}).encode() + b'\n{"x":"touch ran"}' for name in names
    ]
    payloads += [b"cos\nsystem\n(S'touch ran'\ntR.", b"\x80\x04\x95"]  # as pickle has it
    url = f"sqlite:///{tmp_path}/queued.db"

    async def enqueue() -> None:
        driver = driver_for(url)
        await driver.open()
        jobs = [NewJob(f"id-{index}", payload) for index, payload in enumerate(payloads)]
        await driver.enqueue("default", jobs)
        await driver.close()

    async def failures() -> dict[bytes, str]:
        driver = driver_for(url)
        await driver.open()
        found = await driver.failed("default", 100)
        await driver.close()
        return {one.payload: json.loads(one.record)["error"] for one in found}

    asyncio.run(enqueue())
    worked = subprocess.run(
        [QUEUED, "work", "--max-jobs", str(len(payloads)), "--connection", url],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert worked.returncode == 0, worked.stderr
    assert not (tmp_path / "imported").exists()
    assert not (tmp_path / "ran").exists()
    reasons = asyncio.run(failures())
    assert set(reasons) == set(payloads)
    for name, payload in zip(names, payloads, strict=False):
        assert f'no job is registered as "{name}"' in reasons[payload]
    for payload in payloads[len(names) :]:
        assert "no payload of queued" in reasons[payload]
