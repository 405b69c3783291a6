"""The unit file, read by the service manager's own tool."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from queued.config.schema import Config
from tests.tools import required

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "queued.service"
INSTALLED = "/opt/queued/bin/queued"
QUEUED = Path(sys.executable).with_name("queued")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Make a copy of the unit whose programs are where this machine has them."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, str(QUEUED)))
    return copy


def settings() -> dict[str, str]:
    """Return the unit's settings; none but ``After`` and such may stand twice."""
    lines = (line.partition("=") for line in UNIT.read_text().splitlines() if "=" in line)
    return {key: value for key, _, value in lines if not key.startswith(("#", ";"))}


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [required("systemd-analyze"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_verifies(unit: Path) -> None:
    verified = analyze("verify", unit)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_it_is_hardened(unit: Path) -> None:
    """The threshold is ten times the exposure, from 0 (none) to 10; a bare unit has 9.6."""
    rated = analyze("security", "--offline=yes", "--threshold=20", "--no-pager", unit)
    assert rated.returncode == 0, rated.stdout + rated.stderr


def test_its_commands_exist() -> None:
    for key in ("ExecStart", "ExecReload"):
        program, command, *_ = shlex.split(settings()[key])
        assert program == INSTALLED
        shown = subprocess.run(
            [QUEUED, command, "--help"], capture_output=True, check=False, timeout=60
        )
        assert shown.returncode == 0, shown.stderr


def test_it_leaves_the_daemon_the_time_it_needs() -> None:
    grace: float = Config.model_fields["shutdown_grace"].get_default(call_default_factory=True)
    assert float(settings()["TimeoutStopSec"]) >= grace + 30


def test_it_is_told_what_the_daemon_expects() -> None:
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "KillMode": "mixed",
        "WatchdogSec": "30",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "78",
    }
    assert expected.items() <= settings().items()
