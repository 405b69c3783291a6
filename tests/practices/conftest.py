"""The guide's examples as an application, with a daemon that runs its jobs."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.practices.blocks import Part, parts
from tests.practices.cases import CASES, name_of
from tests.process.harness import PATIENCE, Daemon, until

HERE = Path(__file__).parent
CONFIG = """\
connection: sqlite:///queued.db
imports: [app]
http: {listen: "127.0.0.1:0"}
defaults: {timeout: 60}
queues: {default: , critical: , emails: , low-priority: }
"""
PARTS = {part.id: part for part in parts()}


class Stage:
    """The application and its daemon."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls.jsonl"
        self.daemon = Daemon(
            folder,
            CONFIG,
            CALLS=str(self.calls_file),
            USERS=str(folder / "users.db"),
            QUEUE_CONNECTION=f"sqlite:///{folder}/queued.db",
        )
        app = folder / "app"
        app.mkdir()
        (app / "__init__.py").touch()
        for module in ("world.py", "failed_jobs.py"):
            shutil.copy(HERE / module, app)
        for name, case in CASES.items():
            part = PARTS[name]
            (app / f"{name_of(part)}.py").write_text(case.module(part))
        with sqlite3.connect(folder / "users.db") as connection:
            connection.executescript(
                "CREATE TABLE users (id, score); INSERT INTO users VALUES(1, 0)"
            )

    def run(self, part: Part) -> None:
        """Run what a program does with a part, in a process of its own."""
        body = textwrap.indent(CASES[part.id].run.strip(), "    ")
        program = f"from app.{name_of(part)} import *\nasync def program():\n{body}\n"
        done = subprocess.run(
            [sys.executable, "-c", f"{program}asyncio.run(program())"],
            cwd=self.daemon.folder,
            env=self.daemon.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def calls(self) -> list[list[Any]]:
        if not self.calls_file.exists():
            return []
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def wait_for(self, calls: list[list[Any]]) -> None:
        """Wait until each of the calls was made, as often as it is listed."""
        until(
            lambda: all(self.calls().count(call) >= calls.count(call) for call in calls),
            f"{calls}; the daemon's log:\n{self.daemon.output()}",
        )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    one = Stage(tmp_path_factory.mktemp("guide"))
    try:
        one.daemon.start()
        yield one
    finally:
        one.daemon.clean_up()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what ``queued check --json`` says of the whole application."""
    one = Stage(tmp_path_factory.mktemp("checked"))
    return json.loads(one.daemon.run("check", "--json", check=False).stdout)
