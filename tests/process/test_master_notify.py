"""What the service manager hears, on a real socket."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.harness import until

CONFIG = """
connection: sqlite:///queued.db
http: false
queues:
  default: {processes: 2}
"""


class Manager:
    """A service manager's end of the notify socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reading = threading.Lock()
        self.messages: list[str] = []

    def heard(self, text: str) -> list[str]:
        """Return the messages so far that hold a text."""
        with self._reading:
            try:
                while True:
                    self.messages.append(self._sock.recv(4096).decode())
            except BlockingIOError:
                pass
            return [message for message in self.messages if text in message]


@contextmanager
def listening(path: Path) -> Iterator[Manager]:
    """Yield a manager that reads all the while, as the real one does.

    The kernel keeps some ten messages that nobody has read and refuses the next ones: signs of life
    would soon keep out all others.
    """
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.setblocking(False)
        manager = Manager(sock)

        def read() -> None:
            while not ended.wait(0.05):
                manager.heard("")

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield manager
        finally:
            ended.set()
            reader.join()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with listening(tmp_path / "notify") as manager:
        yield manager


def test_a_whole_life(master, manager, tmp_path):
    running = master(CONFIG, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000").start()
    until(lambda: manager.heard("READY=1"), "READY")
    until(lambda: manager.heard("STATUS=2 of 2 workers run in 1 pool"), "STATUS")
    until(lambda: len(manager.heard("WATCHDOG=1")) >= 3, "signs of life")

    running.signal(signal.SIGHUP)
    (reloading,) = until(lambda: manager.heard("RELOADING=1"), "RELOADING")
    assert "\nMONOTONIC_USEC=" in reloading
    until(lambda: len(manager.heard("READY=1")) == 2, "READY after the reload")
    order = [message for message in manager.messages if "READY" in message or "RELOAD" in message]
    assert [message.split("=")[0] for message in order] == ["READY", "RELOADING", "READY"]

    assert running.stop() == 0
    (stopping,) = manager.heard("STOPPING=1")
    assert "EXTEND_TIMEOUT_USEC=" in stopping


def test_a_failed_reload_is_over_too(master, manager, tmp_path):
    running = master(CONFIG, NOTIFY_SOCKET=str(tmp_path / "notify")).start()
    running.edit("processes: 2", "processes: x")
    running.signal(signal.SIGHUP)
    until(lambda: len(manager.heard("READY=1")) == 2, "READY after the reload")


@pytest.fixture
def clock(master, tmp_path) -> Iterator[Manager]:
    """Yield what another master says, whose signs of life tell how time goes by here."""
    with listening(tmp_path / "clock") as manager:
        master(CONFIG, NOTIFY_SOCKET=str(tmp_path / "clock"), WATCHDOG_USEC="200000").start()
        yield manager


def is_silent(manager: Manager, clock: Manager) -> bool:
    """Tell whether nothing is heard while ten signs of life are due."""
    known, ticks = len(manager.heard("")), len(clock.heard("WATCHDOG=1"))
    until(lambda: len(clock.heard("WATCHDOG=1")) >= ticks + 10, "the clock")
    return len(manager.heard("")) == known


def test_a_master_that_hangs_gives_no_signs_of_life(master, manager, clock, tmp_path):
    running = master(CONFIG, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000").start()
    until(lambda: manager.heard("WATCHDOG=1"), "a sign of life")
    (_,) = Path(f"/proc/{running.pid}/task").iterdir()  # no thread that could speak for the loop
    workers = running.pids()
    running.signal(signal.SIGSTOP)
    until(lambda: is_silent(manager, clock), "the master to stand")
    for pid in workers:
        os.kill(pid, 0)  # they live on
    running.signal(signal.SIGCONT)
    until(lambda: not is_silent(manager, clock), "signs of life again")


def test_the_end_of_a_master_that_hangs_tells_where_it_hung(master):
    running = master(CONFIG).start()
    running.signal(signal.SIGABRT)  # as systemd sends it when the watchdog was not fed
    assert running.wait() == -signal.SIGABRT
    _, fatal, stack = running.output().partition("Fatal Python error: Aborted")
    assert fatal
    assert "/daemon/master/" in stack  # mostly where it waits for news
    until(lambda: not running.processes(), "its children to end with it")


def test_a_reload_during_the_start_does_not_say_that_it_is_over(master, manager, tmp_path):
    config = CONFIG.replace("{processes: 2}", "{processes: 1, env: {ACT: mute}}")
    running = master(config, NOTIFY_SOCKET=str(tmp_path / "notify")).start(ready=False)
    until(lambda: running.events("monitor.started"), "the monitor")
    running.signal(signal.SIGHUP)
    until(lambda: running.events("reload.done"), "the reload")
    running.signal(signal.SIGQUIT)
    assert running.wait() == 0
    assert manager.heard("STOPPING=1")
    assert manager.heard("READY=1") == manager.heard("RELOADING=1") == []


def test_nothing_is_ready_after_the_stop(master, manager, tmp_path):
    """A reload that waits for its imports is given up."""
    running = master(CONFIG, NOTIFY_SOCKET=str(tmp_path / "notify")).start()
    until(lambda: manager.heard("READY=1"), "READY")
    (running.folder / "slow.py").write_text("import time\ntime.sleep(60)\n")
    running.config.write_text(CONFIG + "imports: [slow]\n")
    running.signal(signal.SIGHUP)
    until(lambda: running.events("reload.importing"), "the reload")
    assert running.stop() == 0
    manager.heard("")
    (stopping,) = [at for at, text in enumerate(manager.messages) if "STOPPING=1" in text]
    assert not [text for text in manager.messages[stopping:] if "READY=1" in text]
