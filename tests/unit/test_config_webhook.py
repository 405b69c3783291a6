"""webhook and max_failure_rate of queue.yaml: what is taken, and what is refused."""

from __future__ import annotations

import base64
from pathlib import Path

import jsonschema
import pytest

from queued.config.json_schema import json_schema
from queued.config.load import LoadedConfig, load
from queued.daemon.master.plan import changes, plan
from queued.daemon.spec import MonitorSpec
from queued.errors import ConfigError
from queued.units import format_share, parse_share

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
URL = "https://hooks.example.com/services/T000/hunter2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def loaded(folder: Path, webhook: str, queues: str = "{a: }", **environ: str) -> LoadedConfig:
    (folder / "queue.yaml").write_text(f"imports: [x]\nwebhook: {webhook}\nqueues: {queues}\n")
    return load(folder / "queue.yaml", environ)


def refused(folder: Path, webhook: str, queues: str = "{a: }", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, webhook, queues, **environ)
    [line] = caught.value.problems
    assert "hunter2" not in line
    return line.partition("queue.yaml:")[2]


def test_all_of_it_reaches_the_monitor(folder: Path) -> None:
    text = f'{{url: "{URL}", secret: "{SECRET}", format: slack, timeout: 3s}}'
    found = loaded(folder, text, "{a: {max_failure_rate: 5%, max_wait: 3s}, b: }")
    monitor = plan(found, "i", "b", "/run/x.episodes").monitor
    assert monitor.webhook is not None
    assert (monitor.webhook.url, monitor.webhook.secret) == (URL, SECRET)
    assert (monitor.webhook.format, monitor.webhook.timeout) == ("slack", 3.0)
    assert monitor.queues["a"].max_failure_rate == 0.05
    assert monitor.queues["b"].max_failure_rate is None
    assert monitor.episodes == "/run/x.episodes"
    assert MonitorSpec.from_json(monitor.to_json()) == monitor
    assert "hunter2" not in repr(found.config) + repr(monitor)
    assert SECRET not in repr(found.config) + repr(monitor)


def test_from_the_environment_and_from_files(folder: Path) -> None:
    (folder / "url").write_text(URL + "\n")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "key").write_text(f"{SECRET}\n\n")
    found = loaded(folder, "\n  url: ${file:url}\n  secret: ${file:secrets/key}")
    assert found.config.webhook is not None
    assert (found.config.webhook.url, found.config.webhook.secret) == (URL, SECRET)
    found = loaded(folder, '{url: "${U}", secret: "${S:-}"}', U=URL)
    assert found.config.webhook is not None
    assert found.config.webhook.url == URL


def test_an_empty_variable_turns_it_off(folder: Path) -> None:
    found = loaded(folder, '{url: "${U:-}", secret: "${S:-}"}')
    assert plan(found, "i", "b").monitor.webhook is None
    assert plan(loaded(folder, ""), "i", "b").monitor.webhook is None


@pytest.mark.parametrize(
    ("webhook", "line"),
    [
        ("{}", "2: webhook: url is missing: where are alerts to be posted?"),
        (f'{{secret: "{SECRET}"}}', "2: webhook: url is missing"),
        ('"https://h/hunter2"', '2: webhook: expected a mapping, got text; write {url: "https'),
        ('{ulr: "https://h/hunter2"}', '2: webhook.ulr: unknown key; did you mean "url"?'),
        ("{url: 7}", "2: webhook.url: expected text, got a number; put it in quotes"),
        ('{url: "ftp://h/hunter2"}', "2: webhook.url: expected a URL such as https://hooks.ex"),
        ('{url: "hunter2"}', "2: webhook.url: expected a URL such as https://"),
        ('{url: "https:///hunter2"}', "2: webhook.url: expected a URL such as https://"),
        ('{url: "https://h:0/hunter2"}', "2: webhook.url: expected a URL such as https://"),
        ('{url: "https://h:x/hunter2"}', "2: webhook.url: expected a URL such as https://"),
        ('{url: "https://h/hunter2 x"}', "2: webhook.url: expected a URL without spaces"),
        ('{url: "https://h/hunter2\\n"}', "2: webhook.url: expected a URL without spaces"),
        ('{url: "https://h/hünter2hunter2"}', "2: webhook.url: expected a URL without spaces"),
        ('{url: "https://u:hunter2@h/"}', "2: webhook.url: a user and password in the URL are"),
        (f'{{url: "{URL}", secret: hunter2}}', "2: webhook.secret: expected whsec_ and base64; "),
        (f'{{url: "{URL}", secret: whsec_hunter2!}}', "2: webhook.secret: what follows whsec_ is"),
        (f'{{url: "{URL}", secret: whsec_aaaa}}', "2: webhook.secret: expected 24 to 64 bytes in"),
        (f'{{url: "{URL}", format: slak}}', '2: webhook.format: expected json or slack, got "sl'),
        (f'{{url: "{URL}", timeout: 5m}}', "2: webhook.timeout: must be at most 60"),
        ('{url: "${file:nonsuch}"}', "2: webhook.url: ${file:nonsuch}: "),
        ('{url: "${file:wrong}"}', "2: webhook.url: expected a URL such as https://hooks.ex"),
    ],
)
def test_what_is_wrong_is_one_line_that_shows_no_secret(
    folder: Path, webhook: str, line: str
) -> None:
    (folder / "wrong").write_text("hunter2")
    assert refused(folder, webhook).startswith(line.replace('got "sl', "got 'sl"))


def test_in_clear_is_warned_of(folder: Path) -> None:
    [warning] = loaded(folder, '{url: "http://h.example/x"}').warnings
    assert "everybody on the way can read it" in warning
    assert loaded(folder, '{url: "http://127.0.0.1:8080/x"}').warnings == ()
    assert loaded(folder, f'{{url: "{URL}"}}').warnings == ()


def test_a_reload_says_that_it_changed_and_not_to_what(folder: Path) -> None:
    none = plan(loaded(folder, ""), "i", "b")
    one = plan(loaded(folder, f'{{url: "{URL}"}}', "{a: {max_failure_rate: 5%}}"), "i", "b")
    other = plan(loaded(folder, f'{{url: "{URL}x"}}', "{a: {max_wait: 5s}}"), "i", "b")
    assert changes(none, one) == ["webhook: changed", "queues.a: max_failure_rate changed"]
    assert changes(one, other) == [
        "webhook: changed",
        "queues.a: max_wait, max_failure_rate changed",
    ]
    assert changes(one, none) == ["webhook: off", "queues.a: max_failure_rate changed"]


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), ("0.05", 0.05), ("0.5 %", 0.005), ("99.9%", 0.999), ("none", None)],
)
def test_shares(folder: Path, text: str, share: float | None) -> None:
    found = loaded(folder, "", f"{{a: {{max_failure_rate: {text}}}}}")
    assert found.config.queues["a"].max_failure_rate == pytest.approx(share)
    document = {"queues": {"a": {"max_failure_rate": text if "%" in text else share}}}
    jsonschema.validate(document, json_schema())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5", "expected a share between 0% and 100%, got 5; write 5%"),
        ("0", "expected a share between 0% and 100%, got 0"),
        ("100%", "expected a share between 0% and 100%, got '100%'"),
        ("1.0", "expected a share between 0% and 100%, got 1.0; write 1.0%"),
        ("-5%", "expected a share such as 5% or 0.05, got '-5%'"),
        ("few", "expected a share such as 5% or 0.05, got 'few'"),
        ("true", "expected a share such as 5% or 0.05, got True"),
        ("[1]", "expected a share such as 5% or 0.05, got [1]"),
    ],
)
def test_what_is_no_share(folder: Path, text: str, said: str) -> None:
    line = refused(folder, "", f"{{a: {{max_failure_rate: {text}}}}}")
    assert line == f"3: queues.a.max_failure_rate: {said}"


@pytest.mark.parametrize("text", ["5%", "0.5%", "33.3%", "99%"])
def test_a_share_is_written_as_it_is_read(text: str) -> None:
    assert format_share(parse_share(text)) == text
