"""queue.yaml as it is meant: values, defaults, the environment, the order of back-ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from queued.config.json_schema import json_schema, json_schema_text
from queued.config.load import LoadedConfig, load
from queued.jobs.backoff import Backoff

ROOT = Path(__file__).resolve().parents[2]


class File:
    """A queue.yaml that a test writes and loads."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "queue.yaml"

    def load(self, text: str, *, connection: str | None = None, **environ: str) -> LoadedConfig:
        self.path.write_text(text)
        return load(self.path, environ, connection=connection)

    def queue(self, settings: str, **environ: str) -> Any:
        return self.load(f"queues:\n  q:\n    {settings}", **environ).config.queues["q"]


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


def test_the_least_file(file: File, tmp_path: Path) -> None:
    loaded = file.load("queues: {default: {}}")
    queue = loaded.config.queues["default"]
    assert (queue.processes, queue.concurrency, queue.sleep) == (1, 10, 3.0)
    assert (queue.timeout, queue.max_tries, queue.retry_after) == (60.0, 3, 0.0)
    assert (queue.max_jobs, queue.max_time, queue.max_memory, queue.max_wait) == (None,) * 4
    assert loaded.config.connection == f"sqlite:///{tmp_path}/queued.db"
    assert loaded.config.http
    assert (loaded.config.http.host, loaded.config.http.port) == ("127.0.0.1", 9470)
    assert loaded.config.shutdown_grace == 30.0
    assert (loaded.path, loaded.folder) == (tmp_path / "queue.yaml", tmp_path)


@pytest.mark.parametrize("empty", ["default:", "default: ", "default: {}", "default: null"])
def test_a_queue_needs_no_settings(file: File, empty: str) -> None:
    assert list(file.load(f"queues:\n  {empty}\n").config.queues) == ["default"]


def test_sections_may_have_their_bodies_commented_out(file: File) -> None:
    loaded = file.load("imports:\nlog:\ndefaults:\nqueues:\n  a:\n    env:\n")
    assert loaded.config.imports == []
    assert loaded.config.log.level == "info"
    assert loaded.config.queues["a"].env == {}


def test_a_queue_wins_over_defaults_and_they_over_what_is_built_in(file: File) -> None:
    loaded = file.load("""
defaults: {processes: 4, sleep: 5, max_jobs: 100, env: {A: a, B: b}}
queues:
  one: {sleep: 1, env: {B: c}}
  two: {max_jobs: none}
""")
    one, two = loaded.config.queues["one"], loaded.config.queues["two"]
    assert (one.processes, one.sleep, one.concurrency, one.max_jobs) == (4, 1.0, 10, 100)
    assert one.env == {"A": "a", "B": "c"}
    assert (two.sleep, two.max_jobs) == (5.0, None)


def test_a_queues_retry_after_wins_over_the_backoff_of_defaults(file: File) -> None:
    loaded = file.load("defaults: {backoff: [1, 2]}\nqueues: {a: {retry_after: 9}, b: {}}")
    assert loaded.config.queues["a"].backoff is None
    assert loaded.config.queues["b"].backoff == [1.0, 2.0]


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("processes: 0", "processes", 0),
        ("sleep: 250ms", "sleep", 0.25),
        ("sleep: 0", "sleep", 0.0),
        ("timeout: 1h30m", "timeout", 5400.0),
        ("timeout: 0", "timeout", 0.0),
        ("timeout: none", "timeout", 0.0),
        ("timeout: null", "timeout", 0.0),
        ("max_memory: 512MiB", "max_memory", 536_870_912),
        ("max_memory: 0", "max_memory", None),
        ("max_time: 12h", "max_time", 43_200.0),
        ("max_time: '0'", "max_time", None),
        ("max_jobs: 0", "max_jobs", None),
        ("max_jobs: 7", "max_jobs", 7),
        ("max_wait: 5s", "max_wait", 5.0),
        ("polling: true", "polling", True),
        ("nice: -5", "nice", -5),
        ("backoff: 5m", "backoff", 300.0),
        ("backoff: [1, 5s, 1m]", "backoff", [1.0, 5.0, 60.0]),
        ("backoff: {base: 1s, cap: 1m}", "backoff", {"base": 1.0, "cap": 60.0}),
        ("env: {PORT: 8080, NAME: x}", "env", {"PORT": "8080", "NAME": "x"}),
        ("env: {CODE: 007, ANSWER: yes}", "env", {"CODE": "007", "ANSWER": "yes"}),
    ],
)
def test_settings(file: File, setting: str, key: str, value: object) -> None:
    assert getattr(file.queue(setting), key) == value


@pytest.mark.parametrize(
    "setting", ["3", "[1, 5s]", "{base: 2s}", "{base: 1, factor: 3, cap: 5m, jitter: 0.5}"]
)
def test_a_backoff_means_to_the_jobs_what_it_says_here(file: File, setting: str) -> None:
    backoff = file.queue(f"backoff: {setting}").backoff
    assert json.loads(json.dumps(backoff)) == backoff
    assert Backoff.parse(backoff) == Backoff.parse(yaml.safe_load(setting))


@pytest.mark.parametrize(
    ("setting", "environ", "key", "value"),
    [
        ("processes: ${N:-2}", {}, "processes", 2),
        ("processes: ${N:-2}", {"N": "5"}, "processes", 5),
        ('processes: "${N}"', {"N": "5"}, "processes", 5),
        ("{processes: '${N}'}", {"N": "5"}, "processes", 5),
        ("polling: ${P}", {"P": "true"}, "polling", True),
        ("sleep: ${S}s", {"S": "7"}, "sleep", 7.0),
        ("sleep: ${S}", {"S": "7"}, "sleep", 7.0),
        ("max_jobs: ${J:-none}", {}, "max_jobs", None),
        ("max_jobs: ${J}", {"J": "0"}, "max_jobs", None),
        ("max_time: ${J}", {"J": ""}, "max_time", None),
        ("timeout: ${T}", {"T": "none"}, "timeout", 0.0),
        ("backoff: {base: '${B}', factor: '${F}'}", {"B": "1s", "F": "3"}, "backoff",
         {"base": 1.0, "factor": 3.0}),
        ("env: {T: '${T}'}", {"T": "1.10"}, "env", {"T": "1.10"}),
        ("env: {T: '${T}'}", {"T": "true"}, "env", {"T": "true"}),
        ("env: {T: $$x}", {}, "env", {"T": "$x"}),
    ],
)  # fmt: skip
def test_the_environment(
    file: File, setting: str, environ: dict[str, str], key: str, value: object
) -> None:
    assert getattr(file.queue(setting, **environ), key) == value


def test_a_variable_cannot_become_yaml(file: File) -> None:
    evil = "x}, evil: {processes: 9}\nqueues: {y: {}}"
    loaded = file.load("queues:\n  q:\n    env:\n      A: ${EVIL}", EVIL=evil)
    assert list(loaded.config.queues) == ["q"]
    assert loaded.config.queues["q"].env == {"A": evil}


def test_anchors_and_merges(file: File) -> None:
    loaded = file.load("""
x-small: &small {processes: 1, sleep: 9}
x-more: &more {sleep: 8, nice: 3}
queues:
  a: {<<: *small, sleep: 2}
  b: *small
  c: {<<: [*small, *more]}
""")
    queues = loaded.config.queues
    assert [queues[name].sleep for name in "abc"] == [2.0, 9.0, 9.0]
    assert queues["c"].nice == 3


@pytest.mark.parametrize(
    ("listen", "host", "port", "is_loopback"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0, True),
        (":9470", "127.0.0.1", 9470, True),
        ("9470", "127.0.0.1", 9470, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:9470", "::1", 9470, True),
        ("127.8.9.1:1", "127.8.9.1", 1, True),
        ("0.0.0.0:9470", "0.0.0.0", 9470, False),
        ("[::]:9470", "::", 9470, False),
        ("10.0.0.1:9470", "10.0.0.1", 9470, False),
    ],
)
def test_listen(file: File, listen: str, host: str, port: int, is_loopback: bool) -> None:
    text = f'http: {{listen: "{listen}", token: aaaaaaaaaaaaaaaaaaaa}}\nqueues: {{a: }}'
    http = file.load(text).config.http
    assert http
    assert (http.host, http.port, http.is_loopback) == (host, port, is_loopback)


@pytest.mark.parametrize("off", ["false", "null", "", "none", "${NO:-false}"])
def test_http_can_be_left_out(file: File, off: str) -> None:
    assert file.load(f"http: {off}\nqueues: {{a: }}").config.http is None


def test_the_order_of_back_ends(file: File, tmp_path: Path) -> None:
    text = "connection: redis://file/0\nqueues: {a: }"
    environ = {"QUEUE_CONNECTION": "redis://env/0"}
    flag = file.load(text, connection="redis://flag/0", **environ)
    assert (flag.config.connection, flag.connection_source) == ("redis://flag/0", "--connection")
    env = file.load(text, **environ)
    assert (env.config.connection, env.connection_source) == ("redis://env/0", "QUEUE_CONNECTION")
    own = file.load(text)
    assert own.config.connection == "redis://file/0"
    assert own.connection_source == f"connection of {tmp_path}/queue.yaml"
    default = file.load("queues: {a: }")
    assert default.config.connection == f"sqlite:///{tmp_path}/queued.db"
    assert default.connection_source == "the default"


def test_a_path_of_sqlite_starts_at_its_file(file: File, tmp_path: Path) -> None:
    loaded = file.load("connection: sqlite:///data/q.db\nqueues: {a: }")
    assert loaded.config.connection == f"sqlite:///{tmp_path}/data/q.db"
    flag = file.load("queues: {a: }", connection="sqlite:///here.db")
    assert flag.config.connection == f"sqlite:///{Path.cwd()}/here.db"


def test_equal_files_are_equal_and_one_change_is_one_queue(file: File) -> None:
    text = "queues: {a: {sleep: 1}, b: {sleep: 1}}"
    before, same = file.load(text).config, file.load(text.replace("1", "1s")).config
    assert before == same
    after = file.load(text.replace("b: {sleep: 1}", "b: {sleep: 2}")).config
    assert [name for name in "ab" if before.queues[name] != after.queues[name]] == ["b"]


def test_secrets_are_not_in_the_repr(file: File) -> None:
    loaded = file.load(
        "connection: redis://:hunter2@h/0\nhttp: {token: hunter2}\nqueues: {a: {env: {P: hunter2}}}"
    )
    assert "hunter2" not in repr(loaded)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("queues: {a: {timeout: 11m}}", "queue.yaml:1: queues.a.timeout: 11m is over 10m"),
        ("queues: {a: {timeout: 0}}", "queues.a.timeout: none: a job that hangs"),
        (
            "queues:\n  a: {max_tries: 1, backoff: 3}",
            "queue.yaml:2: queues.a.backoff: has no effect",
        ),
        ("queues: {a: {backoff: 3, retry_after: 3}}", "backoff wins"),
        ("queues: {a: {timeout: 0, kill_grace: 3}}", "queues.a.kill_grace: has no effect"),
        ("queues: {a: {kill_grace: 1m}}", "queues.a.kill_grace: is over 30s"),
        ("shutdown_grace: 0\nqueues: {a: }", "queue.yaml:1: shutdown_grace: 0: whatever runs"),
        (
            "queues: {a: {processes: 0, max_wait: 5}}",
            "queues.a.max_wait: cannot be kept: processes",
        ),
        (
            "queues: {a: {polling: true, sleep: 9, max_wait: 5}}",
            "max_wait: cannot be kept: polling looks for jobs every 9s",
        ),
        (
            "queues: {a: {concurrency: 1, max_wait: 5}}",
            "max_wait: one job at a time, each up to 1m",
        ),
        ("queues: {a: {slow_after: 1m}}", "slow_after: has no effect: timeout ends a run after 1m"),
        ("queues: {a: {max_memory: 1MiB}}", "1 MiB is about what an idle worker holds"),
        ("http: {token: abc}\nqueues: {a: }", "queue.yaml:1: http.token: is shorter"),
        ("defaults: {timeout: 1h}\nqueues: {a: }", "queue.yaml:1: defaults.timeout: 1h is over"),
        ("queues: {a: }", "imports: no modules"),
    ],
)
def test_warnings(file: File, text: str, warning: str) -> None:
    warnings = file.load(text).warnings
    assert any(warning in one for one in warnings), warnings


def test_the_lease_that_a_warning_is_about() -> None:
    from queued.config.checks import LEASE
    from queued.daemon.worker import worker

    assert LEASE == worker.LEASE


def test_the_shipped_file_loads_without_a_warning() -> None:
    loaded = load(ROOT / "queue.yaml", {})
    assert not loaded.warnings
    assert set(loaded.config.queues) == {"critical", "default", "emails", "reports", "low-priority"}
    assert loaded.config.connection == f"sqlite:///{ROOT}/queued.db"
    assert loaded.config.http
    assert loaded.config.http.listen == "127.0.0.1:9470"


def test_the_shipped_file_names_the_shipped_schema() -> None:
    first = (ROOT / "queue.yaml").read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (ROOT / named).read_text() == json_schema_text(), "run: queued schema > " + named


VALIDATOR = jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize(
    "text",
    [
        (ROOT / "queue.yaml").read_text(),
        "queues: {a: }",
        "x-a: 1\nhttp: false\nlog:\nimports:\ndefaults:\nqueues: {a: {env: }}",
        "queues: {a: {timeout: none, max_jobs: '${N:-3}', backoff: [1, 5m], env: {A: 3}}}",
        "queues: {a: {sleep: 1h 30m, max_memory: 1.5GiB, backoff: {base: 1s}}}",
    ],
)
def test_the_schema_takes_what_the_loader_takes(file: File, text: str) -> None:
    file.load(text)
    assert not list(VALIDATOR.iter_errors(yaml.safe_load(text)))


@pytest.mark.parametrize(
    "text",
    [
        "queues: {}",
        "imports: [a]",
        "proceses: 1\nqueues: {a: }",
        "queues: {a: {sleep: 5 6}}",
        "queues: {a: {max_memory: 5M}}",
        "queues: {a: {processes: many}}",
        "queues: {a: {processes: -1}}",
        "queues: {a: {backoff: {factor: 2}}}",
        "queues: {'a b': }",
        "log: {level: loud}\nqueues: {a: }",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(file: File, text: str) -> None:
    with pytest.raises(Exception, match=r"queue\.yaml"):
        file.load(text)
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text)))
