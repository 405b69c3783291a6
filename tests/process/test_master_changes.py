"""Reload by difference, restart with new code, and what happens when either is wrong."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import urllib.error
from typing import Any

import pytest

from queued.errors import ControlError
from tests.process.harness import is_alive, until
from tests.process.standins import Master

CONFIG = """
connection: sqlite:///queued.db
imports: [work]
http: {listen: "127.0.0.1:0"}
shutdown_grace: 2s
queues:
  default: {processes: 1}
  emails: {processes: 2}
"""
JOBS = """
from queued import Job
class Touch(Job):
    async def handle(self): ...
"""


@pytest.fixture
def running(master) -> Master:
    return master(CONFIG, jobs=JOBS).start()


def ask(running: Master, command: str, **arguments: Any) -> dict[str, Any]:
    return running.client.request(command, timeout=60.0, **arguments)


def settles(running: Master, pool: str, processes: int) -> set[int]:
    """Wait until a pool has exactly so many workers, all running; return their pids."""

    def settled() -> bool:
        workers = running.workers(pool)
        return len(workers) == processes and all(one["state"] == "running" for one in workers)

    until(settled, f"{processes} workers of {pool}")
    return running.pids(pool)


# reload


def test_a_reload_without_a_change_changes_nothing(running):
    before = running.pids()
    assert ask(running, "reload") == {"changes": []}
    assert running.pids() == before
    assert running.status()["last_reload"]["ok"]


def test_only_the_difference_is_started(running):
    before = running.pids()
    running.edit("emails: {processes: 2}", "emails: {processes: 4}")
    assert ask(running, "reload") == {"changes": ["queues.emails.processes: 2 → 4"]}
    assert len(settles(running, "emails", 4)) == 4
    assert running.pids() > before


def test_a_pool_that_shrinks_drains_and_never_kills(running):
    before = running.pids("emails")
    running.edit("emails: {processes: 2}", "emails: {processes: 1}")
    ask(running, "reload")
    assert settles(running, "emails", 1) < before
    (exited,) = running.events("worker.exited")
    assert exited["reason"] == "drained"


def test_other_settings_replace_the_workers_of_that_pool_only(running):
    emails, default = running.pids("emails"), running.pids("default")
    running.edit("emails: {processes: 2}", "emails: {processes: 2, concurrency: 3}")
    (line,) = ask(running, "reload")["changes"]
    assert "concurrency" in line
    until(lambda: not running.pids("emails") & emails, "every worker to be replaced")
    settles(running, "emails", 2)
    assert running.pids("default") == default
    assert {worker["slots"] for worker in running.workers("emails")} == {3}


def test_queues_come_and_go(running):
    default = running.pids("default")
    running.edit("emails: {processes: 2}", "slow: {processes: 1}")
    ask(running, "reload")
    settles(running, "slow", 1)
    until(lambda: set(running.status()["pools"]) == {"default", "slow"}, "the pool to be gone")
    assert running.pids("default") == default


def test_a_queue_that_comes_back_while_it_drains(running):
    running.edit("emails: {processes: 2}", "slow: {processes: 0}")
    ask(running, "reload")
    running.edit("slow: {processes: 0}", "emails: {processes: 2}")
    ask(running, "reload")
    settles(running, "emails", 2)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("emails: {proceses: 2}", 'did you mean "processes"'),
        ("emails: [", "queue.yaml:9"),
    ],
)
def test_a_broken_file_changes_nothing(running, wrong, expected):
    before = running.pids()
    running.edit("emails: {processes: 2}", wrong)
    with pytest.raises(ControlError, match=expected):
        ask(running, "reload")
    assert running.pids() == before
    assert not running.status()["last_reload"]["ok"]
    until(lambda: running.heard("fleet")[-1]["config_ok"] is False, "the monitor to know")
    running.edit(wrong, "emails: {processes: 1}")
    ask(running, "reload")
    settles(running, "emails", 1)
    until(lambda: running.heard("fleet")[-1]["config_ok"] is True, "the monitor to know")


def test_sighup_is_a_reload(running):
    running.edit("emails: {processes: 2}", "emails: {processes: 3}")
    running.signal(signal.SIGHUP)
    settles(running, "emails", 3)
    running.edit("emails: {processes: 3}", "emails: x")
    running.signal(signal.SIGHUP)
    until(lambda: running.events("reload.failed"), "the error in the log")
    assert len(running.pids("emails")) == 3


def test_a_log_level_that_changes_applies_to_all(running):
    monitor = running.status()["monitor"]["pid"]
    running.edit("http:", "log: {level: debug}\nhttp:")
    before = running.pids()
    ask(running, "reload")
    until(lambda: not running.pids() & before, "every worker to be replaced")
    until(lambda: running.status()["monitor"]["pid"] != monitor, "another monitor")
    until(lambda: running.events("child.state"), "lines of that level")


def test_another_connection_replaces_everybody(running):
    before = running.pids() | {running.status()["monitor"]["pid"]}
    running.edit("queued.db", "other.db")
    assert any(line.startswith("connection:") for line in ask(running, "reload")["changes"])

    def everybody() -> set[int]:
        return running.pids() | {running.status()["monitor"]["pid"]}

    until(lambda: not everybody() & before, "everybody to be replaced")
    assert "other.db" in running.status()["connection"]
    settles(running, "emails", 2)


def test_another_port_is_bound_before_the_old_one_is_given_up(running):
    old = running.status()["http"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running.edit("127.0.0.1:0", f"127.0.0.1:{port}")
    assert ask(running, "reload")["changes"] == [f"http: 127.0.0.1:{port}"]
    until(lambda: running.status()["http"] == f"127.0.0.1:{port}", "the new address")
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    until(lambda: refuses(old), "the old address to be closed")


def refuses(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except (ConnectionRefusedError, urllib.error.URLError):
        return True
    return False


def test_the_same_port_on_other_addresses(running):
    """Our own listener is not in the way, and no connection is refused meanwhile."""
    port = int(running.status()["http"].rpartition(":")[2])
    monitor = running.status()["monitor"]["pid"]
    running.edit('"127.0.0.1:0"', '"127.0.0.1:0", token: aaaaaaaaaaaaaaaaaaaa')
    for old, new in (("127.0.0.1:0", "0.0.0.0"), (f"0.0.0.0:{port}", "127.0.0.1")):
        running.edit(old, f"{new}:{port}")
        ask(running, "reload")
        assert running.status()["http"] == f"{new}:{port}"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        until(lambda monitor=monitor: not is_alive(monitor), "the old monitor to end")
        monitor = until(lambda: (running.status()["monitor"] or {}).get("pid"), "the new one")
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_taken_port_keeps_the_old_listener(running):
    old = running.status()["http"]
    monitor = running.status()["monitor"]["pid"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running.edit("127.0.0.1:0", f"127.0.0.1:{port}")
        with pytest.raises(ControlError, match=f"127.0.0.1:{port} is in use"):
            ask(running, "reload")
    status = running.status()
    assert (status["http"], status["monitor"]["pid"]) == (old, monitor)
    assert not refuses(old)


def test_new_imports_are_tried_before_anything_is_replaced(running):
    before = running.pids()
    running.edit("[work]", "[work, more]")
    with pytest.raises(ControlError, match="more"):
        ask(running, "reload")
    assert running.pids() == before
    (running.folder / "more.py").write_text("")
    assert ask(running, "reload")["changes"] == ["imports: work, more"]
    assert not running.pids() & before
    assert running.status()["state"] == "running"


# restart


def test_a_restart_replaces_every_worker_and_nothing_else(running):
    before, monitor = running.pids(), running.status()["monitor"]["pid"]
    template = templates(running)
    ask(running, "restart")
    after = running.pids()
    assert len(after) == len(before)
    assert not after & before
    assert running.status()["monitor"]["pid"] == monitor
    until(lambda: len(templates(running)) == 1, "the old template to end")
    assert templates(running) != template
    assert running.status()["change"] is None


def templates(running: Master) -> set[int]:
    """Return the processes of the daemon that are neither master, monitor nor worker."""
    status = running.status()
    known = {running.pid, status["monitor"]["pid"]} | {one["pid"] for one in running.workers()}
    return set(running.processes()) - known


def test_a_pool_is_never_short_of_workers_while_it_is_replaced(running):
    fewest = 99
    done = threading.Event()

    def restart() -> None:
        ask(running, "restart")
        done.set()

    thread = threading.Thread(target=restart)
    thread.start()
    most = 0
    while not done.is_set():
        fewest = min(fewest, len(running.pids("emails")))
        most = max(most, len(running.workers("emails")))
    thread.join()
    assert fewest == 2
    assert most <= 3  # the third is there for a moment, which this may not see


def test_one_pool_alone(running):
    emails, default = running.pids("emails"), running.pids("default")
    ask(running, "restart", pool="emails")
    assert not running.pids("emails") & emails
    assert running.pids("default") == default
    os.kill(*default, signal.SIGKILL)  # its successor comes from the new template
    until(lambda: running.pids("default") - default, "a successor")
    with pytest.raises(ControlError, match="no pool 'nonsuch'; there are default, emails"):
        ask(running, "restart", pool="nonsuch")


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ("import nonsuch\n", "nonsuch"),
        ("x = 1\n\nx.y\n", "work.py:3"),
        ("import os\nos._exit(5)\n", r"exit code 5"),
    ],
)
def test_new_code_that_cannot_be_imported_changes_nothing(running, jobs, expected):
    before, template = running.pids(), templates(running)
    (running.folder / "work.py").write_text(jobs)
    with pytest.raises(ControlError, match=expected):
        ask(running, "restart")
    assert running.pids() == before
    until(lambda: templates(running) == template, "the failed template to end")
    os.kill(min(before), signal.SIGKILL)  # and the old one still forks
    until(lambda: len(running.pids() - before) == 1, "a successor with the old code")


def test_new_code_whose_workers_die_at_once_is_taken_back(running):
    """The first pool has been replaced already: it goes back too."""
    template, default = templates(running), running.pids("default")
    (running.folder / "work.py").write_text(JOBS + DIES)
    with pytest.raises(ControlError, match="emails/1 of the new code ended at once"):
        ask(running, "restart")
    settles(running, "emails", 2)
    settles(running, "default", 1)
    assert not running.pids("default") & default
    until(lambda: templates(running) == template, "the new template to end")
    assert not running.events("pool.fatal")


def test_new_code_that_ends_its_workers_at_the_fork_is_taken_back(running):
    """No pid of theirs is ever seen: it would wait for them for ever."""
    before, template = running.pids(), templates(running)
    at_fork = "import os\nos.register_at_fork(after_in_child=lambda: os._exit(3))\n"
    (running.folder / "work.py").write_text(JOBS + at_fork)
    with pytest.raises(ControlError, match=r"never came up \(the new process ended"):
        ask(running, "restart")
    until(lambda: running.pids() == before, "the workers before it alone")
    until(lambda: templates(running) == template, "the new template to end")
    status = running.status()
    assert status["change"] is None
    assert "never came up" in status["last_restart"]["error"]
    assert "ended at once" in status["pools"]["default"]["last_crash"]["how"]
    (running.folder / "work.py").write_text(JOBS)
    ask(running, "restart")
    assert running.status()["last_restart"]["ok"]


def test_a_reload_whose_new_imports_fail_in_the_workers_changes_nothing_at_all(running):
    """Neither code nor settings, nor what was scaled, nor a pool and an address that are new."""
    old, config = running.status()["http"], running.config.read_text()
    (running.folder / "more.py").write_text(DIES)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running.edit("[work]", "[work, more]")
    running.edit("127.0.0.1:0", f"127.0.0.1:{port}")
    running.edit("default: {processes: 1}", "default: {processes: 2}\n  late: {processes: 1}")
    running.edit("emails: {processes: 2}", "emails: {processes: 2, concurrency: 3}")
    ask(running, "scale", pool="default", processes=3)
    with pytest.raises(ControlError, match=r"emails/[12] of the new code ended at once"):
        ask(running, "reload")
    settles(running, "default", 3)
    settles(running, "emails", 2)
    assert {one["slots"] for one in running.workers("emails")} == {10}
    until(lambda: set(running.status()["pools"]) == {"default", "emails"}, "the new pool to go")
    assert running.status()["http"] == old
    assert not refuses(old)
    until(lambda: refuses(f"127.0.0.1:{port}"), "the new address to be closed")
    running.config.write_text(config)
    assert ask(running, "reload") == {"changes": []}


DIES = """
import os, signal
import tests.process.standins as standins
old = standins.act
def act(spec, *rest):
    if spec.pool == "emails":
        os.kill(os.getpid(), signal.SIGSEGV)
    old(spec, *rest)
import sys
sys.modules["__main__"].act = act
"""


def test_two_restarts_at_once(running):
    (running.folder / "work.py").write_text(JOBS + "\nimport time\ntime.sleep(1)\n")
    answers: list[object] = []

    def restart() -> None:
        answers.append(ask(running, "restart"))

    thread = threading.Thread(target=restart)
    thread.start()
    until(lambda: running.status()["change"], "the first one to be under way")
    assert running.status()["change"] == {"change": "restart", "phase": "importing"}
    with pytest.raises(ControlError, match="a restart is under way"):
        ask(running, "restart")
    thread.join()
    assert answers == [{"changes": []}]


def test_a_stop_in_the_middle_of_a_restart(running):
    (running.folder / "work.py").write_text(JOBS + "\nimport time\ntime.sleep(60)\n")
    refusals: list[str] = []

    def restart() -> None:
        try:
            ask(running, "restart")
        except ControlError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=restart)
    thread.start()
    until(lambda: running.status()["change"], "it to be under way")
    assert running.stop() == 0
    thread.join()
    assert refusals == ["the daemon stops"]
    assert running.processes() == []


def test_a_restart_undoes_quiet(running):
    ask(running, "quiet")
    ask(running, "restart")
    assert not running.status()["quiet"]


def test_a_restart_that_fails_does_not_undo_quiet(running):
    """Nor do the workers that were replaced before it failed take jobs."""
    ask(running, "quiet")
    (running.folder / "work.py").write_text(JOBS + DIES)
    with pytest.raises(ControlError, match="of the new code ended at once"):
        ask(running, "restart")
    assert running.status()["quiet"]
    settles(running, "default", 1)
    settles(running, "emails", 2)
    until(lambda: running.quieted() >= running.pids(), "all of them to be quiet")


# the template


def test_workers_live_on_when_the_template_dies(running):
    before = running.pids()
    (template,) = templates(running)
    os.kill(template, signal.SIGKILL)
    until(lambda: running.events("template.died"), "the death to be seen")
    until(lambda: not is_alive(template) and templates(running), "another one")
    assert running.pids() == before
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(running.pids() - before) == 1, "a successor from the new template")


def test_a_template_that_cannot_be_made_again_is_tried_again(running):
    before = running.pids()
    (running.folder / "work.py").write_text("x.y\n")
    (template,) = templates(running)
    os.kill(template, signal.SIGKILL)
    until(lambda: running.events("template.failed"), "the error")
    assert running.pids() == before
    (running.folder / "work.py").write_text(JOBS)
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(running.pids() - before) == 1, "a successor")


# scale


def test_scale_up_and_down(running):
    assert ask(running, "scale", pool="emails", processes=3) == {
        "pool": "emails",
        "before": 2,
        "processes": 3,
    }
    settles(running, "emails", 3)
    ask(running, "reload")  # queue.yaml has not changed: what was scaled stays
    assert len(settles(running, "emails", 3)) == 3
    ask(running, "scale", pool="emails", processes=0)
    until(lambda: running.status()["pools"]["emails"]["state"] == "stopped", "nobody")
    for wrong in (-1, 1001, "3", True, None):
        with pytest.raises(ControlError, match="expected a number from 0 to 1000"):
            ask(running, "scale", pool="emails", processes=wrong)
    for wrong in ("nonsuch", ["emails"], None):
        with pytest.raises(ControlError, match="no pool"):
            ask(running, "scale", pool=wrong, processes=1)


def test_scaled_up_it_has_descriptors_to_spare(running):
    """It must not run out of them: it could not even be asked to scale down."""
    hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (64, hard))
    ask(running, "scale", pool="emails", processes=20)
    settles(running, "emails", 20)
    assert resource.prlimit(running.pid, resource.RLIMIT_NOFILE)[0] >= 200


# scale by itself, as far as the master alone can be seen: the stand-ins' samples know no queue

RANGED = "emails: {processes: {min: 1, max: 4}}"


def test_a_range_by_hand_and_back(running):
    with pytest.raises(ControlError, match="a fixed number of workers; give"):
        ask(running, "scale", pool="emails", processes="auto")
    running.edit("emails: {processes: 2}", RANGED)
    assert ask(running, "reload") == {"changes": ["queues.emails.processes: 2 → 1..4"]}
    settles(running, "emails", 1)
    bounds = {"min": 1, "max": 4}
    assert ask(running, "scale", pool="emails", processes=6)["range"] == bounds
    settles(running, "emails", 6)
    assert running.status()["pools"]["emails"]["by_hand"]
    running.edit("default: {processes: 1}", "default: {processes: 2}")
    ask(running, "reload")  # what was set by hand stays
    settles(running, "emails", 6)
    assert ask(running, "scale", pool="emails", processes="auto")["processes"] == 4
    settles(running, "emails", 4)
    pool = running.status()["pools"]["emails"]
    assert (pool["range"], pool["by_hand"]) == (bounds, False)
    running.edit("max: 4", "max: 3")
    assert ask(running, "reload") == {"changes": ["queues.emails.processes: 1..4 → 1..3"]}
    settles(running, "emails", 3)
    assert [(one["from"], one["to"]) for one in running.events("pool.scaled")] == [(1, 6), (6, 4)]
