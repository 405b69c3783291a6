"""What holds for payloads, as a producer finds it and as the daemon reads it: the same."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from queued.config.load import load
from queued.errors import ConfigError
from queued.policy import MAX_PAYLOAD, Policy, find, generate_key, size_from

ONE, TWO = generate_key(), generate_key()
CONFIG = """
encryption: {keys_file: enc-keys}
signing: {keys_file: "${SIGNING_FILE:-sign-keys}"}
x-large: &large {max_payload: 4MiB}
defaults: {max_payload: 64KiB}
queues:
  default: {}
  reports: {<<: *large}
  tiny: {max_payload: 200}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "queue.yaml").write_text(CONFIG)
    (tmp_path / "enc-keys").write_text(f"# the new one first\n{ONE}\n{TWO}\n")
    (tmp_path / "sign-keys").write_text(f"{TWO}, unsigned")
    return tmp_path


def refusal(environ: dict[str, str], folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        find(environ, folder)
    for key in (ONE, TWO):
        assert key not in str(caught.value)
    return str(caught.value)


def test_without_a_word_from_anyone(tmp_path: Path) -> None:
    found = find({}, tmp_path)

    assert found == Policy()
    assert (found.encryption, found.signing, found.limit_of("x")) == ((), (), MAX_PAYLOAD)
    assert found.least == MAX_PAYLOAD


def test_a_producer_and_the_daemon_read_the_same_of_queue_yaml(folder: Path) -> None:
    found = find({}, folder)

    assert (found.encryption, found.signing) == ((ONE, TWO), (TWO, "unsigned"))
    sizes = {name: found.limit_of(name) for name in ("default", "reports", "tiny", "elsewhere")}
    assert sizes == {"default": 65_536, "reports": 4 << 20, "tiny": 200, "elsewhere": 65_536}
    assert found.least == 200
    daemons = load(folder / "queue.yaml", {}).policy
    assert (daemons.encryption, daemons.signing) == (found.encryption, found.signing)
    assert {name: daemons.limit_of(name) for name in sizes} == sizes


def test_the_file_is_the_one_that_is_named(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    assert find({}, elsewhere) == Policy()
    assert find({"QUEUED_CONFIG": str(folder / "queue.yaml")}, elsewhere).encryption == (ONE, TWO)


def test_a_variable_wins_over_the_file(folder: Path) -> None:
    (folder / "other").write_text(TWO)
    environ = {"QUEUED_ENCRYPTION_KEYS": f" {TWO},{ONE},", "QUEUED_SIGNING_KEYS_FILE": "other"}
    found = find(environ, folder)

    assert (found.encryption, found.signing) == ((TWO, ONE), (TWO,))
    environ["QUEUED_SIGNING_KEYS_FILE"] = str(folder / "other")
    daemons = load(folder / "queue.yaml", environ).policy
    assert (daemons.encryption, daemons.signing) == (found.encryption, found.signing)


def test_service_managers_credentials_are_found(folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "credentials"
    given.mkdir()
    (given / "enc-keys").write_text(TWO)
    (given / "sign-keys").write_text(ONE)
    environ = {"CREDENTIALS_DIRECTORY": str(given)}

    assert find(environ, folder).encryption == (TWO,)
    assert load(folder / "queue.yaml", environ).policy.signing == (ONE,)


def test_the_environment_says_what_no_queue_does(tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text("queues: {a: {}, b: {max_payload: 5MiB}}")
    environ = {"QUEUED_MAX_PAYLOAD": "2KiB"}
    found = find(environ, tmp_path)

    assert (found.limit_of("a"), found.limit_of("b")) == (2048, 5 << 20)
    assert load(tmp_path / "queue.yaml", environ).policy.limit_of("a") == 2048


@pytest.mark.parametrize(
    "text",
    ["short", ONE[:-1], ONE + "A", f"{ONE} x", "unsigned", ONE + "!"],
    ids=["short", "cut", "long", "second", "unsigned", "sign"],
)
def test_what_is_no_key_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    said = refusal({"QUEUED_SIGNING_KEYS": text}, tmp_path)

    assert said.startswith("QUEUED_SIGNING_KEYS: ")
    assert "`queued key generate` prints one" in said
    assert "short" not in said


def test_unsigned_is_no_key_for_encryption(tmp_path: Path) -> None:
    assert "key 2 is none" in refusal({"QUEUED_ENCRYPTION_KEYS": f"{ONE},unsigned"}, tmp_path)


def test_a_file_that_is_not_there_or_empty_is_named(folder: Path) -> None:
    (folder / "enc-keys").unlink()
    said = refusal({}, folder)
    assert f"{folder}/queue.yaml: encryption.keys_file: {folder}/enc-keys: no such file" in said
    (folder / "enc-keys").write_text("# nothing yet\n")
    assert "has no key" in refusal({}, folder)
    environ = {"QUEUED_ENCRYPTION_KEYS": ONE, "QUEUED_SIGNING_KEYS_FILE": "sign.missing"}
    assert "sign.missing: no such file" in refusal(environ, folder)


def test_the_daemon_tells_all_that_is_wrong(folder: Path) -> None:
    (folder / "enc-keys").write_text("nonsense-that-is-secret")
    (folder / "sign-keys").unlink()
    with pytest.raises(ConfigError) as caught:
        load(folder / "queue.yaml", {"QUEUED_MAX_PAYLOAD": "lots"})
    said = "\n".join(caught.value.problems)

    assert "encryption.keys_file: key 1 is none" in said
    assert "signing.keys_file" in said
    assert "nonsense" not in said
    with pytest.raises(ConfigError, match="'lots'"):
        size_from({"QUEUED_MAX_PAYLOAD": "lots"})


@pytest.mark.parametrize("size", ["0", "17MiB", "-1", "many", "none"])
def test_a_size_that_cannot_be_is_refused_everywhere(size: str, tmp_path: Path) -> None:
    assert "QUEUED_MAX_PAYLOAD: " in refusal({"QUEUED_MAX_PAYLOAD": size}, tmp_path)
    path = tmp_path / "queue.yaml"
    path.write_text(f"queues: {{default: {{max_payload: {size}}}}}")
    assert "queues.default.max_payload: " in refusal({}, tmp_path)
    with pytest.raises(ConfigError, match=r"queues\.default\.max_payload"):
        load(path, {})


def test_a_file_that_nobody_named_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text("queue:\n- name: of another product\n  rate: 5/s\n}")

    assert find({}, tmp_path) == Policy()
    assert "cannot be read" in refusal({"QUEUED_CONFIG": "queue.yaml"}, tmp_path)


def test_it_crosses_a_fork_as_json_and_shows_no_key(folder: Path) -> None:
    found = find({}, folder)

    assert Policy.from_plain(json.loads(json.dumps(asdict(found)))) == found
    assert ONE not in repr(found)
    assert TWO not in repr(found)
