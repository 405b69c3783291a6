"""The ``queued`` command as tests run it: in this process, on a folder of its own."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from queued.cli import cli
from queued.cli.failures import run
from queued.jobs import registry

JOBS = """
from queued import Job

class SendEmail(Job):
    queue = "emails"
    timeout = 30
    to: str
    password: str = "none"
    async def handle(self): ...

class Nightly(Job):
    max_tries = 7
    def handle(self): ...
"""
UNREACHABLE = "redis://:hunter2@127.0.0.1:1/0"
_numbers = itertools.count()


@dataclass
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, code: int) -> str:
        """Return the one line of an error, after checking that it is one."""
        assert self.code == code, self
        assert self.err.startswith("queued: "), self
        assert self.err.count("\n") == 1, self
        assert "Traceback" not in self.err
        return self.err


class Application:
    """A folder with a queue.yaml and a module of jobs; the working directory of its commands."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        # each test has a module of its own: an import is for the whole process
        self.module = f"work{next(_numbers)}"
        self.url = f"sqlite:///{folder}/queued.db"
        (folder / f"{self.module}.py").write_text(JOBS)
        self.configure(f"imports: [{self.module}]\nqueues: {{default: , emails: }}")

    def configure(self, text: str) -> None:
        (self.folder / "queue.yaml").write_text(text)

    def __call__(self, *arguments: str) -> Answer:
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(cli, list(arguments))
        out, err = self.capture.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(int(ended.value.code), out, err)

    def job(self, name: str) -> str:
        return f"{self.module}.{name}"


def application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Application]:
    """Yield an application; what its commands changed in this process is put back."""
    for name in [*os.environ]:
        if name.startswith(("QUEUE", "REDIS", "DATABASE")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(registry, "_classes", {})
    app = Application(tmp_path, capsys)
    yield app
    sys.modules.pop(app.module, None)
