"""The control socket: a real server in a real selector, real clients beside it."""

from __future__ import annotations

import json
import os
import resource
import select
import selectors
import socket
import stat
import threading
import time
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest

from queued.daemon.master import control
from queued.daemon.master.control import ControlServer
from queued.daemon.master.control_client import ControlClient, NoDaemon
from queued.daemon.master.runtime import Runtime
from queued.errors import ControlError


class Daemon:
    """Serves until closed, in a thread; ``later`` holds requests to be answered afterwards."""

    def __init__(self, config, environ) -> None:
        self.runtime = Runtime.for_daemon(config, environ)
        self.later = []
        self.selector = selectors.DefaultSelector()
        commands = {
            "echo": lambda request: request.answer(**request.arguments),
            "refuse": lambda request: request.refuse("no, since"),
            "later": self.later.append,
            "big": lambda request: request.answer(text="x" * 3_000_000),
        }
        self.server = ControlServer(self.runtime.socket_path, self.selector, commands)
        self.ending = False
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while not self.ending:
            for key, events in self.selector.select(0.02):
                key.data(events)
            while self.later:
                self.later.pop().answer(late=True)

    def close(self) -> None:
        self.ending = True
        self.thread.join()
        self.server.close()
        self.selector.close()


@pytest.fixture(params=["short", "deep"])
def place(request, tmp_path):
    """A path of ordinary length, and one that is too long for a socket's name."""
    folder = tmp_path / ("d" * 80 if request.param == "deep" else "d")
    folder.mkdir()
    config = folder / "queue.yaml"
    config.touch()
    return config, {"QUEUED_RUNTIME_DIR": str(folder / "run")}


@pytest.fixture
def daemon(place):
    daemon = Daemon(*place)
    yield daemon
    daemon.close()


@pytest.fixture
def client(place, daemon):
    return ControlClient(*place)


def test_a_request_and_its_answer(client):
    assert client.request("echo", pool="emails", n=3) == {"pool": "emails", "n": 3}


def test_a_refusal_is_an_error(client):
    with pytest.raises(ControlError, match="no, since"):
        client.request("refuse")


def test_an_unknown_command_names_the_known_ones(client):
    with pytest.raises(ControlError, match="'fly'; known are big, echo"):
        client.request("fly")


def test_an_answer_may_come_later(client):
    assert client.request("later") == {"late": True}


def test_an_answer_larger_than_the_socket(client):
    assert len(client.request("big")["text"]) == 3_000_000


def test_the_socket_is_for_its_owner_only(daemon):
    assert stat.S_IMODE(daemon.runtime.socket_path.stat().st_mode) == 0o600


def test_many_clients_at_once(client):
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(client.request("echo", n=n)["n"]))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(20))


def raw(daemon) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    with control.reachable(daemon.runtime.socket_path) as name:
        sock.connect(name)
    return sock


@pytest.mark.parametrize(
    "line",
    [b"nonsense\n", b"[1]\n", b'{"no": "cmd"}\n', b"\xff\n", b"\n", b"[" * 60_000 + b"\n"],
)
def test_nonsense_is_refused(daemon, line):
    with raw(daemon) as sock:
        sock.sendall(line)
        answer = json.loads(sock.recv(65536))
    assert answer["ok"] is False


def test_a_line_without_end_is_cut_off(daemon):
    with raw(daemon) as sock, pytest.raises((BrokenPipeError, ConnectionResetError)):
        sock.sendall(b"x" * 10_000_000)


def test_a_client_that_leaves_early_harms_nobody(daemon, client):
    for _ in range(5):
        with raw(daemon) as sock:
            sock.sendall(b'{"cmd": "later"}\n{"cmd": "big"}\n')
    assert client.request("echo", n=1) == {"n": 1}


def test_requests_in_parts_and_several_at_once(daemon):
    with raw(daemon) as sock:
        sock.sendall(b'{"cmd": "echo"')
        sock.sendall(b', "n": 1}\n{"cmd": "echo", "n": 2}\n')
        received = b""
        while received.count(b"\n") < 2:
            received += sock.recv(65536)
    assert [json.loads(line)["n"] for line in received.splitlines()] == [1, 2]


def test_a_client_that_does_not_read_its_answers_is_not_heard(daemon, client):
    with raw(daemon) as sock:
        sock.sendall(b'{"cmd": "big"}\n')
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            ask_on(sock)
    assert client.request("echo", n=1) == {"n": 1}


def ask_on(sock: socket.socket) -> None:
    """Write a hundred megabytes of requests, as long as somebody reads them."""
    line = b'{"cmd": "echo"}' + b" " * 50_000 + b"\n"
    for _ in range(2_000):
        if not select.select([], [sock], [], 1.0)[1]:
            raise BlockingIOError
        sock.send(line)


def test_too_many_clients_are_turned_away(daemon, client, monkeypatch):
    monkeypatch.setattr(control, "MAX_CLIENTS", 2)
    with raw(daemon) as first, raw(daemon) as second:
        for sock in (first, second):
            sock.sendall(b'{"cmd": "echo"}\n')
            sock.recv(100)
        with pytest.raises(ControlError, match=r"ended|went away"):
            client.request("echo")


def test_without_a_descriptor_to_spare_it_takes_a_breath(place):
    """Who waits to be taken would wake the loop all the time."""
    runtime = Runtime.for_daemon(*place)
    with selectors.DefaultSelector() as selector, ExitStack() as limits:
        server = ControlServer(runtime.socket_path, selector, {})
        with raw(SimpleNamespace(runtime=runtime)):
            limits.enter_context(no_descriptors())
            while found := selector.select(0):
                for key, events in found:
                    key.data(events)
            server.tick(time.monotonic())
            assert not selector.select(0)
            limits.close()
            server.tick(time.monotonic() + control.BREATHER)
            ((key, events),) = selector.select(0)
            key.data(events)
            assert len(server._clients) == 1
        server.close()


@contextmanager
def no_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as file:  # noqa: PTH123
        free = file.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_daemon_it_says_how_to_start_one(place):
    config, environ = place
    with pytest.raises(NoDaemon, match=f"start it with: queued start -c {config}"):
        ControlClient(config, environ).request("status")


def test_a_socket_that_was_left_over_is_replaced(place):
    first = Daemon(*place)
    first.ending = True
    first.thread.join()
    first.selector.unregister(first.server._sock)
    first.server._sock.close()  # as a kill -9 leaves it: the file stays
    with pytest.raises(NoDaemon):
        ControlClient(*place).request("echo")
    second = Daemon(*place)
    assert ControlClient(*place).request("echo") == {}
    second.close()


def test_a_daemon_that_does_not_answer(place):
    daemon = Daemon(*place)
    daemon.ending = True
    daemon.thread.join()
    with pytest.raises(ControlError, match=r"did not answer within 0\.1 s"):
        ControlClient(*place).request("echo", timeout=0.1)
    daemon.server.close()
