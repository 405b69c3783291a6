"""Stops and reloads of a master: with a second signal, a job that is too long, a broken file."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.chaos.masters import CONFIG, Make, edit, events, lines, pids, push, reload_succeeded
from tests.process.harness import Daemon, is_alive, until
from tests.process.test_master_notify import Manager

# stops


def waits_again(running: Daemon, job_id: str) -> None:
    """Hold that a job has been handed back, and nothing was charged for it."""
    job = json.loads(running.run("job", job_id, "--json").stdout)
    assert job["state"] == "ready"
    counts = job["counts"]
    assert (counts["tries"], counts["crashes"], counts["releases"]) == (0, 0, 1)


@pytest.mark.fault(20)
def test_the_second_sigterm_hands_back_what_runs(
    make_master: Make, manager: Manager, tmp_path: Path
) -> None:
    running = make_master(NOTIFY_SOCKET=str(tmp_path / "notify")).start()
    job_id = push(running, "Slow")
    until(lambda: lines(running, "Slow-began"), "a job")
    ((_, worker),) = lines(running, "Slow-began")
    running.signal(signal.SIGTERM)
    until(lambda: pids(running, "other") == set(), "the idle workers to go")
    assert is_alive(worker)
    running.signal(signal.SIGTERM)
    assert running.wait() == 0  # far from the ten minutes of grace
    assert manager.heard("STOPPING=1")
    assert running.processes() == []
    waits_again(running, job_id)


@pytest.mark.fault(21)
def test_a_job_that_outlives_the_grace_is_handed_back(
    make_master: Make, manager: Manager, tmp_path: Path
) -> None:
    config = CONFIG.replace("600s", "500ms")
    running = make_master(config, NOTIFY_SOCKET=str(tmp_path / "notify")).start()
    job_id = push(running, "Slow")
    until(lambda: lines(running, "Slow-began"), "a job")
    assert running.stop() == 0
    (stopping,) = manager.heard("STOPPING=1")
    assert "EXTEND_TIMEOUT_USEC=" in stopping
    assert running.processes() == []
    waits_again(running, job_id)


# reloads


@pytest.mark.fault(22)
def test_a_reload_with_a_broken_file_changes_nothing_and_shows_in_the_metrics(
    make_master: Make,
) -> None:
    running = make_master().start()
    before = running.processes()
    assert reload_succeeded(running) is True
    for broken in ("default: {processes: 2, concurency: 9", "default: ["):
        good = running.config.read_text()
        edit(running, "default: {processes: 2, concurrency: 1", broken)
        known = len(events(running, "reload.failed"))
        running.signal(signal.SIGHUP)
        until(lambda known=known: len(events(running, "reload.failed")) > known, "the error")
        assert "queue.yaml:8" in events(running, "reload.failed")[-1]["error"]
        until(lambda: reload_succeeded(running) is False, "/metrics to tell")
        running.config.write_text(good)
    assert running.processes() == before
    assert {one["slots"] for one in running.workers("default")} == {1}
    push(running, "Quick")
    until(lambda: lines(running, "Quick-done"), "a job, as before")
    running.signal(signal.SIGHUP)
    until(lambda: reload_succeeded(running), "/metrics to tell of the good file")
    assert running.stop() == 0


@pytest.mark.fault(23)
def test_a_pool_that_shrinks_drains_and_no_job_is_cut_short(make_master: Make) -> None:
    running = make_master().start()
    push(running, "Slow")
    push(running, "Slow")
    until(lambda: len(lines(running, "Slow-began")) == 2, "both workers to be busy")
    busy = {pid for _, pid in lines(running, "Slow-began")}
    edit(running, "default: {processes: 2", "default: {processes: 1")
    running.signal(signal.SIGHUP)
    until(lambda: {"stopping"} <= {one["state"] for one in running.workers("default")}, "a drain")
    push(running, "Quick")  # nobody is free for it
    assert all(map(is_alive, busy))
    assert lines(running, "Slow-done") == lines(running, "Quick-done") == []
    (running.folder / "release").touch()
    until(lambda: len(running.workers("default")) == 1, "one worker to be left")
    until(lambda: lines(running, "Quick-done"), "its next job")
    assert sorted(lines(running, "Slow-done")) == sorted(lines(running, "Slow-began"))
    assert running.status()["pools"]["default"]["exits"] == {"drained": 1}
    assert running.stop() == 0
