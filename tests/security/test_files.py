"""What queued writes is for its user alone, whatever the umask, and not where others lead it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from queued.daemon.master.runtime import Runtime
from queued.drivers.base import ID_PATTERN, QUEUE_PATTERN
from queued.errors import ConfigError, InvalidJob
from queued.folders import make_private
from queued.jobs.queue import Queue
from tests.process.harness import QUEUED, Daemon, until
from tests.security.fuzz import FUZZ, hostile_text
from tests.security.test_payloads import Typed

CONFIG = "connection: sqlite:///var/data/queued.db\nhttp: off\nqueues: {default: {sleep: 100ms}}"


@pytest.mark.parametrize("umask", ["000", "077"])
def test_a_daemons_files_are_private(daemon: Callable[..., Daemon], umask: str) -> None:
    one = daemon(CONFIG, HOME="/nonexistent")
    one.environment["QUEUED_RUNTIME_DIR"] = str(one.folder / "run" / "deep")
    with one.log.open("ab") as log:
        one.process = subprocess.Popen(
            ["sh", "-c", f'umask {umask}; exec "$@"', "sh", QUEUED, "start", "-c", one.config],
            cwd=one.folder,
            env=one.environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    until(lambda: "daemon.ready" in one.output(), "the daemon to come up")
    until((one.folder / "var/data/queued.db-shm").exists, "the database to be made")
    warned = one.output().count("jobs run as root; name a user: in queue.yaml")
    assert warned == (os.geteuid() == 0), "once, and only if it is so"
    found = {
        path.relative_to(one.folder): stat.S_IMODE(path.lstat().st_mode)
        for top in ("run", "var")
        for path in (one.folder / top, *(one.folder / top).rglob("*"))
    }
    folders = {path for path in found if (one.folder / path).is_dir()}
    assert {str(path) for path in folders} == {"run", "run/deep", "var", "var/data"}
    assert {found[path] for path in folders} == {0o700}
    files = {
        path.name.rpartition(".")[2]: mode for path, mode in found.items() if path not in folders
    }
    assert files == dict.fromkeys(["lock", "sock", "install", "db", "db-wal", "db-shm"], 0o600)
    assert one.stop() == 0


def test_missing_folders_are_private_and_others_stay(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        tmp_path.chmod(0o755)
        make_private(tmp_path / "a" / "b")
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")
    ]
    assert modes == [0o755, 0o700, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_private(tmp_path / "file")


def link(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)


def dangling_link(folder: Path) -> None:
    folder.symlink_to(folder.with_name("elsewhere"))


def of_somebody_else(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65533, 65533)


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o1777)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (link, "not a folder"),
        (dangling_link, "File exists"),
        (open_to_all, "others can write to it"),
        pytest.param(
            of_somebody_else,
            "belongs to another user",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away"),
        ),
    ],
)
def test_a_folder_that_was_laid_out_for_us_is_not_used(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    """As others do in /tmp, where its name can be foreseen."""
    spoil(tmp_path / "run")
    with pytest.raises(ConfigError, match=reason):
        Runtime.for_daemon(tmp_path / "queue.yaml", {"QUEUED_RUNTIME_DIR": str(tmp_path / "run")})
    elsewhere = tmp_path / "elsewhere"
    assert not elsewhere.exists() or not list(elsewhere.iterdir())


# names become parts of keys and of files


@FUZZ
@given(hostile_text)
async def test_names_are_plain(text: str) -> None:
    plain = (
        text.isascii()
        and 0 < len(text) <= 64
        and not set(text) & set("/\\\0\r\n\t {}*?%<>\"'\x1b\x7f")
    )
    for pattern in (ID_PATTERN, QUEUE_PATTERN):
        if pattern.fullmatch(text):
            assert plain
            assert not text.startswith((".", "-"))
    async with Queue("memory://names") as producer:
        for arguments in ({"queue": text}, {"id": text}):
            try:
                await producer.push(Typed(to="x"), **arguments)
            except InvalidJob:
                continue
            assert plain or text == ""
