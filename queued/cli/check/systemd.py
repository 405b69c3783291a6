"""Whether the service manager would end the daemon before its jobs have had their time."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

from queued.jobs.checks.rule import Finding, Level
from queued.units import format_duration

if TYPE_CHECKING:
    from queued.config.load import LoadedConfig

STOP_TIMEOUT = "stop-timeout"

# A pattern finds what is loaded; a unit that does not run may have to be named.
_ASK = ("show", "*.service", "queued.service", "--property=Id,Type,TimeoutStopUSec,ExecStart")
_PATIENCE = 5.0
_EXTENDS = ("notify", "notify-reload")
"""The types of units whose daemon may ask for more time, as queued does."""
_SECONDS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3_600.0,
    "d": 86_400.0, "w": 604_800.0, "month": 2_629_800.0, "y": 31_557_600.0,
}  # fmt: skip
_SPAN = re.compile(r"([\d.]+)\s*(us|ms|s|min|h|d|w|month|y)\b")


def stop_timeouts(loaded: LoadedConfig) -> Iterator[Finding]:
    """Yield the units of systemd that start this queue.yaml and stop it too soon.

    Nothing where there is no systemd, or where it does not answer.
    """
    for unit in _units():
        if str(loaded.path) not in unit.get("ExecStart", "") or unit.get("Type") in _EXTENDS:
            continue
        from queued.daemon.master.master import STOP_MARGIN  # noqa: PLC0415 - only if it matters

        allowed = seconds(unit.get("TimeoutStopUSec", ""))
        needed = loaded.config.shutdown_grace + STOP_MARGIN
        if allowed is not None and allowed < needed:
            reason = (
                f"{unit.get('Id')}: systemd kills the daemon {format_duration(allowed)} after it is"
                f" told to stop, and shutdown_grace is"
                f" {format_duration(loaded.config.shutdown_grace)}"
            )
            fix = f"Type=notify, as in the shipped unit, or TimeoutStopSec={needed:g}"
            line = loaded.lines.get(("shutdown_grace",))
            yield Finding(STOP_TIMEOUT, Level.WARNING, "19", reason, fix, str(loaded.path), line)


def seconds(span: str) -> float | None:
    """Return the seconds of ``1min 30s``, as systemd prints them; None for infinity."""
    found = _SPAN.findall(span)
    return sum(float(number) * _SECONDS[unit] for number, unit in found) if found else None


def _units() -> Iterator[dict[str, str]]:
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return
    try:
        told = subprocess.run(  # noqa: S603 - it only asks
            [systemctl, *_ASK], capture_output=True, text=True, timeout=_PATIENCE, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return
    for unit in dict.fromkeys(told.strip().split("\n\n")):
        yield dict(line.partition("=")[::2] for line in unit.splitlines())
