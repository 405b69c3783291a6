"""queue.yaml as it goes wrong: each problem is one line with its place, and all come at once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queued.config.document import MOST_NODES
from queued.config.load import load
from queued.errors import ConfigError


def problems(path: Path, text: str | bytes, **environ: str) -> list[str]:
    """Load a file that must be refused; return its lines without the folder."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    lines = [line.removeprefix(f"{path.parent}/") for line in caught.value.problems]
    assert all("\n" not in line and "Traceback" not in line for line in lines)
    return lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.yaml"


def test_all_problems_come_at_once_in_the_order_of_the_file(path: Path) -> None:
    lines = problems(
        path,
        """
connection: oracle://h/x
imports: [app/jobs.py]
http: {listen: "0.0.0.0:9470"}
log: {level: warn}
shutdown-grace: 5s
defaults: {timeout: soon}
queues:
  emails: {proceses: 2}
  low: {sleep: -1, sleep: 3}
  bad name: {}
  high: {processes: ${NONE}}
""".replace("${NONE}", '"${NONE}"'),
    )
    places = [line.split(": ")[0:2] for line in lines]
    assert places == [
        ["queue.yaml:2", "connection"],
        ["queue.yaml:3", "imports[0]"],
        ["queue.yaml:4", "http.listen"],
        ["queue.yaml:5", "log.level"],
        ["queue.yaml:6", "shutdown-grace"],
        ["queue.yaml:7", "defaults.timeout"],
        ["queue.yaml:9", "queues.emails.proceses"],
        ["queue.yaml:10", "queues.low.sleep"],
        ["queue.yaml:11", "queues.'bad name'"],
        ["queue.yaml:12", "queues.high.processes"],
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # unknown keys
        ("queues: {a: {proceses: 1}}", 'queues.a.proceses: unknown key; did you mean "processes"?'),
        ("queues: {a: {max-tries: 1}}", 'unknown key; did you mean "max_tries"?'),
        ("queues: {a: {workers: 1}}", 'unknown key; did you mean "processes"?'),
        ("queues: {a: {xyzzy: 1}}", "unknown key; expected processes, concurrency, sleep"),
        ("queues: {a: {shutdown_grace: 1}}", '"shutdown_grace" belongs to the top level'),
        ("processes: 1\nqueues: {a: }", '"processes" belongs to defaults or a queue'),
        ("import: [a]\nqueues: {a: }", 'import: unknown key; did you mean "imports"?'),
        ("on: 1\nqueues: {a: }", "queue.yaml:1: on: unknown key; expected connection, imports"),
        ("http: {port: 1}\nqueues: {a: }", "http.port: unknown key; expected listen or token"),
        ("queues: {a: {backoff: {base: 1, factr: 1}}}", "backoff.factr: unknown key; did you mean"),
        # schedules
        ("queues: {a: }\nschedule: {s: {job: x}}", "schedule.s: cron or every is missing"),
        ("queues: {a: }\nschedule: {s: {every: 5}}", "schedule.s: job is missing"),
        ("queues: {a: }\nschedule: {s: {job: x, every: 1.5}}", "expected whole seconds, at least"),
        ("queues: {a: }\nschedule: {s: {job: x, cron: 0 3}}", "s.cron: expected five fields"),
        ("queues: {a: }\nschedule: {s: {job: x y, every: 5}}", "the name of a job such as"),
        ("queues: {a: }\nschedule: {s: 5}", "expected a mapping, got 5; write {cron:"),
        ("queues: {a: }\nschedule: {s s: {job: x, every: 5}}", "no name for a schedule: letters"),
        ("queues: {a: }\nschedule: {s: {job: x, every: 5, arg: }}", 'did you mean "args"?'),
        ("queues: {a: }\nschedules: {}", 'schedules: unknown key; did you mean "schedule"?'),
        (
            "queues: {a: }\nschedule: {s: {job: x, every: 5, cron: '1 * * * *'}}",
            "cron and every are two answers",
        ),
        (
            "queues: {a: }\nschedule: {s: {job: x, cron: '1 * * * *', timezone: Paris}}",
            "s.timezone: expected a time zone such as Europe/Paris or UTC, got 'Paris'",
        ),
        (
            "queues: {a: }\nschedule: {s: {job: x, cron: '1 * * * *', timezone: Europe/Pariss}}",
            "got 'Europe/Pariss'; did you mean \"Europe/Paris\"?",
        ),
        (
            "queues: {a: }\nschedule: {s: {job: x, cron: '61 * * * *'}}",
            "its minute is wrong in '61 * * * *' (expected 0 to 59)",
        ),
        # types
        ("queues: {a: {processes: many}}", "expected a whole number, got 'many'"),
        ("queues: {a: {processes: 1.5}}", "expected a whole number, got 1.5"),
        ("queues: {a: {processes: true}}", "expected a whole number, got true"),
        ("queues: {a: {processes: '2'}}", "got '2'; leave out the quotes"),
        ("queues: {a: {processes: }}", "expected a whole number, got nothing"),
        ("queues: {a: {processes: {min: 1}}}", "queues.a.processes: max is missing"),
        ("queues: {a: {processes: {min: 3, max: 2}}}", "a.processes: max is below min: 2 < 3"),
        ("queues: {a: {processes: {max: many}}}", "processes.max: expected a whole number, got"),
        ("queues: {a: {processes: {max: 0}}}", "processes.max: must be at least 1, got 0"),
        ("queues: {a: {processes: {max: 2, cool: 1}}}", "processes.cool: unknown key; did you"),
        ("queues: {a: {processes: [1, 2]}}", "queues.a.processes: expected a whole number, got a"),
        ("queues: {a: {processes: 0x10}}", "got '0x10'; write it in plain decimal digits"),
        ("queues: {a: {processes: 010}}", "got '010'; write it in plain decimal digits"),
        ("queues: {a: {processes: 1_000}}", "got '1_000'; write it in plain decimal digits"),
        ("queues: {a: {processes: " + "9" * 5000 + "}}", "expected a whole number, got '999"),
        ("queues: {a: {sleep: 1:30}}", "got '1:30'; write 1m30s or 1h30m"),
        ("queues: {a: {sleep: [1]}}", "expected a duration"),
        ("queues: {a: {sleep: .nan}}", "expected a duration"),
        ("queues: {a: {timeout: true}}", "expected a duration"),
        ("queues: {a: {max_memory: 512M}}", "write 512MiB or 512MB"),
        ("queues: {a: {polling: yes}}", "expected true or false, got 'yes'; write true"),
        ("queues: {a: {polling: 1}}", "expected true or false, got 1"),
        ("queues: {a: {env: [A]}}", "expected a mapping, got a list"),
        ("queues: {a: {env: {A: true}}}", "a.env.A: expected text, got true; put it in quotes"),
        ("queues: {a: {env: {A: 1.10}}}", "expected text, got a number; put it in quotes"),
        ("queues: {a: {env: {'A=B': x}}}", "expected the name of an environment variable"),
        ("queues: {a: {backoff: soon}}", "queues.a.backoff: expected a duration"),
        ("queues: {a: {backoff: [1, x]}}", "queues.a.backoff[1]: expected a duration"),
        ("queues: {a: {backoff: []}}", "queues.a.backoff: must not be empty"),
        ("queues: {a: {backoff: {factor: 2}}}", "queues.a.backoff: base is missing"),
        ("queues: {a: {backoff: {base: 5, cap: 2}}}", "queues.a.backoff: cap is below base"),
        ("queues: {a: {backoff: {base: 1, jitter: x}}}", "backoff.jitter: expected a number"),
        ("queues: {a: 5}", "queues.a: expected a mapping, got 5; write {processes: 1}"),
        ("queues: [a, b]", "queues: expected a mapping, got a list; write queues: {default: {}}"),
        ("queues: emails", "queues: expected a mapping, got 'emails'"),
        ("imports: app.jobs\nqueues: {a: }", "got 'app.jobs'; write imports: [app.jobs]"),
        ("imports: [app/jobs.py]\nqueues: {a: }", 'did you mean "app.jobs"?'),
        ("tracing: setup\nqueues: {a: }", "tracing: expected a function such as app.t"),
        ("tracing: 'app:setup'\nqueues: {a: }", "got 'app:setup'"),
        ("tracing: true\nqueues: {a: }", "queue.yaml:1: tracing: expected text, got true"),
        ("imports: [3]\nqueues: {a: }", "imports[0]: expected text, got 3"),
        ("log: info\nqueues: {a: }", "log: expected a mapping, got 'info'; write {level: info}"),
        ("log: {level: warn}\nqueues: {a: }", "warning or error, got 'warn'; did you mean"),
        ("log: {jobs: none}\nqueues: {a: }", "log.jobs: expected failures or all, got 'none'"),
        ("http: true\nqueues: {a: }", "http: expected a mapping, got true; write {listen:"),
        ("http: {listen: 9470}\nqueues: {a: }", "http.listen: expected text, got 9470"),
        ('http: {listen: "a b:1"}\nqueues: {a: }', "expected host:port such as 127.0.0.1:9470"),
        ('http: {listen: "h:70000"}\nqueues: {a: }', "expected a port up to 65535"),
        ('http: {token: ""}\nqueues: {a: }', "http.token: must not be empty"),
        ("user: 5\nqueues: {a: }", "user: expected text, got 5; put it in quotes"),
        ("user: a b\nqueues: {a: }", "user: expected the name of a user, or user:group, got 'a b'"),
        ("usr: x\nqueues: {a: }", 'usr: unknown key; did you mean "user"?'),
        # ranges and contradictions
        ("queues: {a: {processes: -1}}", "must be at least 0, got -1"),
        ("queues: {a: {concurrency: 0}}", "must be at least 1, got 0"),
        ("queues: {a: {concurrency: 9999}}", "must be at most 1000, got 9999"),
        ("queues: {a: {max_tries: 0}}", "queues.a.max_tries: must be at least 1, got 0"),
        ("queues: {a: {max_jobs: -3}}", "must be at least 1, got -3"),
        ("queues: {a: {timeout: -3}}", "a duration cannot be negative, got -3"),
        ("queues: {a: {nice: 20}}", "must be at most 19, got 20"),
        ("queues: {a: {polling: true, sleep: 0}}", "polling with sleep 0 would never rest"),
        ('http: {listen: "0.0.0.0:1"}\nqueues: {a: }', "add http.token, or listen on 127.0.0.1"),
        # queues
        ("queues: {}", "queues: needs at least one queue: queues: {default: {}}"),
        ("queues:", "queues: expected a mapping, got nothing"),
        ("log: {}", "queues is missing; the least that works is: queues: {default: {}}"),
        ("queues: {'a b': {}}", "queues.'a b': no name for a queue"),
        ("queues: {-a: {}}", "queues.-a: no name for a queue"),
        ("queues: {" + "a" * 65 + ": {}}", "no name for a queue"),
        ("queues: {'a\\nb': {}}", "no name for a queue"),
        ("queues:\n  a: {}\n  b: {}\n  a: {}", ":4: queues.a: given twice, first in line 2"),
        # back-ends
        ("connection: oracle://x\nqueues: {a: }", "connection: no driver for oracle://; known are"),
        ("connection: rediss+x://x\nqueues: {a: }", 'did you mean "rediss://"?'),
        ("connection: redis+sentinel://x\nqueues: {a: }", "the service that the sentinels watch"),
        ("connection: redis+sentinel://h:x/s\nqueues: {a: }", "the host or port is wrong"),
        ("connection: redis+sentinel://h,,i/s\nqueues: {a: }", "the host or port is wrong"),
        ("connection: redis+sentinel://h/s/zero\nqueues: {a: }", "a database of Redis is a number"),
        ("connection: redis+cluster://x/1\nqueues: {a: }", "a cluster has one database, 0"),
        ("connection: redis+cluster://a:1,b:x\nqueues: {a: }", "the host or port is wrong"),
        ("connection: postgres://x:y/z\nqueues: {a: }", "the host or port is wrong"),
        ("connection: memory://\nqueues: {a: }", "connection: is private to one process"),
        ("connection: 'sqlite://'\nqueues: {a: }", "connection: is private to one process"),
        ("connection: redis://h:x/0\nqueues: {a: }", "the host or port is wrong"),
        ("connection: redis://h/zero\nqueues: {a: }", "a database of Redis is a number"),
        ("connection: localhost\nqueues: {a: }", "connection: expected a URL such as redis://"),
        ("connection: 5\nqueues: {a: }", "connection: expected text, got a number"),
        ("connection: [redis]\nqueues: {a: }", "connection: expected text, got a list"),
        # the environment
        ("queues:\n  a:\n    sleep: ${NONE}", ":3: queues.a.sleep: the environment variable"),
        ("queues: {a: {sleep: '${'}}", "${ is never closed"),
        ("queues: ${NONE}", "queue.yaml:1: queues: the environment variable NONE is not set"),
        # YAML
        ("", "queue.yaml: is empty; the least that works is: queues: {default: {}}"),
        ("# nothing\n", "queue.yaml: is empty"),
        ("---\n", "queue.yaml:1: expected a mapping such as 'queues: {default: {}}', got nothing"),
        ("- a\n- b", ":1: expected a mapping such as 'queues: {default: {}}', got a list"),
        ("queues", "expected a mapping such as 'queues: {default: {}}', got 'queues'"),
        ("queues: [", "queue.yaml:1: not valid YAML: a bracket is opened and never closed"),
        ("queues:\n  a: {sleep: 1\n\n", "queue.yaml:2: not valid YAML: a bracket is opened and"),
        ("queues:\n\ta: 1", ":2: not valid YAML: a tab cannot indent in YAML; use spaces"),
        ("a: b: c", "queue.yaml:1: not valid YAML: unexpected ':'"),
        ("a:\n  b: 1\n c: 2", "queue.yaml:3: not valid YAML: the indentation fits no line above"),
        ("a: 'x", "a quote is opened here and never closed"),
        ("a: @x", "text that starts with @ needs quotes"),
        ("a: *x", "the alias *'x' is not defined above"),
        ("a: 1\n---\nb: 2", "queue.yaml:2: not valid YAML: one document is expected"),
        ('a: "\\q"', "is no escape in double quotes"),
        ("a: {b: ${X}}", 'queue.yaml:1: inside {...} or [...] a ${VAR} needs quotes: "${VAR}"'),
        ("a: \x07", "queue.yaml:1: the character U+0007 is not allowed"),
        ("a: {b: 1}}", "queue.yaml:1: not valid YAML"),
        ("queues: !!python/object/apply:os.system [x]", "tags are not supported"),
        ("queues: !x {}", "queue.yaml:1: queues: tags are not supported: leave out '!x'"),
        ("queues:\n  {{ name }}: 1", "queue.yaml:2: queues: expected a key, got a mapping"),
        ("queues: {? : 1}", "queues: expected a key, got nothing"),
        ("queues: &a {a: *a}", "an alias refers to what it is part of"),
        ("queues: {a: {<<: 5}}", "queues.a: << merges a mapping"),
        ("queues: {a: &a {<<: *a}}", "queues.a: << merges a mapping"),
        ("[" * 3000, "queue.yaml: nested too deeply"),
        ("a: " + "x" * (1 << 18), "queue.yaml: is over 256 KiB"),
        (b"queues: {}\na: \xff", "queue.yaml:2: is not UTF-8"),
        ("queues: {a: }".encode("utf-16"), "queue.yaml:1: is not UTF-8"),
    ],
)  # fmt: skip
def test_a_problem_is_one_clear_line(path: Path, text: str | bytes, line: str) -> None:
    lines = problems(path, text)
    assert any(line in one for one in lines), lines
    assert all(one.startswith("queue.yaml:") for one in lines)
    assert all(len(one) < 300 for one in lines)


def test_a_problem_is_not_followed_by_its_echoes(path: Path) -> None:
    assert len(problems(path, "queues: ${NONE}")) == 1
    assert len(problems(path, 'http: {listen: "0.0.0.0:1", token: "${NONE}"}\nqueues: {a: }')) == 1
    assert len(problems(path, "queues: {a: {backoff: ['${NONE}']}}")) == 1


def test_aliases_cannot_blow_a_file_up(path: Path) -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9))
    assert f"more than {MOST_NODES}" in problems(path, f"l0: &l0 [x]\n{levels}")[0]
    parts = "\n".join(f"d{n}: &d{n} {'[' * 40}*d{n - 1}{']' * 40}" for n in range(1, 40))
    assert any("nested too deeply" in line for line in problems(path, f"d0: &d0 x\n{parts}"))
    merges = "\n".join(
        f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 9)
    )
    assert problems(path, f"l0: &l0 {{a: 1}}\n{merges}")


SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "connection: oracle://u:hunter2@h\nqueues: {a: }",
        "connection: hunter2\nqueues: {a: }",
        "connection: redis://:hun@h:hunter2/0\nqueues: {a: }",
        "connection: redis://:hunter2@h:x/0\nqueues: {a: }",
        "connection: {url: hunter2}\nqueues: {a: }",
        "http: {token: [hunter2]}\nqueues: {a: }",
        "queues: {a: {env: [hunter2]}}",
        "queues: {a: {sleep: '${SECRET}'}}",
        "queues: {a: {processes: '${SECRET}', polling: '${SECRET}', max_memory: '${SECRET}'}}",
        "queues: {a: {backoff: '${SECRET}', max_jobs: '${SECRET}'}}",
        "log: {level: '${SECRET}'}\nqueues: {a: }",
        "log: '${SECRET}'\nqueues: '${SECRET}'",
        "imports: ['-${SECRET}']\nhttp: {listen: '-${SECRET}-'}\nqueues: {a: }",
        "connection: '${SECRET}'\nqueues: {a: }",
    ],
)
def test_no_message_holds_a_secret(path: Path, text: str) -> None:
    lines = problems(path, text, SECRET=SECRET)
    assert SECRET not in "\n".join(lines)


def test_a_wrong_environment_is_no_problem_of_the_file(path: Path) -> None:
    (line,) = problems(path, "queues: {a: }", QUEUE_CONNECTION="hunter2")
    assert line.startswith("QUEUE_CONNECTION: expected a URL")
    path.write_text("queues: {a: }")
    with pytest.raises(ConfigError, match=r"^--connection: no driver for oracle://"):
        load(path, {}, connection="oracle://x")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; create one .* or name another with -c"):
        load(tmp_path / "gone.yaml", {})


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; name the file with -c"):
        load(tmp_path, {})
    with pytest.raises(ConfigError, match="is no regular file"):
        load(Path("/dev/null"), {})
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match=r"loop\.yaml: cannot be read"):
        load(loop, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(Path("a\0b"), {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(Path("/proc/self/mem"), {})


def test_a_file_below_the_working_directory_is_named_shortly(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    path.write_text("queues: {}")
    with pytest.raises(ConfigError, match=r"^queue\.yaml:1: queues: needs"):
        load(path, {})


yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["connection", "imports", "http", "log", "defaults", "queues", "shutdown_grace", "x-a", "a"]
)


@settings(max_examples=200)
@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_are_a_config_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(raw)
    with contextlib.suppress(ConfigError):
        load(path, {})


@settings(max_examples=200)
@given(st.dictionaries(keys, yaml_values, max_size=4), yaml_values)
def test_any_tree_is_a_config_or_clear_lines(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object], queue: object
) -> None:
    import yaml

    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    path.write_text(yaml.safe_dump({"queues": {"a": queue}, **tree}), encoding="utf-8")
    with contextlib.suppress(ConfigError):
        load(path, {})
        return
    assert problems(path, path.read_bytes())
