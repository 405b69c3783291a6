"""A virtual environment for each peer, made once: ``benchmarks/.venvs``."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from benchmarks.systems import System

FOLDER = Path(__file__).parent / ".venvs"
VERSION = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"


def python_of(system: System, say: Callable[[str], None] = print) -> Path:
    """Return the Python that runs a system, after its requirements were installed if need be.

    The stamp in a venv holds what was asked for, so that the next run uses it as it is.

    :raises RuntimeError: pip failed, and why.
    """
    if not system.peer:
        return Path(sys.executable)
    folder = FOLDER / system.adapter
    python, stamp = folder / "bin" / "python", folder / "requirements"
    wanted = "\n".join([sys.version, *system.requirements])
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installs {', '.join(system.requirements)}")
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, *system.requirements], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"pip could not install {system.name}:\n{done.stderr}")
        stamp.write_text(wanted)
    return python


def version_of(system: System, python: Path) -> str:
    """Return the installed version of a system."""
    command = [str(python), "-c", VERSION, system.distribution]
    return subprocess.check_output(command, text=True).strip()
