"""``${VAR}`` in texts, and where producers find their back-end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from queued.environment import connection_from, expand, find_connection, normalise, redact
from queued.errors import ConfigError

HERE = Path("/srv/app")


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("x${A}y${B}z", "x1ytwoz"),
        ("${A:-9}", "1"),
        ("${NONE:-9}", "9"),
        ("${NONE:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-9}", "9"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$A", "$A"),
        ("cost: 5$", "cost: 5$"),
        ("${NESTED}", "${A}"),
        ("${NONE:-redis://h:6379/0}", "redis://h:6379/0"),
        ("${file:-9}", "9"),  # a variable of that name
    ],
)
def test_expand(text: str, expanded: str) -> None:
    environ = {"A": "1", "B": "two", "EMPTY": "", "NESTED": "${A}"}
    assert expand(text, environ, HERE) == expanded


def test_expand_names_the_variable_that_is_missing() -> None:
    with pytest.raises(KeyError) as caught:
        expand("redis://${HOST}", {}, HERE)
    assert caught.value.args == ("HOST",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("${A", "never closed"),
        ("${}", "no reference"),
        ("${1}", "no reference"),
        ("${A-9}", "no reference"),
        ("${A:-${B}}", "the default cannot hold another"),
        ("${file:a:-${B}}", "the default cannot hold another"),
        ("${file:${A}}", "the path cannot hold another"),
        ("${file:}", "no reference"),
        ("${FILE:x}", "no reference"),
    ],
)
def test_expand_refuses_malformed_references(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        expand(text, {"A": "1"}, HERE)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:pw@h:6379/0", "redis://:***@h:6379/0"),
        ("postgresql://u:p%40w@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p@w@h/db", "postgresql://u:***@h/db"),
        ("redis://u:p/w@h", "redis://u:***@h"),
        ("postgresql://u:p#w@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p?w@h/db?x=1", "postgresql://u:***@h/db?x=1"),
        ("postgresql://h/db?user=u&password=pw", "postgresql://h/db?user=u&password=***"),
        ("sqlite:////home/a@b/queued.db", "sqlite:////home/a@b/queued.db"),
        (
            "redis+sentinel://u:p,@a,b:1/s?sentinel_password=p&prefix=x",
            "redis+sentinel://u:***@a,b:1/s?sentinel_password=***&prefix=x",
        ),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("sqlite:///queued.db", "sqlite:////srv/app/queued.db"),
        ("sqlite:////var/q.db", "sqlite:////var/q.db"),
        ("sqlite:///data/q.db?timeout=3", "sqlite:////srv/app/data/q.db?timeout=3"),
        ("sqlite+aiosqlite:///q.db", "sqlite:////srv/app/q.db"),
        ("sqlite://", "sqlite://"),
        ("postgres://u@h/db", "postgresql://u@h/db"),
        ("postgresql+asyncpg://h/db", "postgresql://h/db"),
        ("Redis://h/0", "redis://h/0"),
        (" redis://h/0\n", "redis://h/0"),
    ],
)
def test_normalise(url: str, normal: str) -> None:
    assert normalise(url, HERE) == normal


@pytest.mark.parametrize("url", ["", "cache.local:6379", "hunter2", "://x", "a b://x"])
def test_normalise_refuses_what_is_no_url_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="expected a URL") as caught:
        normalise(url, HERE)
    assert not url or url not in str(caught.value)


def test_normalise_knows_the_slashes_of_sqlite() -> None:
    with pytest.raises(ConfigError, match=r"sqlite:///queued\.db for a relative path"):
        normalise("sqlite://queued.db", HERE)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"QUEUE_CONNECTION": "redis://h/1"}, "redis://h/1"),
        ({"QUEUE_CONNECTION": "sqlite:///q.db"}, "sqlite:////srv/app/q.db"),
        ({"QUEUE_CONNECTION": "redis"}, "redis://localhost:6379/0"),
        ({"QUEUE_CONNECTION": "Redis", "REDIS_HOST": "r", "REDIS_DB": "2"}, "redis://r:6379/2"),
        (
            {"QUEUE_CONNECTION": "redis", "REDIS_PASSWORD": "p@s/", "REDIS_PORT": "7000"},
            "redis://:p%40s%2F@localhost:7000/0",
        ),
        (
            {"QUEUE_CONNECTION": "redis", "REDIS_USERNAME": "u", "REDIS_HOST": "::1"},
            "redis://u:@[::1]:6379/0",
        ),
        ({"QUEUE_CONNECTION": "redis", "REDIS_URL": "rediss://x/3"}, "rediss://x/3"),
        (
            {"QUEUE_CONNECTION": "database", "DATABASE_URL": "sqlite+aiosqlite:///a.db"},
            "sqlite:////srv/app/a.db",
        ),
        (
            {"QUEUE_CONNECTION": "database", "DATABASE_URL": "postgresql+asyncpg://h/db"},
            "postgresql://h/db",
        ),
    ],
)
def test_connection_from_the_environment(environ: dict[str, str], url: str) -> None:
    found = connection_from(environ, HERE)
    assert found is not None
    assert found[0] == url
    assert "QUEUE_CONNECTION" in found[1]


@pytest.mark.parametrize(
    "environ",
    [{}, {"QUEUE_CONNECTION": ""}, {"DATABASE_URL": "postgresql://h/db", "REDIS_HOST": "h"}],
)
def test_other_variables_alone_mean_nothing(environ: dict[str, str]) -> None:
    assert connection_from(environ, HERE) is None


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"QUEUE_CONNECTION": "hunter2"}, "QUEUE_CONNECTION: expected a URL"),
        ({"QUEUE_CONNECTION": "database"}, "DATABASE_URL, which says where, is not set"),
        ({"QUEUE_CONNECTION": "database", "DATABASE_URL": "hunter2"}, "DATABASE_URL: expected"),
        ({"QUEUE_CONNECTION": "redis", "REDIS_PORT": "x"}, "REDIS_PORT: expected a number"),
        ({"QUEUE_CONNECTION": "redis", "REDIS_PORT": "70000"}, "REDIS_PORT: expected a number"),
        ({"QUEUE_CONNECTION": "redis", "REDIS_DB": "-1"}, "REDIS_DB: expected a number"),
        ({"QUEUE_CONNECTION": "redis", "REDIS_HOST": "redis://h"}, "REDIS_HOST: expected"),
    ],
)
def test_a_wrong_environment(environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        connection_from(environ, HERE)
    assert "hunter2" not in str(caught.value)


def test_a_producer_asks_the_environment_first(tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text("connection: redis://file/0")
    url, source = find_connection({"QUEUE_CONNECTION": "redis://env/0"}, tmp_path)
    assert (url, source) == ("redis://env/0", "QUEUE_CONNECTION")


def test_a_producer_finds_queue_yaml_where_it_works(tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text("connection: ${Q:-sqlite:///q.db}\nqueues: [nonsense]")
    assert find_connection({}, tmp_path)[0] == f"sqlite:///{tmp_path}/q.db"
    assert find_connection({"Q": "redis://h/0"}, tmp_path)[0] == "redis://h/0"


def test_a_producer_follows_queued_config(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "other.yaml").write_text("queues: {default: {}}")
    url, source = find_connection({"QUEUED_CONFIG": str(folder / "other.yaml")}, tmp_path)
    assert url == f"sqlite:///{folder}/queued.db"
    assert "other.yaml" in source


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("connection: 5", "expected a URL in quotes"),
        ("connection: hunter2", "connection: expected a URL"),
        ("connection: ${NONE}", "the environment variable NONE is not set"),
        ("connection: ${", "never closed"),
        ("a: b: c", "queued check -c"),
        ("\x00", "queued check -c"),
    ],
)
def test_a_producer_says_what_is_wrong_with_the_file(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "queue.yaml").write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        find_connection({}, tmp_path)
    assert "queue.yaml" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_producer_without_any_configuration_is_told_the_three_ways(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_connection({}, tmp_path)
    for way in ("queue.connect", "QUEUE_CONNECTION", "QUEUED_CONFIG"):
        assert way in str(caught.value)


def test_a_producer_reads_the_same_secret_as_the_daemon(tmp_path: Path) -> None:
    """Kubernetes links a file into a folder that changes: relative paths start at the link."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "queue.yaml").write_text("connection: sqlite:///${file:name}.db")
    (tmp_path / "queue.yaml").symlink_to("..data/queue.yaml")
    (tmp_path / "name").write_text("jobs\n")
    assert find_connection({}, tmp_path)[0] == f"sqlite:///{tmp_path}/jobs.db"


def test_a_missing_file_named_by_the_environment_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        find_connection({"QUEUED_CONFIG": "gone.yaml"}, tmp_path)


def test_the_leaf_is_light() -> None:
    program = "import sys, queued.environment; print('yaml' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert answer.stdout.strip() == b"False"
