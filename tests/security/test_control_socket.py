"""What speaks to the master and the monitor from outside: whatever it says, they live on.

Only who runs the daemon can open the control socket, and only a job the channel of its worker; both
may still say anything.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.daemon.channel import Channel, encode
from queued.daemon.master.runtime import Runtime
from queued.daemon.metrics import Metrics
from queued.daemon.monitor.collector import FleetCollector
from queued.daemon.monitor.fleet import Fleet
from queued.daemon.reach import Reach
from queued.web.exposition import render
from tests.process.harness import Daemon, until
from tests.security.fuzz import FUZZ, hostile_text, mutated

COMMANDS = ["status", "reload", "scale", "restart"]
LINES = [
    b'{"cmd": "status"}\n',
    b'{"cmd": "reload"}\n',
    b'{"cmd": "restart", "pool": "nonsuch"}\n',
    b'{"cmd": "scale", "pool": "default", "processes": 0}\n',
]
plain = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(max_value=0) | hostile_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("control")
    one = Daemon(folder, "http: off\nqueues: {default: {processes: 0}}")
    try:
        one.start(ready=False)
        until(lambda: "daemon.ready" in one.output(), "the daemon to come up")
        yield one
    finally:
        one.clean_up()


def ask(one: Daemon, data: bytes) -> list[dict[str, Any]]:
    """Send lines; return the answers, when all have come or the connection is closed."""
    path = Runtime.for_client(one.config, one.environment).socket_path
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(f"/proc/self/fd/{_folder(path)}/{path.name}")
        try:
            client.sendall(data)
            answers = b""
            while answers.count(b"\n") < data.count(b"\n") and (more := client.recv(65_536)):
                answers += more
        except (BrokenPipeError, ConnectionResetError):
            return []
    return [json.loads(line) for line in answers.splitlines()]


_folders: dict[Path, int] = {}


def _folder(path: Path) -> int:
    """Return a descriptor of a socket's folder: its own path may be too long for the kernel."""
    import os

    if path.parent not in _folders:
        _folders[path.parent] = os.open(path.parent, os.O_DIRECTORY | os.O_RDONLY)
    return _folders[path.parent]


def judge(one: Daemon, data: bytes) -> None:
    for answer in ask(one, data):
        assert answer["ok"] is True or isinstance(answer["error"], str)
    assert one.process
    assert one.process.poll() is None, one.output()


@FUZZ
@given(mutated(LINES) | st.binary(max_size=200))
def test_damaged_lines(running: Daemon, data: bytes) -> None:
    if b'"stop"' not in data and b'"quiet"' not in data:
        judge(running, data + b"\n")


@FUZZ
@given(
    st.sampled_from(COMMANDS) | plain,
    st.dictionaries(st.sampled_from(["pool", "processes", "x"]), plain),
)
def test_any_command_with_any_arguments(
    running: Daemon, command: Any, rest: dict[str, Any]
) -> None:
    if command == "restart":
        rest.setdefault("pool", "nonsuch")
        rest["pool"] = rest["pool"] if rest["pool"] is not None else "nonsuch"
    judge(running, json.dumps({**rest, "cmd": command}).encode() + b"\n")


def test_bombs(running: Daemon) -> None:
    """Among them every depth at which the parser still works and something after it might not."""
    for depth in (*range(800, 1_100, 3), 50_000 // 2):
        nested = b"[" * depth + b"]" * depth
        for line in (
            b'{"cmd":"restart","pool":%b}\n',
            b'{"cmd":"scale","pool":%b}\n',
            b'{"cmd":%b}\n',
        ):
            judge(running, line % nested)
    judge(running, b'{"cmd": ' + b"9" * 60_000 + b"}\n")
    judge(running, b'{"cmd": "status"}\n' * 500)
    judge(running, b"x" * 200_000)
    judge(running, b"\x00" * 60_000 + b"\n")
    assert ask(running, b'{"cmd": "status"}\n')[0]["state"] == "running"
    assert "Traceback" not in running.output()


# the channel between a worker and its master


@FUZZ
@given(
    st.lists(st.binary(max_size=60) | plain.map(lambda v: json.dumps(v).encode()), max_size=5),
    st.binary(max_size=20),
)
def test_any_bytes_on_a_channel(frames: list[bytes], rest: bytes) -> None:
    ours, theirs = socket.socketpair()
    data = b"".join(struct.pack(">I", len(frame)) + frame for frame in frames) + rest
    with theirs:
        theirs.sendall(data)
        channel = Channel(ours)
        channel.receive()
    channel.receive_raw()
    channel.close()


def test_a_deep_frame_on_a_channel() -> None:
    ours, theirs = socket.socketpair()
    nested = b"[" * 100_000
    with theirs:
        theirs.sendall(struct.pack(">I", len(nested)) + nested)
        channel = Channel(ours)
        assert channel.receive() == []
        assert channel.closed


snapshots = st.dictionaries(
    st.sampled_from(["counters", "gauges", "histograms", "x"]),
    plain
    | st.dictionaries(
        st.sampled_from(["attempts_total", "job_run_seconds", "jobs_in_flight"]) | hostile_text,
        plain
        | st.lists(
            st.tuples(st.dictionaries(hostile_text, plain, max_size=2), plain, plain), max_size=2
        ),
        max_size=2,
    ),
    max_size=3,
)


@FUZZ
@given(snapshots | plain)
def test_metrics_survive_whatever_a_worker_counted(data: Any) -> None:
    """A job can reach its worker's channel, and the master passes on what it does not look into."""
    fleet = Fleet()
    told = {"owners": {"q": ["w"]}, "pools": {}, "totals": {"": {}, "q": {}}, "scopes": ["", "q"]}
    fleet.hear({"type": "fleet", **told})
    frame = json.loads(encode({"type": "snapshot", "child": "w", "data": data}))
    fleet.hear(frame)
    page = FleetCollector(fleet, Reach("memory", Metrics()), {}).freeze()
    for openmetrics in (False, True):
        assert b"queued_build_info" in render(page, openmetrics=openmetrics).body


JOBS = r"""
import json, os, socket, stat, struct
from queued import Job

FRAMES = [
    b"", b"null", b"[]", b"{}", b'{"type":1}', b"[" * 100000, b'{"type":"snapshot"',
    b'{"type":"snapshot","seq":1,"data":{"counters":5}}',
    b'{"type":"snapshot","data":' + b"[" * 5000,
    b'{"type":"snapshot","seq":1,"data":{"counters":{"attempts_total":[[{"a":{}},"x"]]}}}',
    b'{"type":"snapshot","seq":1,"data":{"histograms":{"none_such":[[{},[1],2]]}}}',
    b'{"type":"snapshot","seq":1,"data":'
    b'{"gauges":{"bad name\\n":[[{"bad label":"\\ud800"},1e999]]}}}',
    b'{"type":"event","event":"forged\\u001b[31m","level":"x","child":"y","exc_info":true}',
    b'{"type":"event","event":"forged","timestamp":"now","level":"critical","stack_info":1}',
    b'{"type":"event","event":[1,2],"_record":1,"logger":2,"self":3,"positional_args":4}',
    b'{"type":"sample","at":"x","driver_up":1,"queues":5}', b'{"type":"settled","owner":["x"]}',
    b'{"type":"suspects","queues":["default"]}', b'{"type":"gone"}', b'{"type":"fleet","pools":1}',
    b'{"type":"exited","child":"x","totals":5}', b'\xff\xfe', b"NaN", b"1" * 5000,
    b'{"type":"leaving","reason":{"a":"\\u2028"}}',
]

def channel():
    for name in os.listdir("/proc/self/fd"):
        try:
            mode = os.fstat(int(name)).st_mode
        except OSError:
            continue
        if stat.S_ISSOCK(mode):
            sock = socket.socket(fileno=os.dup(int(name)))
            if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
                return sock

class Says(Job):
    max_tries = 1
    def handle(self):
        for frame in FRAMES:
            channel().sendall(struct.pack(">I", len(frame)) + frame)

class Screams(Job):
    max_tries = 1
    def handle(self):
        channel().sendall(b"\xff" * 9)

class Fine(Job):
    def handle(self): print("FINE", flush=True)
"""


def test_a_job_that_speaks_for_its_worker_harms_nobody_else(daemon: Any) -> None:
    config = """
imports: [work]
http: {listen: "127.0.0.1:0"}
queues:
  default: {processes: 1, concurrency: 1, sleep: 100ms}
  other: {processes: 1, sleep: 100ms}
"""
    one = daemon(config, jobs=JOBS).start()
    before = one.pid
    for job in ("Says", "Screams"):
        assert one.run("dispatch", f"work.{job}").returncode == 0
    until(lambda: "worker.crashed" in one.output() or "exited" in one.output(), "the worker to end")
    until(lambda: one.workers("default"), "another worker")
    one.run("dispatch", "work.Fine", "--queue", "other")
    until(lambda: "FINE" in one.output(), "the other pool to work")
    assert one.get("/metrics")[0] == 200
    assert one.get("/")[0] == 200
    assert one.status()["pid"] == before
    assert "master.broken" not in one.output()
    assert "Traceback" not in one.output()
    assert "\x1b[31m" not in one.output()
