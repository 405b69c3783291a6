"""The unit files, read by the service manager's own tool; test_systemd_real.py runs them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from queued.config.schema import Config
from queued.daemon.master.master import STOP_MARGIN
from tests.tools import required

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "systemd" / "queued.service"
TEMPLATE = ROOT / "systemd" / "queued@.service"
INSTALLED = "/opt/queued/bin/queued"
QUEUED = Path(sys.executable).with_name("queued")

both = pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)


def settings(unit: Path) -> list[tuple[str, str]]:
    lines = (line.partition("=") for line in unit.read_text().splitlines() if "=" in line)
    return [(key, value) for key, _, value in lines if not key.startswith(("#", ";"))]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [required("systemd-analyze"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@both
def test_it_verifies(unit: Path, tmp_path: Path) -> None:
    """A copy does whose programs are where this machine has them, and whose secrets are meant."""
    text = unit.read_text().replace(INSTALLED, str(QUEUED))
    copy = tmp_path / unit.name.replace("@", "@emails")
    copy.write_text(text.replace("\n#LoadCredential", "\nLoadCredential"))
    verified = analyze("verify", copy)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@both
def test_it_is_hardened(unit: Path, tmp_path: Path) -> None:
    """The threshold is ten times the exposure, from 0 (none) to 10; a bare unit has 9.6."""
    copy = tmp_path / unit.name.replace("@", "@emails")
    copy.write_text(unit.read_text())
    rated = analyze("security", "--offline=yes", "--threshold=20", "--no-pager", copy)
    assert rated.returncode == 0, rated.stdout + rated.stderr
    (exposure,) = re.findall(r"exposure level for \S+: ([0-9.]+)", rated.stdout)
    for page in ("systemd.md", "security.md"):
        assert exposure in (ROOT / "docs" / page).read_text(), f"{page} says something else"


@both
def test_its_commands_exist(unit: Path) -> None:
    commands = [value for key, value in settings(unit) if key.startswith("Exec")]
    assert [shlex.split(command)[1] for command in commands] == ["check", "start", "reload"]
    for command in commands:
        program, *words = shlex.split(command)
        assert program == INSTALLED
        shown = subprocess.run(
            [QUEUED, words[0], "--help"], capture_output=True, check=False, timeout=60
        )
        assert shown.returncode == 0, shown.stderr


@both
def test_it_is_told_what_the_daemon_expects(unit: Path) -> None:
    told = dict(settings(unit))
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "KillMode": "mixed",
        "WatchdogSec": "30",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "78",
    }
    assert expected.items() <= told.items()
    grace: float = Config.model_fields["shutdown_grace"].get_default(call_default_factory=True)
    assert float(told["TimeoutStopSec"]) >= grace + STOP_MARGIN


def test_the_template_is_the_unit_but_for_the_names() -> None:
    """And for the comments, which the template leaves to the unit."""
    renamed = TEMPLATE.read_text()
    for old, new in {
        " of %i\n": "\n",
        "/etc/queued/%i.yaml": "/etc/queued/queue.yaml",
        "/etc/queued/%i.environment": "/etc/queued/environment",
        "credentials/%i/": "credentials/",
        "StateDirectory=queued/%i": "StateDirectory=queued",
        "/var/lib/queued/%i": "/var/lib/queued",
        "RuntimeDirectory=queued/%i": "RuntimeDirectory=queued/queue",
    }.items():
        assert old in renamed
        renamed = renamed.replace(old, new)
    plain = UNIT.read_text()
    assert "%" not in renamed

    def meant(text: str) -> list[str]:
        lines = text.splitlines()
        return [line for line in lines if line.startswith("#Load") or line[:1] not in {"", "#"}]

    assert meant(renamed) == [
        line for line in meant(plain) if line != "Conflicts=queued@queue.service"
    ]


def test_the_docs_name_every_line_of_the_sandbox() -> None:
    """Whoever meets a refusal finds there what to relax."""
    text = UNIT.read_text()
    sandbox = text[text.index("\nNoNewPrivileges") : text.index("\n[Install]")]
    named = (ROOT / "docs" / "systemd.md").read_text()
    quiet = {"AmbientCapabilities", "PrivateMounts", "SystemCallArchitectures"}  # refuse nothing
    for key in dict.fromkeys(re.findall(r"^(\w+)=", sandbox, re.MULTILINE)):
        stem = "ProtectKernel" if key.startswith("ProtectKernel") else key
        assert key in quiet or f"`{stem}" in named, f"docs/systemd.md says nothing of {key}"
