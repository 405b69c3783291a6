"""``user:``: the daemon gives up root for good, all of it, and works on."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from queued.daemon.master import privileges
from queued.errors import ConfigError, QueuedError
from tests.contract.servers import free_port
from tests.process.harness import QUEUED, Daemon, is_alive, until
from tests.security.nobody import NOBODY, prefix

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")

CONFIG = """
user: nobody
connection: sqlite:///data/queued.db
imports: [work]
http: {{listen: "127.0.0.1:{port}"}}
queues: {{default: {{processes: 1, sleep: 100ms}}}}
"""
JOBS = """
import json, os
from pathlib import Path
from queued import Job

def note(name):
    ids = [os.getresuid(), os.getresgid(), os.getgroups()]
    env = {key: os.environ.get(key) for key in ("HOME", "USER", "LOGNAME")}
    Path("data", name).write_text(json.dumps([ids, env]))

note("imported")

class Note(Job):
    def handle(self): note("ran")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that everybody can reach: pytest's own are for its user alone."""
    with tempfile.TemporaryDirectory(prefix="queued-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "data").mkdir()
        os.chown(path / "data", NOBODY.pw_uid, NOBODY.pw_gid)
        yield path


class Dropping(Daemon):
    """Started by root, with ``user:``."""

    def begin(self) -> Dropping:
        self.log = self.folder / "data" / "daemon.log"  # nobody's commands look into nothing else
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix(), QUEUED, "start", "-c", self.config],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        return self


@pytest.fixture
def daemon(folder: Path) -> Iterator[Dropping]:
    port = free_port(range(600, 1_024))  # only root may bind these
    made = Dropping(folder, CONFIG.format(port=port), jobs=JOBS, HOME="/root")
    made.config.chmod(0o644)
    yield made
    made.clean_up()


def fields(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


@needs_root
def test_every_process_is_the_user_and_nothing_of_root_is_left(daemon: Dropping) -> None:
    daemon.begin()
    until(daemon.is_ready, "the daemon to be ready")
    data = daemon.folder / "data"
    notes = [json.loads((data / "imported").read_text())]
    assert daemon.run("dispatch", "work.Note", "-c", str(daemon.config)).returncode == 0
    ran = until(lambda: (data / "ran").exists() and (data / "ran").read_text(), "the job to run")
    notes.append(json.loads(ran))

    pids = daemon.processes()
    assert len(pids) == 4, "master, template, monitor, worker"
    uid, gid = str(NOBODY.pw_uid), str(NOBODY.pw_gid)
    groups = {str(group) for group in os.getgrouplist("nobody", NOBODY.pw_gid)}
    for pid in pids:
        status = fields(pid)
        assert status["Uid"] == [uid] * 4
        assert status["Gid"] == [gid] * 4
        assert set(status["Groups"]) == groups
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[kind][0], 16) == 0

    # the code was imported after that, and has the user's surroundings
    for (uids, gids, _), environ in notes:
        assert set(uids) == {NOBODY.pw_uid}
        assert set(gids) == {NOBODY.pw_gid}
        assert environ == {"HOME": NOBODY.pw_dir, "USER": "nobody", "LOGNAME": "nobody"}

    # what it made is its own
    runtime = daemon.folder / "run"
    made = [runtime, *runtime.iterdir(), *data.glob("queued.db*")]
    assert len(made) >= 6
    assert {path.lstat().st_uid for path in made} == {NOBODY.pw_uid}
    assert all(not path.lstat().st_mode & 0o077 for path in made)

    # root and the user can steer it; the port below 1024 answers
    assert daemon.get("/healthz")[0] == 200
    own = [*prefix(), "setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", QUEUED, "status"]
    asked = subprocess.run(
        [*own, "-c", daemon.config],
        env=daemon.environment,
        cwd=daemon.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert "running" in asked.stdout

    # a reload reads the file as that user, and takes no other
    assert daemon.run("reload").returncode == 0
    daemon.config.write_text(daemon.config.read_text().replace("nobody", "daemon"))
    refused = daemon.run("reload", check=False)
    assert refused.returncode == 1
    assert "user: a change of it needs a new start" in refused.stderr

    # a change of user clears the wish to die with the parent: it is renewed after it
    daemon.signal(signal.SIGKILL)
    until(lambda: not any(map(is_alive, pids)), "all to die with the master", seconds=20)


def started(daemon: Dropping) -> str:
    """Start what must not start; return the one line that it says."""
    daemon.begin()
    assert daemon.wait() == 78, daemon.output()
    (line,) = daemon.output().splitlines()
    return line


@needs_root
@pytest.mark.parametrize("what", ["nobody-here", "nobody:nogroup-here"])
def test_who_does_not_exist(daemon: Dropping, what: str) -> None:
    daemon.config.write_text(daemon.config.read_text().replace("nobody", what))
    kind, name = ("group", "nogroup-here") if ":" in what else ("user", "nobody-here")
    assert started(daemon) == f"queued: user: there is no {kind} {name} on this machine"


@needs_root
def test_a_database_that_the_user_cannot_write(daemon: Dropping) -> None:
    os.chown(daemon.folder / "data", 0, 0)
    line = started(daemon)
    database = daemon.folder / "data" / "queued.db"
    assert f"connection: nobody cannot write to {database} and its folder" in line


@needs_root
def test_a_file_that_the_user_cannot_read(daemon: Dropping) -> None:
    daemon.config.chmod(0o600)
    assert f"{daemon.config}: nobody cannot read it" in started(daemon)


@needs_root
def test_a_single_worker_gives_up_root_too(daemon: Dropping) -> None:
    done = subprocess.run(
        [*prefix(), QUEUED, "work", "--max-time", "0.2"],
        cwd=daemon.folder,
        env=daemon.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (uids, gids, _), environ = json.loads((daemon.folder / "data" / "imported").read_text())
    assert (set(uids), set(gids)) == ({NOBODY.pw_uid}, {NOBODY.pw_gid})
    assert environ["HOME"] == NOBODY.pw_dir


def test_who_is_not_root_becomes_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges.os, "geteuid", lambda: NOBODY.pw_uid)
    monkeypatch.setattr(privileges.os, "getegid", lambda: NOBODY.pw_gid)
    with pytest.raises(ConfigError, match="only root can become root, and nobody runs this"):
        privileges.identity("root")
    with pytest.raises(ConfigError, match="nobody runs this, and cannot change the group to root"):
        privileges.identity("nobody:root")
    assert privileges.identity("nobody") is None
    assert privileges.identity(None) is None


def in_a_child(program: str) -> subprocess.CompletedProcess[str]:
    head = (
        "import os; from queued.daemon.master.privileges import *; "
        "from queued.daemon.master import privileges; who = identity('nobody'); "
    )
    return subprocess.run(
        [sys.executable, "-c", head + program], capture_output=True, text=True, check=False
    )


@needs_root
def test_there_is_no_way_back() -> None:
    tries = "; ".join(
        f"attempt(lambda: os.{call})"
        for call in (
            "setuid(0)",
            "seteuid(0)",
            "setreuid(0, 0)",
            "setresuid(-1, 0, -1)",
            "setgid(0)",
            "setegid(0)",
            "setresgid(-1, 0, -1)",
            "setgroups([0])",
        )
    )
    program = (
        "become(who)\ndef attempt(way):\n try: way()\n except PermissionError: print('refused')\n"
        + tries
    )
    done = in_a_child(program)
    assert done.stdout.split() == ["refused"] * 8, done


@needs_root
@pytest.mark.parametrize("forgotten", ["setuid", "setgid", "setgroups"])
def test_what_is_forgotten_is_found(forgotten: str) -> None:
    """As where only the effective user was changed (CVE-2011-4356)."""
    weaker = {
        "setuid": "os.setuid = lambda uid: os.seteuid(uid)",
        "setgid": "os.setgid = lambda gid: os.setegid(gid)",
        "setgroups": "os.setgroups([0, 1]); os.setgroups = lambda groups: None",
    }[forgotten]
    done = in_a_child(f"{weaker}; become(who); print('went on')")
    assert "went on" not in done.stdout
    assert f"{QueuedError.__name__}: user: not all of root could be given up" in done.stderr


@needs_root
def test_acting_as_somebody_ends(folder: Path) -> None:
    with privileges.acting_as(privileges.identity("nobody")):
        (folder / "data" / "made").touch()
        assert (folder / "data" / "made").stat().st_uid == NOBODY.pw_uid
        assert os.geteuid() == NOBODY.pw_uid
        assert not set(os.getgroups()) & {0}
    assert os.getresuid() == (0, 0, 0)
    assert os.getresgid()[1] == 0


@needs_root
def test_a_folder_that_root_made_earlier_is_handed_over(folder: Path) -> None:
    from queued.daemon.master.runtime import Runtime, provide

    who = privileges.identity("nobody")
    environ = {"QUEUED_RUNTIME_DIR": str(folder / "run")}
    mine = Runtime.for_daemon(folder / "queue.yaml", environ)
    mine.acquire()
    mine.release()
    (folder / "run" / "link").symlink_to("/etc/passwd")
    provide(who, environ)
    assert {path.lstat().st_uid for path in (folder / "run").iterdir()} == {NOBODY.pw_uid}
    assert Path("/etc/passwd").stat().st_uid == 0
    with privileges.acting_as(who):
        Runtime.for_daemon(folder / "queue.yaml", environ, "nobody").acquire()


@needs_root
def test_a_link_in_place_of_the_folder_is_not_followed(folder: Path) -> None:
    from queued.daemon.master.runtime import Runtime, provide

    who = privileges.identity("nobody")
    victim = folder / "victim"
    victim.mkdir(mode=0o700)
    (folder / "run").symlink_to(victim)
    environ = {"QUEUED_RUNTIME_DIR": str(folder / "run")}
    provide(who, environ)
    assert victim.stat().st_uid == 0
    assert stat.S_IMODE(victim.stat().st_mode) == 0o700
    with pytest.raises(ConfigError, match="not a folder"):
        Runtime.for_daemon(folder / "queue.yaml", environ)
