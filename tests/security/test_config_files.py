"""queue.yaml as an attacker would write it, and where root takes none at all."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.config import trust
from queued.config.load import load
from queued.environment import find_connection
from queued.errors import ConfigError
from tests.process.harness import QUEUED
from tests.security.fuzz import FUZZ, HOSTILE, hostile_text, is_safe, mutated

ROOT = Path(__file__).resolve().parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is asked for trust")

WHOLE = b"""
# a comment
x-base: &base {timeout: 30s, env: {A: "1"}}
connection: "redis://u:${PASSWORD:-p}@localhost:6379/0"
imports: [app.jobs]
http: {listen: "127.0.0.1:9470", token: 'a long secret token'}
log: {level: info, format: auto}
shutdown_grace: 30s
user: nobody
defaults: {processes: 1, concurrency: 10, backoff: [1s, 10s]}
queues:
  default: {}
  emails: {<<: *base, sleep: 3, max_memory: 512MiB, backoff: {base: 2s, factor: 3}}
"""
WORDS = [
    b"!!python/object/apply:os.system ['touch ran']",
    b"!!python/name:os.system",
    b"*base",
    b"&a ",
    b"<<: *base",
    b"\t",
    b"- ",
    b": ",
    b"? ",
    b"|",
    b">",
    b"%YAML 9.9\n---\n",
    b"---\n",
    b"...\n",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x00",
    b"\x85",
    b"!<tag:yaml.org,2002:binary> ",
    b"${A",
    b"$",
    b'"\\e[31m${x\\n}"',
    b"0x7f",
    b"1e999",
    b".inf",
    b"2001-02-30",
    b"9" * 5_000,
    b"[" * 60,
]


def judge(path: Path, data: bytes, *, by_producers: bool = True) -> None:
    """Load a file: a configuration comes of it, or lines of text that say where and what."""
    path.write_bytes(data)
    try:
        loaded = load(path, {"PASSWORD": "hunter2"})
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - where it is raised at all
        for line in error.problems:
            assert is_safe(line), line
            assert "hunter2" not in line
            assert len(line) < 1_500
            assert line.startswith((str(path), f"{path}:")), line
    else:
        assert all(is_safe(line) for line in loaded.warnings)
    if by_producers:  # they look for the connection alone
        with contextlib.suppress(ConfigError):
            find_connection({"QUEUED_CONFIG": str(path), "PASSWORD": "p"}, path.parent)
    assert not Path("ran").exists()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "queue.yaml"


@FUZZ
@given(mutated([WHOLE]))
def test_a_damaged_file_is_a_config_or_clear_lines(path: Path, data: bytes) -> None:
    judge(path, data)


@FUZZ
@given(st.lists(st.sampled_from([*WORDS, *WHOLE.splitlines(keepends=True)]), max_size=12))
def test_pieces_in_any_order_are_a_config_or_clear_lines(path: Path, pieces: list[bytes]) -> None:
    judge(path, b"".join(pieces))


@FUZZ
@given(st.sampled_from(WHOLE.decode().split()), hostile_text)
def test_hostile_words_are_a_config_or_clear_lines(path: Path, word: str, text: str) -> None:
    text = text[:30]
    quoted = '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'
    for put in (text, quoted, f"${{{text}}}"):
        data = WHOLE.decode().replace(word, put, 1).encode(errors="surrogatepass")
        judge(path, data)


LAUGHS = "l0: &l0 [x]\n" + "\n".join(
    f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30)
)
MERGES = "l0: &l0 {a: 1}\n" + "\n".join(
    f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 30)
)
BOMBS = {
    "aliases": LAUGHS,
    "merges": MERGES,
    "merges at the top": f"{MERGES}\n<<: *l29",
    "keys of aliases": f"{LAUGHS}\n? *l29\n: x",
    "deep flow": "[" * 5_000,
    "deep mappings": "{a: " * 60_000,
    "deep blocks": "".join(f"{' ' * n}a:\n" for n in range(650)),
    "deep dashes": "- " * 100_000 + "x",
    "an own alias": "a: &a [*a]\nb: &b {<<: *b}",
    "a long key": "? " + "k" * 250_000,
    "many keys": "\n".join(f"k{n}: 1" for n in range(20_100)),
    "many anchors": "\n".join(f"k{n}: &a{n} 1" for n in range(3_000)),
    "many problems": "queues:\n" + "\n".join(f" k{n}: {{a: 1}}" for n in range(1_500)),
    "a huge number": "queues: {a: {processes: " + "9" * 250_000 + "}}",
    "a huge duration": "queues: {a: {sleep: " + "9" * 250_000 + "h}}",
    "a huge reference": "connection: '${" + "A" * 250_000 + "}'",
    "many references": "connection: '" + "${A:-x}" * 35_000 + "'",
    "open references": "connection: '" + "${" * 120_000 + "'",
    "a huge address": "http: {listen: '" + "a" * 250_000 + ":1'}",
    "a huge module": "imports: ['" + "a." * 120_000 + "']",
    "a huge user": "user: '" + "a" * 250_000 + "!'",
    "a huge url": "connection: 'redis://" + "a:" * 120_000 + "@'",
}


def light_the_fuses(folder: str) -> None:
    import resource

    path = Path(folder) / "queue.yaml"
    judge(path, WHOLE)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), size + (1 << 30)))
    for name, bomb in BOMBS.items():
        began = time.process_time()
        judge(path, bomb.encode(), by_producers="l0:" in bomb)
        spent = time.process_time() - began
        assert spent < 60, f"{name}: {spent:.1f} s"
        if os.environ.get("QUEUED_FUZZ"):
            print(f"{name}: {spent:.2f} s")


def test_a_bomb_costs_little(tmp_path: Path) -> None:
    """In a process of its own, whose memory is limited."""
    program = f"from tests.security.test_config_files import *; light_the_fuses({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-2_000:]


@pytest.mark.parametrize(
    "text",
    [
        "connection: redis://one/0",
        "<<: {connection: redis://one/0}",
        "x-a: &a {connection: redis://one/0}\n<<: *a",
        "x-a: &a {connection: redis://one/0}\nx-b: &b {<<: [{}, *a]}\n<<: *b",
        "x-a: &a {connection: redis://two/0}\n<<: *a\nconnection: redis://one/0",
    ],
)
def test_producers_and_the_daemon_find_the_same_back_end(path: Path, text: str) -> None:
    path.write_text(f"{text}\nqueues: {{default: }}")
    assert load(path, {}).config.connection == "redis://one/0"
    assert find_connection({"QUEUED_CONFIG": str(path)}, path.parent)[0] == "redis://one/0"


# whose file it is


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "etc" / "queued"
    folder.mkdir(parents=True)
    path = folder / "queue.yaml"
    path.write_text("queues: {default: {}}")
    return path


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (line,) = caught.value.problems
    return line


def open_file(path: Path) -> str:
    path.chmod(0o666)
    return f"{path}: everybody can write to it, and so have root run anything: chmod o-w {path}"


def open_folder(path: Path) -> str:
    path.parent.parent.chmod(0o777)
    what = path.parent.parent
    return f"{what}: everybody can write to it, and so have root run anything: chmod o-w {what}"


def group_file(path: Path) -> str:
    os.chown(path, 0, 12)
    path.chmod(0o664)
    return f"{path}: its group can write to it, and so have root run anything: chmod g-w {path}"


def foreign_file(path: Path) -> str:
    os.chown(path, 65533, 0)
    return f"{path}: belongs to 65533, who could have root run anything: chown root {path}"


def foreign_folder(path: Path) -> str:
    os.chown(path.parent, pwd.getpwnam("nobody").pw_uid, 0)
    return f"{path.parent}: belongs to nobody, who could have root run anything: chown root "


@needs_root
@pytest.mark.parametrize(
    "spoil", [open_file, open_folder, group_file, foreign_file, foreign_folder]
)
def test_root_takes_no_file_that_others_could_change(
    file: Path, spoil: Callable[[Path], str]
) -> None:
    load(file, {})
    expected = spoil(file)
    assert refused(file).startswith(expected)
    link = file.parents[2] / "link.yaml"
    link.symlink_to(file)
    assert refused(link).startswith(expected)
    with pytest.raises(ConfigError, match=r"root run anything"):
        load(file.parent / ".." / "queued" / "queue.yaml", {})


@needs_root
def test_the_command_to_mend_it_mends_it(file: Path) -> None:
    for spoil in (open_file, open_folder, group_file, foreign_file, foreign_folder):
        spoil(file)
        command = refused(file).rpartition(": ch")[2].partition(",")[0]
        subprocess.run(["ch" + command], shell=True, check=True)
        load(file, {})


@needs_root
def test_a_folder_with_the_sticky_bit_is_no_danger_and_one_without_is(file: Path) -> None:
    folder = file.parents[1]
    folder.chmod(0o1777)
    load(file, {})
    folder.chmod(0o777)
    refused(file)


@needs_root
def test_the_user_of_the_file_may_own_it(file: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(file, nobody.pw_uid, nobody.pw_gid)
    os.chown(file.parent, nobody.pw_uid, nobody.pw_gid)
    file.chmod(0o664)
    file.write_text("user: nobody\nqueues: {default: {}}")
    load(file, {})
    file.write_text("user: daemon\nqueues: {default: {}}")
    with pytest.raises(ConfigError, match="belongs to nobody"):
        load(file, {})


@needs_root
def test_root_starts_nothing_from_it(file: Path) -> None:
    """Exit 78, one line with the command to run; `check` and `work` import nothing of it either."""
    (file.parent / "evil.py").write_text("open('imported', 'w')")
    file.write_text("imports: [evil]\nqueues: {default: {}}")
    file.chmod(0o646)
    for command in ("start", "work", "check"):
        ended = subprocess.run(
            [QUEUED, command, "-c", file],
            cwd=file.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == (1 if command == "check" else 78), ended
        assert f"chmod o-w {file}" in ended.stdout + ended.stderr
    assert not (file.parent / "imported").exists()


def test_who_is_not_root_is_not_asked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.chmod(0o666)
    monkeypatch.setattr(trust.os, "geteuid", lambda: 1000)
    assert trust.doubts(file, None) == []


def test_the_example_is_private_enough() -> None:
    assert not (ROOT / "queue.yaml").stat().st_mode & (stat.S_IWOTH | stat.S_IWGRP)


def test_hostile_pieces_are_what_they_should_be() -> None:
    assert not all(map(is_safe, HOSTILE))
