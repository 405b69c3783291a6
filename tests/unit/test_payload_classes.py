"""Payloads: of which classes a job may be dispatched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from queued.errors import (
    InvalidJob,
    JobDefinitionError,
    UnknownJob,
)
from queued.jobs import payload
from queued.jobs.job import Job
from tests.unit.payloads import (
    Odd,
    SendEmail,
    kept_registry,
    round_trip,
)

if TYPE_CHECKING:
    from fractions import Fraction

_registry = pytest.fixture(autouse=True)(kept_registry)


def test_an_instance_is_expected() -> None:
    with pytest.raises(InvalidJob, match="expected an instance of a Job class, got the class"):
        payload.encode(SendEmail)  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match="got a str"):
        payload.encode("SendEmail")  # type: ignore[arg-type]


def test_a_job_without_handle_is_not_dispatched() -> None:
    class Base(Job):
        to: str

    with pytest.raises(JobDefinitionError, match=r"Base has no handle\(\)"):
        payload.encode(Base(to="x"))


def test_annotations_must_exist_at_run_time() -> None:
    class Broken(Job):
        share: Fraction

        async def handle(self) -> None: ...

    with pytest.raises(
        JobDefinitionError, match=r'"Fraction", which does not exist .*TYPE_CHECKING'
    ):
        payload.encode(Broken(share=1))  # type: ignore[arg-type]
    stored = json.dumps({"v": 1, "job": Broken.__queued__.name}).encode() + b"\n{}"
    with pytest.raises(UnknownJob, match="cannot be used"):
        payload.decode(stored)


@pytest.mark.parametrize("kind", [Odd, type(len), "len(", "payload.nosuch"])
def test_a_type_that_cannot_be_used_is_refused(kind: Any) -> None:
    broken = type("Broken", (Job,), {"__annotations__": {"thing": kind}, "__module__": __name__})

    with pytest.raises(JobDefinitionError, match="Broken: a"):
        payload.prepare(broken)


def test_class_variables_are_no_payload() -> None:
    class WithClassVar(Job):
        shared: ClassVar[list[int]] = []
        own: int = 1

        async def handle(self) -> None: ...

    assert vars(round_trip(WithClassVar())) == {"own": 1}


def test_what_a_routemq_style_init_raises_is_passed_on() -> None:
    class Fragile(Job):
        broken: ClassVar[bool] = False

        def __init__(self) -> None:
            super().__init__()
            if self.broken:
                raise OSError("no disk")

        async def handle(self) -> None: ...

    data = payload.encode(Fragile())
    Fragile.broken = True

    with pytest.raises(OSError, match="no disk"):
        payload.decode(data)


def test_a_reloaded_class_is_used_from_then_on() -> None:
    def make(default: int) -> type[Job]:
        class Reloaded(Job):
            name = "reloaded"
            number: int = default

            async def handle(self) -> None: ...

        return Reloaded

    data = payload.encode(make(1)())
    newer = make(2)

    assert type(payload.decode(data)) is newer


def test_a_class_of_the_script_that_runs_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from queued.jobs import payload\n"
        "from queued import Job\n"
        "class Here(Job):\n"
        "    async def handle(self): ...\n"
        "class Named(Job):\n"
        "    name = 'app.Named'\n"
        "    async def handle(self): ...\n"
        "print(payload.encode(Named()))\n"
        "payload.encode(Here())\n"
    )
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=60
    )

    assert "app.Named" in ended.stdout
    assert "Here is defined in the script being run, where no worker finds it" in ended.stderr
