"""Where the runtime files are, and the lock that keeps a second master out."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from queued.daemon.master.runtime import Runtime, candidates
from queued.errors import AlreadyRunning, ConfigError


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "queue.yaml"
    path.touch()
    return path


@pytest.fixture
def environ(tmp_path):
    return {"QUEUED_RUNTIME_DIR": str(tmp_path / "run"), "HOME": str(tmp_path)}


def test_the_order_of_the_folders():
    home = {"HOME": "/home/a"}
    default = [Path("/run/queued"), Path("/home/a/.queued/run")]
    assert list(candidates(home)) == default
    assert list(candidates({**home, "QUEUED_RUNTIME_DIR": "/x"})) == [Path("/x")]
    assert list(candidates({**home, "RUNTIME_DIRECTORY": "/run/q:/run/b"})) == [
        Path("/run/q"),
        *default,
    ]
    assert list(candidates({**home, "XDG_RUNTIME_DIR": "/run/user/7"})) == [
        Path("/run/user/7/queued"),
        *default,
    ]


def test_the_folder_is_private(config, environ):
    runtime = Runtime.for_daemon(config, environ)
    assert stat.S_IMODE(runtime.folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_write_to_is_refused(config, environ):
    folder = Path(environ["QUEUED_RUNTIME_DIR"])
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="others can write to it"):
        Runtime.for_daemon(config, environ)


def test_a_file_in_its_place_is_refused(config, environ):
    Path(environ["QUEUED_RUNTIME_DIR"]).touch()
    with pytest.raises(ConfigError, match="set QUEUED_RUNTIME_DIR"):
        Runtime.for_daemon(config, environ)


def test_daemon_and_client_agree_whatever_the_path_is_called(config, environ, tmp_path):
    daemon = Runtime.for_daemon(config, environ)
    link = tmp_path / "link.yaml"
    link.symlink_to(config)
    assert Runtime.for_client(link, environ).socket_path == daemon.socket_path
    other = tmp_path / "other.yaml"
    assert Runtime.for_client(other, environ).socket_path != daemon.socket_path


def test_a_client_finds_the_folder_that_has_the_socket(config, tmp_path):
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "session")}
    at_home = Runtime(tmp_path / ".queued" / "run", config)
    at_home.folder.mkdir(parents=True)
    at_home.socket_path.touch()
    assert Runtime.for_client(config, environ).folder == at_home.folder


HOLDER = """
import sys, time
from pathlib import Path
from queued.daemon.master.runtime import Runtime
Runtime(Path(sys.argv[1]), Path(sys.argv[2])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_master_is_refused_and_told_who(config, environ):
    runtime = Runtime.for_daemon(config, environ)
    command = [sys.executable, "-c", HOLDER, runtime.folder, config]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(AlreadyRunning, match=rf"already running \(pid {holder.pid}\) for "):
            runtime.acquire()
        holder.kill()
        holder.wait()
    runtime.acquire()  # a dead one holds nothing
    runtime.release()


def test_release_lets_the_next_one_in(config, environ):
    for _ in range(2):
        runtime = Runtime.for_daemon(config, environ)
        runtime.acquire()
        runtime.socket_path.touch()
        runtime.release()
        runtime.release()
        assert not runtime.socket_path.exists()


def test_the_lock_is_not_for_everybody_to_read(config, environ):
    runtime = Runtime.for_daemon(config, environ)
    runtime.acquire()
    assert stat.S_IMODE(runtime.lock_path.stat().st_mode) == 0o600
    runtime.release()


def test_the_install_id_stays(config, environ):
    runtime = Runtime.for_daemon(config, environ)
    first = runtime.install_id()
    assert re.fullmatch("[0-9a-f]{8}", first)
    assert Runtime.for_daemon(config, environ).install_id() == first


def test_a_broken_install_id_is_made_anew(config, environ):
    runtime = Runtime.for_daemon(config, environ)
    runtime._install_path.write_text("../../x")
    assert re.fullmatch("[0-9a-f]{8}", runtime.install_id())


def test_a_clone_of_the_machine_is_another_install(config, environ, monkeypatch):
    first = Runtime.for_daemon(config, environ).install_id()
    monkeypatch.setattr("queued.daemon.master.runtime._machine_id", lambda: "another")
    assert Runtime.for_daemon(config, environ).install_id() != first
