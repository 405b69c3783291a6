"""sd_notify against a real datagram socket."""

from __future__ import annotations

import os
import socket
import time

import pytest

from queued.daemon.master.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def service_manager(request, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = str(tmp_path / "notify") if request.param == "path" else f"@queued-{os.getpid()}"
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(5)
        yield sock, name


def notifier(service_manager, **variables) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": service_manager[1], **variables})


def received(service_manager) -> dict[str, str]:
    text = service_manager[0].recv(4096).decode()
    return dict(line.split("=", 1) for line in text.splitlines())


def test_ready(service_manager):
    notifier(service_manager).ready()
    assert received(service_manager) == {"READY": "1"}


def test_reloading_carries_the_monotonic_time(service_manager):
    before = time.monotonic_ns() // 1000
    notifier(service_manager).reloading()
    message = received(service_manager)
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_stopping_asks_for_time(service_manager):
    notifier(service_manager).stopping(45.0)
    assert received(service_manager) == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "45000000"}


def test_a_status_is_one_line_and_said_once(service_manager):
    subject = notifier(service_manager)
    subject.status("2 workers\nrun")
    subject.status("2 workers\nrun")
    subject.status("3 workers run")
    assert received(service_manager) == {"STATUS": "2 workers run"}
    assert received(service_manager) == {"STATUS": "3 workers run"}


def test_the_watchdog_is_fed_twice_per_period(service_manager):
    subject = notifier(service_manager, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    assert subject.watchdog_every == 15.0
    for now in (100.0, 101.0, 114.9, 115.0):
        subject.watchdog(now)
    assert received(service_manager) == {"WATCHDOG": "1"}
    assert received(service_manager) == {"WATCHDOG": "1"}
    service_manager[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        service_manager[0].recv(100)


@pytest.mark.parametrize(
    "variables",
    [
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {},
    ],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(variables):
    assert Notifier(dict(variables)).watchdog_every is None


def test_without_a_service_manager_nothing_happens():
    Notifier({}).ready()


def test_a_service_manager_that_is_gone_is_no_error(tmp_path):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()


def test_no_child_inherits_the_variables():
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "HOME": "/"}
    Notifier(environ)
    assert environ == {"HOME": "/"}
