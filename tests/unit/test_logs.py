"""What a process writes, read back from the descriptor that it writes to."""

import asyncio
import contextvars
import datetime as dt
import json
import logging
import os
import pty
import threading
import warnings

import pytest
import structlog

from queued.daemon import logs
from queued.daemon.spec import LogSpec


class Output:
    """The reading end of what a process logs."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def text(self) -> str:
        try:
            return os.read(self.reader, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def output():
    root = logging.getLogger()
    level, hook = root.level, threading.excepthook
    out = Output()
    yield out
    for handler in root.handlers[:]:
        if isinstance(handler, logs.Forward):
            root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    threading.excepthook = hook
    structlog.reset_defaults()
    os.close(out.reader)
    os.close(out.writer)


@pytest.fixture
def as_json(output):
    logs.configure(LogSpec(format="json"), {"worker": "emails/1"}, fd=output.writer)
    return output


@pytest.fixture
def as_console(output):
    logs.configure(LogSpec(format="console"), {"worker": "emails/1"}, fd=output.writer)
    return output


def fail(error: Exception) -> None:
    raise error


def test_a_line_has_its_time_level_and_event_first(as_json):
    structlog.get_logger().info("worker.started", concurrency=10)
    [line] = as_json.lines()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["event"] == "worker.started"
    assert line["level"] == "info"
    assert line["worker"] == "emails/1"
    assert line["concurrency"] == 10
    assert dt.datetime.fromisoformat(line["timestamp"]).tzinfo is not None


def test_the_level_decides_for_structlog_and_for_the_standard_library(output):
    logs.configure(LogSpec(level="warning", format="json"), fd=output.writer)
    structlog.get_logger().info("no")
    logging.getLogger("app").info("no")
    structlog.get_logger().warning("yes")
    logging.getLogger("app").warning("yes")
    assert [line["event"] for line in output.lines()] == ["yes", "yes"]


def test_a_standard_logger_keeps_its_name_arguments_extra_and_traceback(as_json):
    log = logging.getLogger("app.mail")
    try:
        fail(ValueError("wrong"))
    except ValueError:
        log.exception("sent %d of %d", 1, 2, extra={"user_id": 7})
    [line] = as_json.lines()
    assert line["event"] == "sent 1 of 2"
    assert line["logger"] == "app.mail"
    assert line["level"] == "error"
    assert line["user_id"] == 7
    assert "ValueError: wrong" in line["exception"]


def test_a_level_of_somebody_elses_own_is_rounded_down(as_json):
    logging.getLogger("app").log(35, "between")
    [line] = as_json.lines()
    assert line["level"] == "warning"


async def test_each_line_of_a_job_carries_the_job_in_tasks_and_threads(as_json):
    async def job(job_id: str) -> None:
        logs.JOB_ID.set(job_id)
        logs.ATTEMPT.set(2)
        await asyncio.sleep(0)
        logging.getLogger("app").info("task")
        structlog.get_logger().info("task")
        await asyncio.to_thread(logging.getLogger("app").info, "thread")

    await asyncio.gather(job("a"), job("b"))
    structlog.get_logger().info("outside")
    lines = as_json.lines()
    assert sorted((line["job_id"], line["event"]) for line in lines[:-1]) == sorted(
        [(name, event) for name in "ab" for event in ("task", "task", "thread")]
    )
    assert all(line["attempt"] == 2 for line in lines[:-1])
    assert "job_id" not in lines[-1]


def test_what_a_job_binds_by_structlogs_own_function_is_the_same_field(as_json):
    def job() -> None:
        logs.JOB_ID.set("a")
        structlog.contextvars.bind_contextvars(job_id="b")
        structlog.get_logger().info("x")

    contextvars.copy_context().run(job)
    [line] = as_json.lines()
    assert line["job_id"] == "b"


SECRETS = {
    "password": "hunter2",
    "smtp_password": "hunter2",
    "API_KEY": "hunter2",
    "apiKey": "hunter2",
    "access-token": "hunter2",
    "client_secret": b"hunter2",
    "nested": {"list": [{"authorization": "hunter2"}]},
    "url": "redis://user:hunter2@host:6379/0",
    "urls": ["see postgresql://u:hunter2@h/db now"],
    "url2": "redis://u:#hunter2?/@h",
    "text": "connect(host='h', password='hunter2 with spaces', port=1)",
    "text2": "password=hunter2 host=h",
    "text3": '{"api_key": "hunter2"}',
    "text4": "https://h/?token=hunter2&x=1",
    "text5": "Authorization: Bearer hunter2",
    "error": ValueError("bad token='hunter2'"),
    "bytes": {b"password": "hunter2"},
    "pairs": [("authorization", "hunter2")],
}


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_not_written(output, style, name):
    logs.configure(LogSpec(format=style), fd=output.writer)
    structlog.get_logger().info("x", **{name: SECRETS[name]})
    text = output.text()
    assert "hunter2" not in text
    assert "***" in text


def test_what_is_no_secret_stays(as_json):
    fields = {
        "max_tokens": 300,
        "bypassed": "no",
        "password": None,
        "url": "https://example.org/a:b@c",
        "text": "the token: is here; key=value",
        "passed": 3,
    }
    structlog.get_logger().info("x", **fields)
    [line] = as_json.lines()
    assert {name: line[name] for name in fields} == fields


def test_a_secret_in_a_traceback_is_not_written(as_json):
    try:
        fail(OSError("redis://u:hunter2@h refused"))
    except OSError:
        structlog.get_logger().exception("x")
    assert "hunter2" not in as_json.text()


EVIL = "a\nforged line\r\x1b[2J\x9b31m\u2028\u202e\x00\x7f"


@pytest.mark.parametrize("style", ["json", "console"])
def test_nothing_logged_forges_a_line_or_drives_the_terminal(output, style):
    logs.configure(LogSpec(format=style), fd=output.writer)
    structlog.get_logger().info(EVIL, value=EVIL, nested={"x": [EVIL]}, **{EVIL: 1})
    logging.getLogger("app").info("%s", EVIL)
    text = output.text()
    assert text.count("\n") == 2
    assert text.endswith("\n")
    assert not set(text) & set(EVIL) - set("a\nforged line31m[2J")


def test_a_traceback_keeps_its_lines_on_the_console_and_nothing_else(as_console):
    try:
        fail(ValueError("x\x1b[31m"))
    except ValueError:
        structlog.get_logger().exception("job.failed")
    text = as_console.text()
    assert "\nTraceback (most recent call last):\n" in text
    assert "\x1b" not in text


def test_stacks_keep_their_lines_on_the_console(as_console):
    structlog.get_logger().warning("worker.crashed", stack='Thread 1:\n  File "x\x1b[31m"')
    text = as_console.text()
    assert '\nThread 1:\n  File "x' in text
    assert "\x1b" not in text


def test_a_terminal_says_each_thing_once(as_console):
    log = structlog.get_logger()
    fields = {"alert": "queue.late", "subject": "emails", "value": 9.5, "threshold": 5.0}
    log.warning("alert.opened", message="the oldest job has waited 9.5s", **fields)
    log.error("job.failed", process="monitor", message="Send failed: no", job="a.Send", error="no")
    log.info("mine", message="said", value=3, subject="x")
    alert, job, mine = as_console.text().splitlines()
    assert alert.endswith("the oldest job has waited 9.5s alert=queue.late")
    assert job.endswith("emails/1       Send failed: no")
    assert mine.endswith("said value=3 subject=x")


def test_a_traceback_begins_in_the_code_that_is_not_queueds(as_json):
    try:
        logs.redact(None)  # raises within ours
    except TypeError:
        structlog.get_logger().exception("x")
    [line] = as_json.lines()
    assert "test_logs.py" in line["exception"]
    assert "exc_info" not in line


class Broken:
    def __str__(self) -> str:
        raise RuntimeError


def test_values_that_json_does_not_know_are_text(as_json):
    cyclic: list = []
    cyclic.append(cyclic)
    structlog.get_logger().info(
        "x", when=dt.date(2024, 1, 2), nan=float("nan"), broken=Broken(), loop=cyclic, s={1}
    )
    [line] = as_json.lines()
    assert line["when"] == "2024-01-02"
    assert line["nan"] == "nan"
    assert line["broken"] == "<Broken whose text raised RuntimeError>"
    assert line["s"] == [1]


class _Angry(dict):
    def items(self):
        raise RuntimeError


class _AngryKey:
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    ("value", "written"),
    [
        (10**5000, "<int whose text raised ValueError>"),
        (10**30, 10**30),
        (_Angry(a=1), "<_Angry whose text raised RuntimeError>"),
        ([{_AngryKey(): 1}, 2], ["<dict whose text raised RuntimeError>", 2]),
    ],
    ids=["endless", "large", "angry", "angry key"],
)
def test_no_value_costs_the_line_or_the_job(output, style, value, written):
    logs.configure(LogSpec(format=style), fd=output.writer)
    structlog.get_logger().info("e", value=value)
    structlog.get_logger().info(value)
    structlog.get_logger().info(None)
    text = output.text()
    assert text.count("\n") == 3
    if style == "json":
        first, second, third = map(json.loads, text.splitlines())
        assert (first["value"], second["event"], third["event"]) == (written, written, "")


def test_a_long_value_is_cut(as_json):
    structlog.get_logger().info("x", text="y" * 100_000)
    [line] = as_json.lines()
    assert len(line["text"]) < logs.LONGEST_TEXT + 100
    assert line["text"].endswith("(83616 more characters)")


def test_auto_means_json_for_a_pipe_and_colours_for_a_terminal(output, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    logs.configure(LogSpec(), fd=output.writer)
    structlog.get_logger().info("x")
    assert output.lines()[0]["event"] == "x"

    ours, theirs = pty.openpty()
    logs.configure(LogSpec(), fd=theirs)
    structlog.get_logger().info("x")
    assert b"\x1b[" in os.read(ours, 4096)

    monkeypatch.setenv("NO_COLOR", "1")
    logs.configure(LogSpec(), fd=theirs)
    structlog.get_logger().info("x")
    assert b"\x1b[" not in os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)


def test_configuring_again_replaces_and_does_not_double(output):
    for worker in ("emails/1", "emails/2"):
        logs.configure(LogSpec(format="json"), {"worker": worker}, fd=output.writer)
    logging.getLogger("app").info("x")
    [line] = output.lines()
    assert line["worker"] == "emails/2"


def test_a_thread_that_dies_and_a_warning_are_events(as_json):
    thread = threading.Thread(target=lambda: 1 / 0, name="mine")
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("careful", stacklevel=1)
    crashed, warned = as_json.lines()
    assert crashed["event"] == "thread.crashed"
    assert crashed["thread"] == "mine"
    assert "ZeroDivisionError" in crashed["exception"]
    assert "careful" in warned["event"]


def test_a_reader_that_is_gone_costs_nothing(as_json):
    os.dup2(os.open(os.devnull, os.O_RDONLY), as_json.writer)
    structlog.get_logger().info("x")


def test_a_descriptor_that_does_not_block_loses_no_line_while_it_is_read(as_json):
    os.set_blocking(as_json.writer, False)
    received = bytearray()
    os.set_blocking(as_json.reader, True)
    count = 400

    def read() -> None:
        while received.count(b"\n") < count:
            received.extend(os.read(as_json.reader, 4096))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(count):
        structlog.get_logger().info("x", number=number, filler="y" * 1000)
    reader.join(30)
    assert [json.loads(line)["number"] for line in received.splitlines()] == list(range(count))
