"""What the master does when children die: successors, verdicts, totals, and no zombie."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process.harness import is_alive, until
from tests.process.standins import Master

CONFIG = """
connection: sqlite:///queued.db
http: false
shutdown_grace: 2s
queues:
  default: {processes: 1}
  emails: {processes: 1, concurrency: 5, kill_grace: 0.5, env: {ACT: "%s"}}
"""


def zombies(pid: int) -> list[str]:
    """Return the children of a process that nobody has reaped."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and fields[1] == str(pid):
            found.append(stat.parent.name)
    return found


def exits(running: Master, pool: str = "emails") -> dict[str, int]:
    counts: dict[str, int] = running.status()["pools"][pool]["exits"]
    return counts


def test_a_killed_worker_is_succeeded_and_its_jobs_are_told_of(master):
    running = master(CONFIG % "job").start()
    (victim,) = running.pids("emails")
    (bystander,) = running.pids("default")
    os.kill(victim, signal.SIGKILL)
    until(lambda: running.pids("emails") - {victim}, "a successor")
    assert running.pids("default") == {bystander}
    gone, *_ = [frame for frame in running.heard("gone") if frame["sentences"]]  # told again
    assert [one["verdict"] for one in gone["sentences"].values()] == ["crashed"]
    assert gone["dossier"]["signal"] == signal.SIGKILL
    assert gone["dossier"]["worker"] == "emails/1"
    assert gone["queue"] == "emails"
    assert exits(running) == {"signal": 1}
    until(lambda: running.status()["unsettled"] == 0, "the monitor's word that it is settled")
    (crashed,) = running.events("worker.crashed")
    assert (crashed["how"], crashed["next"]) == ("SIGKILL", "restart at once")


def test_jobs_that_ran_beside_others_are_suspects(master):
    running = master(CONFIG % "job=3").start()
    (victim,) = running.pids("emails")
    os.kill(victim, signal.SIGKILL)
    until(lambda: [one for one in running.heard("gone") if one["sentences"]], "the verdicts")
    gone, *_ = [frame for frame in running.heard("gone") if frame["sentences"]]  # told again
    assert [one["verdict"] for one in gone["sentences"].values()] == ["suspect"] * 3


def test_a_grave_is_told_again_until_it_is_settled_and_to_a_new_monitor(master):
    running = master(CONFIG % "job").start()
    keep = running.folder / "keep"
    keep.touch()
    os.kill(*running.pids("emails"), signal.SIGKILL)
    until(lambda: len(running.heard("gone")) >= 2, "it to be told again")
    (running.folder / "monitor-exit").touch()
    first = running.heard("gone")[0]["monitor"]
    until(
        lambda: [one for one in running.heard("gone") if one["monitor"] != first],
        "the new monitor to be told",
    )
    keep.unlink()
    until(lambda: running.status()["unsettled"] == 0, "the end of it")
    assert running.stop() == 0


def test_a_crash_loop_ends_in_fatal_and_the_others_go_on(master):
    running = master(CONFIG % "exit=3", QUEUED_TEST_FIRST_DELAY="0.01").start()
    until(lambda: running.status()["pools"]["emails"]["state"] == "fatal", "the end of the loop")
    assert exits(running) == {"crash": 10}
    assert running.status()["pools"]["default"]["state"] == "running"
    (fatal,) = running.events("pool.fatal")
    assert fatal["how"] == "exit code 3"
    assert "queued restart emails" in fatal["next"]
    running.client.request("scale", pool="emails", processes=1)  # tries again
    until(lambda: exits(running)["crash"] >= 20, "another ten tries")
    assert running.stop() == 0


def test_an_error_at_boot_has_a_reason_of_its_own(master):
    running = master(CONFIG % "boot", QUEUED_TEST_FIRST_DELAY="0.01").start()
    until(lambda: running.status()["pools"]["emails"]["state"] == "fatal", "the end of the loop")
    assert exits(running) == {"boot_error": 10}


def test_one_that_began_jobs_is_never_given_up(master):
    running = master(CONFIG % "begin exit=3", QUEUED_TEST_FIRST_DELAY="0.001").start()
    until(lambda: exits(running).get("crash", 0) > 12, "more deaths than would be fatal")
    assert running.status()["pools"]["emails"]["state"] in {"backoff", "starting", "running"}


@pytest.mark.fault(16)
def test_a_thousand_recycled_workers_leave_no_zombie(master):
    config = CONFIG.replace("emails: {processes: 1", "emails: {processes: 4")
    running = master(config % "recycle").start(ready=False)  # a pool like this never settles
    until(lambda: running.events("monitor.started"), "the daemon")
    until(
        lambda: exits(running).get("max_jobs", 0) >= 1000, "1,000 workers", seconds=300, every=0.5
    )
    counts = exits(running)
    assert set(counts) == {"max_jobs"}
    assert len(zombies(running.pid)) <= 1  # one that is just being reaped
    others = [pid for pid in running.processes() if pid != running.pid]
    assert sum(len(zombies(pid)) for pid in others) <= 1  # of the template, a fork under way
    assert not [one for one in running.heard("gone") if one["sentences"]]
    descriptors = len(list(Path(f"/proc/{running.pid}/fd").iterdir()))
    assert descriptors < 40
    assert running.stop() == 0
    assert running.processes() == []


def test_a_limit_below_what_an_idle_worker_needs_is_no_endless_loop(master):
    running = master(CONFIG % "memory", QUEUED_TEST_FIRST_DELAY="0.01").start()
    until(lambda: running.status()["pools"]["emails"]["state"] == "fatal", "the end of the loop")
    assert exits(running) == {"max_memory": 10}


def test_a_job_past_its_deadline_is_killed_and_the_neighbours_are_not_charged(master):
    running = master(CONFIG % "job=2 late deaf").start()
    until(lambda: exits(running).get("hung"), "the kill")
    gone = next(frame for frame in running.heard("gone") if frame["sentences"])
    assert sorted(one["verdict"] for one in gone["sentences"].values()) == [
        "bystander",
        "timed_out",
    ]
    assert gone["dossier"]["signal"] == signal.SIGABRT
    assert "Fatal Python error: Aborted" in running.output()  # the stacks of all threads
    assert "in worker" in running.output()
    (overran, *_) = running.events("job.overran")
    assert overran["job"] == "Endless"


@pytest.mark.fault(14)
def test_a_worker_that_lost_its_channel_is_killed(master):
    running = master(CONFIG % "close", QUEUED_TEST_FIRST_DELAY="5").start(ready=False)
    until(lambda: running.events("worker.crashed"), "the kill")
    assert running.events("worker.crashed")[0]["how"] in {"SIGABRT", "SIGKILL"}


@pytest.mark.fault(13)
def test_a_stray_process_of_a_dead_worker_holds_nothing_up(master):
    """A job's own child keeps the channel open: the death is seen all the same."""
    running = master(CONFIG % "family").start()
    (victim,) = running.pids("emails")
    path = running.folder / f"family-{victim}"
    until(lambda: path.exists() and path.read_text(), "the worker's own child")
    os.kill(victim, signal.SIGKILL)
    until(lambda: running.pids("emails") - {victim}, "a successor")
    until(lambda: not is_alive(int(path.read_text())), "the group's end")
    assert running.stop() == 0
    assert running.processes() == []  # nor a child of the successor


def test_totals_never_go_backwards(master):
    running = master(CONFIG % "count").start()
    until(lambda: running.heard("snapshot"), "a snapshot")
    for _ in range(3):
        kill_one_that_has_counted(running)

    def totals(kind: str) -> list[dict[str, int]]:
        told = [frame["totals"] for frame in running.heard(kind)]
        return [
            {name: sum(n for _, n in series) for name, series in one["emails"]["counters"].items()}
            for one in told
            if "emails" in one
        ]

    expected = {"attempts_total": 3, "worker_exits_total": 3}
    until(lambda: totals("exited")[-1] == expected, "the totals")
    assert [one["attempts_total"] for one in totals("exited")] == [1, 2, 3]
    until(lambda: totals("fleet")[-1] == expected, "the totals of the fleet")


def kill_one_that_has_counted(running: Master, *, succeeded: bool = True) -> None:
    (victim,) = until(lambda: running.pids("emails"), "a worker")
    known = len(running.heard("snapshot"))
    until(lambda: len(running.heard("snapshot")) > known, "its counts")
    os.kill(victim, signal.SIGKILL)
    if succeeded:
        until(lambda: running.pids("emails") - {victim}, "a successor")
    else:
        until(lambda: victim not in running.pids("emails"), "its end")


def test_a_dead_monitor_is_succeeded_and_the_workers_go_on(master):
    running = master(CONFIG % "").start()
    workers = running.pids()
    before = running.status()["monitor"]["pid"]
    os.kill(before, signal.SIGKILL)
    until(
        lambda: (running.status()["monitor"] or {}).get("pid") not in {None, before},
        "another monitor",
    )
    assert running.pids() == workers
    assert running.stop() == 0


def test_suspects_get_a_temporary_worker_again_and_again(master):
    running = master(CONFIG % "").start()
    workers = running.pids()
    (running.folder / "suspects").write_text("emails")
    until(lambda: exits(running).get("empty", 0) >= 3, "temporary workers that come and go")
    assert running.pids() >= workers
    (running.folder / "suspects").unlink()
    until(lambda: running.pids() == workers, "the last one to be gone")
    assert running.status()["pools"]["emails"]["state"] == "running"


def test_quiet_reaches_workers_of_now_and_of_later(master):
    running = master(CONFIG % "").start()
    running.client.request("quiet")
    assert running.status()["quiet"]
    (victim,) = running.pids("emails")
    os.kill(victim, signal.SIGKILL)
    until(lambda: running.pids("emails") - {victim}, "a successor")
    (running.folder / "suspects").write_text("emails")
    assert not [worker for worker in running.workers() if worker["solo"]]
    assert running.stop() == 0


def test_nonsense_from_a_job_does_not_stop_the_daemon(master):
    running = master(CONFIG % "junk").start()
    (rogue,) = running.pids("emails")
    until(lambda: len(running.events("channel.nonsense")) >= 5, "the nonsense to be noticed")
    assert running.pids("emails") == {rogue}
    os.kill(rogue, signal.SIGKILL)  # its last snapshot is nonsense too
    until(lambda: running.pids("emails") - {rogue}, "a successor")
    assert running.events("snapshot.broken")
    assert running.status()["driver_up"] is True
    assert running.stop() == 0


def test_a_template_that_hangs_is_replaced(master):
    running = master(CONFIG % "", QUEUED_TEST_FORK_TIMEOUT="0.3").start()
    known = running.pids() | {running.pid, running.status()["monitor"]["pid"]}
    (template,) = set(running.processes()) - known
    os.kill(template, signal.SIGSTOP)
    os.kill(*running.pids("emails"), signal.SIGKILL)
    until(lambda: running.events("template.hangs"), "it to be noticed")
    until(lambda: running.pids("emails") - known, "a successor from another template")
    assert not is_alive(template)
    assert running.stop() == 0


SHY = """
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
fork = os.fork
def shy():
    if os.path.exists("nofork"):
        raise BlockingIOError(11, "no process to be had")
    return fork()
os.fork = shy
"""


def test_a_fork_that_fails_is_tried_again_and_no_pool_is_blamed(master):
    config = CONFIG.replace("default: {processes: 1}", "default: {processes: 20}") % ""
    running = master(config + "imports: [work]\n", jobs=SHY, QUEUED_TEST_FIRST_DELAY="0.01")
    (running.folder / "nofork").touch()
    running.start(ready=False)
    until(lambda: len(running.events("child.not_forked")) >= 50, "three tries")
    assert {pool["state"] for pool in running.status()["pools"].values()} == {"starting"}
    (running.folder / "nofork").unlink()
    until(running.is_ready, "the workers")
    assert running.stop() == 0


def test_counts_of_one_that_waits_to_be_restarted_are_told_once(master):
    running = master(CONFIG % "count", QUEUED_TEST_FIRST_DELAY="60").start()
    for _ in range(5):
        kill_one_that_has_counted(running, succeeded=False)
        until(lambda: running.status()["pools"]["emails"]["state"] != "starting", "what follows")
    assert running.status()["pools"]["emails"]["state"] == "backoff"
    (running.folder / "monitor-exit").touch()
    first = running.heard("fleet")[-1]["monitor"]
    until(lambda: running.heard("fleet")[-1]["monitor"] != first, "the new monitor to be told")
    again = [one for one in running.heard("snapshot") if one["monitor"] != first]
    assert [one for one in again if one["pool"] == "emails"] == []
