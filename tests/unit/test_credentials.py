"""``${file:NAME}``: a secret from a file, for any text of queue.yaml, that no message shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queued.config.load import load
from queued.credentials import LARGEST, Unreadable, read
from queued.environment import find_connection
from queued.errors import ConfigError

SECRET = "hunter2-hunter2-hunter2"
CONFIG = """
connection: redis://:${file:redis-password}@cache:6379/0
http: {listen: "127.0.0.1:0", token: "${file:http-token}"}
queues: {default: {}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "queue.yaml"
    path.parent.mkdir()
    path.write_text(CONFIG)
    return path


def put(folder: Path, password: bytes = b"pw", token: bytes = SECRET.encode()) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "redis-password").write_bytes(password)
    (folder / "http-token").write_bytes(token)


def loaded(config: Path, **environ: str) -> tuple[str, str | None]:
    found = load(config, environ).config
    assert found.http
    return found.connection, found.http.token


def problems(config: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(config, environ)
    lines = [line.removeprefix(f"{config.parent}/") for line in caught.value.problems]
    assert "hunter2" not in str(lines)
    return lines


def test_a_relative_name_is_found_beside_the_file(config: Path) -> None:
    put(config.parent)
    assert loaded(config) == ("redis://:pw@cache:6379/0", SECRET)


def test_or_where_the_service_manager_put_it(config: Path, tmp_path: Path) -> None:
    put(config.parent, b"wrong", b"wrong")
    put(tmp_path / "credentials")
    place = str(tmp_path / "credentials")
    assert loaded(config, CREDENTIALS_DIRECTORY=place) == ("redis://:pw@cache:6379/0", SECRET)
    url, _ = find_connection({"QUEUED_CONFIG": str(config), "CREDENTIALS_DIRECTORY": place}, Path())
    assert url == "redis://:pw@cache:6379/0", "a producer finds it as the daemon does"


def test_an_absolute_name_is_what_it_says(config: Path, tmp_path: Path) -> None:
    put(tmp_path / "secrets")
    config.write_text(CONFIG.replace("file:", f"file:{tmp_path}/secrets/"))
    for environ in ({}, {"CREDENTIALS_DIRECTORY": "/nowhere"}):
        assert loaded(config, **environ) == ("redis://:pw@cache:6379/0", SECRET)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_line_break_at_its_end_is_none_of_it(config: Path, end: bytes) -> None:
    put(config.parent, b"pw" + end, b" ${HOME} $$ " + end)
    assert loaded(config) == ("redis://:pw@cache:6379/0", " ${HOME} $$ ")


def test_a_default_stands_in_for_what_is_not_there(config: Path) -> None:
    config.write_text(CONFIG.replace("password}", "password:-}").replace("token}", "token:-0123}"))
    assert loaded(config) == ("redis://:@cache:6379/0", "0123")
    put(config.parent, b"\n")
    assert loaded(config) == ("redis://:@cache:6379/0", SECRET)


def test_every_missing_file_is_named_with_its_line(config: Path, tmp_path: Path) -> None:
    beside, elsewhere = config.parent, tmp_path / "credentials"
    hint = "no such file; CREDENTIALS_DIRECTORY is not set"
    assert problems(config) == [
        f"queue.yaml:2: connection: ${{file:redis-password}}: {beside}/redis-password: {hint}",
        f"queue.yaml:3: http.token: ${{file:http-token}}: {beside}/http-token: {hint}",
    ]
    put(elsewhere, b"")
    (elsewhere / "http-token").unlink()
    assert problems(config, CREDENTIALS_DIRECTORY=str(elsewhere)) == [
        f"queue.yaml:2: connection: ${{file:redis-password}}: {elsewhere}/redis-password: is empty",
        f"queue.yaml:3: http.token: ${{file:http-token}}: {elsewhere}/http-token: no such file",
    ]


def test_what_is_no_secret_is_refused(config: Path) -> None:
    put(config.parent, SECRET.encode() * LARGEST, SECRET.encode() + b"\xff")
    assert [line.partition(": is ")[2] for line in problems(config)] == [
        "over 64 KiB; is it the right file?",
        "not UTF-8 text",
    ]
    for name in ("redis-password", "http-token"):
        (config.parent / name).unlink()
    (config.parent / "redis-password").mkdir()
    os.mkfifo(config.parent / "http-token")  # to read it would take for ever
    assert [line.partition(": is ")[2] for line in problems(config)] == [
        "a folder",
        "no regular file",
    ]


def test_a_wrong_secret_is_not_shown(config: Path) -> None:
    config.write_text("connection: ${file:redis-password}\nqueues: {default: {sleep: '${file:x}'}}")
    put(config.parent, SECRET.encode())
    (config.parent / "x").write_text(SECRET)
    first, second = problems(config)
    assert first.startswith("queue.yaml:1: connection: expected a URL")
    assert second.startswith("queue.yaml:2: queues.default.sleep: expected a duration")
    assert "${file:x}" in second
    with pytest.raises(ConfigError) as caught:
        find_connection({"QUEUED_CONFIG": str(config)}, Path())
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["x\0y", "x" * 300])
def test_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unreadable, match="cannot be read: "):
        read(name, {}, tmp_path)
