"""A master's life: start, stop, insist, be refused, be killed; and nobody outlives it."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from tests.process import standins
from tests.process.harness import is_alive, until
from tests.process.standins import Master

CONFIG = """
connection: sqlite:///queued.db
http: {listen: "127.0.0.1:0"}
shutdown_grace: 20s
queues:
  default: {processes: 2}
  emails: {processes: 1}
"""


def test_start_and_stop(master):
    running = master(CONFIG).start()
    status = running.status()
    assert status["pools"]["default"]["state"] == "running"
    assert len(running.pids()) == 3
    for worker in running.workers():
        assert is_alive(worker["pid"])
    assert running.stop() == 0
    assert running.processes() == []
    reasons = [event["reason"] for event in running.events("worker.exited")]
    assert reasons == ["drained"] * 3


def test_workers_are_the_masters_own_children_in_groups_of_their_own(master):
    running = master(CONFIG).start()
    for pid in running.pids():
        assert parent_of(pid) == running.pid
        assert os.getpgid(pid) == pid
    assert running.stop() == 0


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def test_stop_by_command_answers_when_it_is_over(master):
    running = master(CONFIG).start()
    running.client.request("stop", timeout=60.0)
    assert running.wait() == 0
    assert running.processes() == []


def test_sigint_is_a_stop_too(master):
    running = master(CONFIG).start()
    running.signal(signal.SIGINT)
    assert running.wait() == 0


def test_the_second_sigterm_hands_back_and_the_third_kills(master):
    config = CONFIG.replace("{processes: 1}", "{processes: 1, env: {ACT: deaf job}}")
    running = master(config).start()
    (deaf,) = running.pids("emails")
    running.signal(signal.SIGTERM)
    until(lambda: running.pids("default") == set(), "the others to go")
    assert is_alive(deaf)
    running.signal(signal.SIGTERM)  # SIGQUIT to the worker, which leaves for it
    assert running.wait() == 0
    assert [one["sentences"] for one in running.heard("gone") if one["sentences"]]
    assert running.processes() == []


def test_a_third_sigterm_kills_what_takes_no_notice_at_all(master):
    running = master(CONFIG).start()
    (victim,) = running.pids("emails")
    os.kill(victim, signal.SIGSTOP)  # takes notice of nothing
    for heard in (1, 2):  # two signals that arrive at once are one
        running.signal(signal.SIGTERM)
        until(lambda: len(running.events("daemon.stopping")) == heard, "the signal")  # noqa: B023
    assert is_alive(victim)
    running.signal(signal.SIGTERM)
    assert running.wait() == 0
    assert running.processes() == []


def test_the_grace_is_bounded(master):
    """Stopped, a worker cannot hand back by itself: it is killed, and its jobs are told of."""
    config = CONFIG.replace("20s", "0s").replace(
        "emails: {processes: 1}", "emails: {processes: 1, env: {ACT: job}}"
    )
    running = master(config).start()
    (victim,) = running.pids("emails")
    os.kill(victim, signal.SIGSTOP)
    assert running.stop() == 0
    (gone,) = [frame for frame in running.heard("gone") if frame["sentences"]]
    assert gone["dossier"]["reason"] == "hung"
    assert [one["verdict"] for one in gone["sentences"].values()] == ["bystander"]


def test_a_killed_master_takes_everybody_with_it(master):
    running = master(CONFIG.replace("{processes: 1}", "{processes: 1, env: {ACT: deaf}}")).start()
    assert len(running.processes()) == 6  # master, template, monitor, 3 workers
    running.signal(signal.SIGKILL)
    running.wait()
    until(lambda: running.processes() == [], "the children to go", seconds=5)
    running.start()  # neither lock nor socket of the dead one are in the way
    assert len(running.pids()) == 3


SLOW = "import time\ntime.sleep(60)\n"


def test_sigterm_during_a_slow_import(master):
    running = master(CONFIG + "imports: [work]\n", jobs=SLOW).start(ready=False)
    until(lambda: len(running.processes()) >= 3, "the template and the monitor")
    until(lambda: running.heard("fleet"), "the monitor")
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 5.0  # far from the minute that the import takes
    assert running.processes() == []


def test_a_second_master_is_refused(master):
    first = master(CONFIG).start()
    second = Master(first.folder, CONFIG)
    second.environment = first.environment
    second.log = first.folder / "second.log"
    second.start(ready=False)
    assert second.wait() == 75
    assert f"already running (pid {first.pid})" in second.output()
    assert len(first.pids()) == 3
    assert first.stop() == 0


def test_a_broken_import_names_the_users_line(master):
    running = master(CONFIG + "imports: [work]\n", jobs="import os\n\nos.nonsuch\n")
    running.start(ready=False)
    assert running.wait() == 78
    assert "work.py:3" in running.output()
    assert "Traceback" not in running.output()
    assert "daemon.stopping" not in running.output()  # it has never run
    assert running.processes() == []


def test_an_import_that_ends_the_process(master):
    running = master(CONFIG + "imports: [work]\n", jobs="import os\nos._exit(3)\n")
    running.start(ready=False)
    assert running.wait() == 78
    assert "the imports ended the process (exit code 3)" in running.output()


def test_an_import_that_closes_every_descriptor_and_goes_on(master):
    jobs = "import os, time\nos.closerange(3, 1024)\ntime.sleep(600)\n"
    running = master(CONFIG + "imports: [work]\n", jobs=jobs)
    running.start(ready=False)
    assert running.wait() == 78
    assert "the imports ended the process (SIGKILL)" in running.output()


def test_a_port_in_use(master):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        running = master(CONFIG.replace("127.0.0.1:0", address)).start(ready=False)
        assert running.wait() == 1
    assert f"http.listen: {address} is in use" in running.output()
    assert running.processes() == []


def test_processes_that_jobs_left_behind_end_too(master):
    config = CONFIG.replace("{processes: 1}", "{processes: 1, env: {ACT: family}}")
    running = master(config).start()
    (worker,) = running.pids("emails")
    path = running.folder / f"family-{worker}"
    until(lambda: path.exists() and path.read_text(), "the worker's own child")
    child = int(path.read_text())
    os.kill(worker, signal.SIGKILL)
    until(lambda: not is_alive(child), "the group of the dead worker to go")
    assert running.stop() == 0
    assert running.processes() == []


def test_started_without_standard_descriptors(master):
    """The next files would become them, and get what is written to standard error."""
    running = master(CONFIG)
    (running.folder / "launch.py").write_text(
        f"import os, sys; os.closerange(0, 3);"
        f"os.execv(sys.executable, [sys.executable, {str(standins.__file__)!r}, *sys.argv[1:]])"
    )
    running.start(ready=False, program=running.folder / "launch.py")
    until(lambda: (running.folder / "run").exists() and running.is_ready(), "the daemon")
    for fd in range(3):
        assert str(Path(f"/proc/{running.pid}/fd/{fd}").readlink()) == os.devnull
    assert running.stop() == 0
