"""``queued top`` in front of a real daemon, on a real terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.harness import QUEUED, Daemon, until
from tests.process.screens import Screen

CONFIG = """
connection: sqlite:///queued.db
imports: [work]
http: {listen: "127.0.0.1:0"}
shutdown_grace: 1s
queues:
  default: {concurrency: 3, timeout: 90s}
  emails: {processes: 2}
  parked: {processes: 0, max_wait: 1ms}
"""
JOBS = """
import asyncio
from pathlib import Path
from queued import Job

class Slow(Job):
    async def handle(self):
        while not Path("release").exists():
            await asyncio.sleep(0.01)
"""
FAST = ("--interval", "0.1")

Top = Callable[..., Screen]


@pytest.fixture
def running(daemon: Callable[..., Daemon]) -> Daemon:
    return daemon(CONFIG, jobs=JOBS).start()


@pytest.fixture
def top(running: Daemon) -> Iterator[Top]:
    """Make screens with ``queued top`` on them."""
    made: list[Screen] = []

    def make(*arguments: str, **size: int) -> Screen:
        made.append(Screen(running, "top", *(arguments or FAST), **size))
        return made[-1]

    yield make
    for one in made:
        one.close()


def push(running: Daemon, times: int = 1, queue: str = "default") -> None:
    for _ in range(times):
        running.run("dispatch", "work.Slow", "{}", "--queue", queue)


def fits(screen: Screen) -> bool:
    """Whether the picture is as large as the window, and no larger."""
    lines = screen.lines
    return len(lines) == screen.rows and max(map(len, lines)) <= screen.columns


def test_health_queues_and_what_runs_on_80_columns(running: Daemon, top: Top) -> None:
    push(running, 4)
    push(running, queue="parked")
    screen = top()
    text = screen.until(lambda text: "queue parked: a job has waited" in text, "the late queue")
    text = screen.until(lambda text: text.count("Slow") == 3, "the jobs that run")
    assert fits(screen), screen.text
    assert text.startswith("ready, with warnings")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[2] == "look next: queued why parked"
    assert "3/3 workers 3/23 busy 2 ready 0.0 jobs/s" in lines[3].split(" up ")[0]
    header = next(line for line in lines if line.startswith("queue workers"))
    assert header == "queue workers busy ready sched failed oldest rate/s wait p95 run p95 fail%"
    first, *others = (line.split() for line in lines[lines.index(header) + 1 :][:3])
    assert first[:4] == ["parked", "0/0", "0/0", "1"], "the one with trouble comes first"
    assert [one[:4] for one in others] == [
        ["default", "1/1", "3/3", "1"],
        ["emails", "2/2", "0/20", "0"],
    ]
    assert "running now worker for id" in lines
    job = next(line for line in lines if line.startswith("Slow default/1"))
    assert " of 1m 30s " in job
    assert len(job.split()[-1]) == 36, "an id can be copied"
    assert lines[-1].startswith("q quit p pause")
    screen.press("q")
    assert screen.wait() == 0
    assert screen.is_given_back()


def test_what_a_queue_did_in_the_last_minutes(running: Daemon, top: Top) -> None:
    (running.folder / "release").touch()
    until(lambda: running.status()["recent"].get("default"), "the figures before")
    push(running, 2)
    screen = top(columns=100)

    def figures(text: str) -> list[str]:
        row = next(line for line in text.splitlines() if line.startswith("default"))
        *_, rate, wait, run, failing, _, _, _ = row.split()
        return [rate, wait, run, failing]

    text = screen.until(lambda text: float(figures(text)[0].replace("-", "0")) > 0, "a rate")
    _, wait, run, failing = figures(text)
    assert wait.endswith("s")
    assert run.endswith("s")
    assert failing == "0%"


def test_a_daemon_that_ends_and_comes_again(running: Daemon, top: Top) -> None:
    screen = top()
    screen.until(lambda text: text.startswith("healthy"), "a healthy daemon")
    assert running.stop() == 0
    text = screen.until(lambda text: "the daemon is not running, waiting" in text, "its end")
    assert "emails" in text, "what was known last"
    assert fits(screen), screen.text
    running.start()
    screen.until(lambda text: text.startswith("healthy"), "the next daemon")


def test_the_window_changes_its_size(top: Top) -> None:
    screen = top("--interval", "36500d")  # nothing but the change makes it draw again
    screen.until(lambda _: fits(screen), "the first picture")
    assert "memory" not in screen.text
    screen.resize(140, 40)
    wide = screen.until(lambda text: "memory" in text and fits(screen), "a wide one")
    assert "reserved" in wide
    assert "restarts" in wide
    screen.resize(40, 10)
    small = screen.until(lambda text: "memory" not in text and fits(screen), "a small one")
    assert small.startswith("healthy")
    assert "default" in small
    screen.resize(10, 3)
    screen.until(lambda _: fits(screen), "a tiny one")
    screen.press("q")
    assert screen.wait() == 0


def test_keys(running: Daemon, top: Top) -> None:
    push(running)
    screen = top("--interval", "60", "--sort", "busy")
    busiest = screen.until(
        lambda text: "by busy, every 1m" in text, "the first picture"
    ).splitlines()
    names = ("default", "emails", "parked")
    order = [line.split()[0] for line in busiest if line.startswith(names)]
    assert order == ["default", "emails", "parked"]
    screen.press("r")
    text = screen.until(lambda text: "by busy, reversed" in text, "the reverse order")
    assert [line.split()[0] for line in text.splitlines() if line.startswith(names)] == [
        "emails",
        "parked",
        "default",
    ]
    screen.press("s")
    screen.until(lambda text: "by ready," in text, "the next column")
    screen.press("\x1b[D\x1b[D")  # arrows that come at once are two keys
    screen.until(lambda text: "by workers," in text, "two columns back")
    screen.press(" ")
    screen.until(lambda text: "PAUSED" in text, "the pause")
    screen.press("p")
    screen.until(lambda text: "PAUSED" not in text, "the end of the pause")


@pytest.mark.parametrize("how", ["ctrl-c", "ctrl-d", "SIGTERM", "SIGHUP"])
def test_it_gives_the_terminal_back(top: Top, how: str) -> None:
    screen = top()
    screen.until(lambda text: "q quit" in text, "the first picture")
    assert not screen.is_given_back()
    if how.startswith("SIG"):
        screen.process.send_signal(signal.Signals[how])
    else:
        screen.press({"ctrl-c": "\x03", "ctrl-d": "\x04"}[how])
    assert screen.wait() == 0
    assert screen.is_given_back()


def test_ctrl_z_gives_the_terminal_back_for_a_while(top: Top) -> None:
    screen = top()
    screen.until(lambda text: "q quit" in text, "the first picture")

    def state() -> str:
        stat = Path(f"/proc/{screen.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    screen.press("\x1a")
    until(lambda: state() == "T", "it to be stopped")
    assert screen.is_given_back()
    drawn = len(screen.read())
    screen.process.send_signal(signal.SIGCONT)
    until(lambda: "q quit" in screen.read()[drawn:], "it to go on")
    assert not screen.is_given_back()
    screen.press("q")
    assert screen.wait() == 0
    assert screen.is_given_back()


def test_a_terminal_that_is_closed_ends_it(top: Top) -> None:
    screen = top()
    screen.until(lambda text: "q quit" in text, "the first picture")
    screen.hang_up()
    until(lambda: screen.process.poll() is not None, "its end")


def test_where_there_is_no_terminal_it_prints_once(running: Daemon) -> None:
    said = running.run("top")
    assert said.stdout.startswith("healthy: ")
    assert "\x1b" not in said.stdout
    assert said.stdout.count("queue ") == 1


def test_a_line_of_json_at_each_look(running: Daemon) -> None:
    command = subprocess.Popen(
        [QUEUED, "top", "--json", *FAST],
        cwd=running.folder,
        env=running.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert command.stdout
        first, second = (json.loads(command.stdout.readline()) for _ in range(2))
        assert first["running"]
        assert first["health"] == {"healthy": True, "ready": True, "problems": []}
        assert set(first["pools"]) == {"default", "emails", "parked"}
        assert first["at"] < second["at"]
        running.stop()
        gone = next(line for line in map(json.loads, command.stdout) if not line["running"])
        assert set(gone) == {"at", "running", "error"}
        errors = (json.loads(line).get("error") for line in command.stdout)
        assert "the daemon is not running" in errors  # at first it may have hung up
        command.send_signal(signal.SIGINT)
        assert command.wait() == 130
    finally:
        command.kill()
        command.wait()
        command.stdout.close()


def test_a_line_of_json_once(running: Daemon) -> None:
    (line,) = running.run("top", "--json", "--once").stdout.splitlines()
    assert json.loads(line)["pid"] == running.pid


def test_no_daemon_at_first_is_an_error(daemon: Callable[..., Daemon]) -> None:
    said = daemon(CONFIG, jobs=JOBS).run("top", check=False)
    assert said.returncode == 3
    assert "start it with: queued start" in said.stderr
    assert os.linesep not in said.stderr.rstrip()
