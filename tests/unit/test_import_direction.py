"""Imports point one way: cli → daemon → web → jobs → drivers → errors; above them, jobs/testing.

Read from the source with ``ast``, so that an import inside a function counts too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LEAVES = {"errors", "version", "environment", "credentials", "folders", "units", "policy"}
MAY_IMPORT = {
    "drivers": LEAVES,
    "jobs": {"drivers"} | LEAVES,
    "config": {"drivers", "jobs"} | LEAVES,
    "grafana": LEAVES,
    "web": {"config", "jobs", "drivers"} | LEAVES,
    "daemon": {"web", "config", "jobs", "drivers"} | LEAVES,
    "cli": {"web", "daemon", "config", "grafana", "jobs", "drivers"} | LEAVES,
}
TESTING = "queued.jobs.testing"
FOLDERS = {name: ROOT / name for name in MAY_IMPORT} | {"cli": ROOT / "queued" / "cli"}


def imported(file: Path) -> set[str]:
    """Return the names of every import in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_packages(file: Path) -> set[str]:
    """Return the first name below ``queued`` of every import in the file."""
    return {name.split(".")[1] for name in imported(file) if name.startswith("queued.")}


def is_for_tests(file: Path) -> bool:
    jobs = ROOT / "jobs"
    return file.is_relative_to(jobs / "testing") or file == jobs / "pytest_plugin.py"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    files = [file for file in FOLDERS[package].rglob("*.py") if not is_for_tests(file)]
    assert files
    wrong = {
        f"{file.relative_to(ROOT)} imports queued.{name}"
        for file in files
        for name in imported_packages(file) - allowed
    }
    assert not wrong


def test_what_is_for_tests_stands_above_the_daemon_and_nothing_imports_it() -> None:
    files = sorted((ROOT / "jobs" / "testing").rglob("*.py"))
    assert files
    allowed = MAY_IMPORT["daemon"] | {"daemon"}
    assert not {name for file in files for name in imported_packages(file) - allowed}
    others = [
        file
        for folder in (*FOLDERS.values(), ROOT / "queued")
        for file in folder.rglob("*.py")
        if not is_for_tests(file)
    ]
    assert not [file for file in others if any(name.startswith(TESTING) for name in imported(file))]


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_a_leaf_imports_leaves_only(leaf: str) -> None:
    assert imported_packages(ROOT / "queued" / f"{leaf}.py") <= LEAVES


def test_a_producer_loads_neither_daemon_nor_config() -> None:
    program = "import sys, queued; queued.Job, queued.dispatch; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "queued.jobs.job" in loaded
    assert not [name for name in loaded if name.startswith(("queued.daemon", "queued.config"))]
    heavy = {"sqlalchemy", "redis", "uvicorn", "starlette", "uvloop", "click", "rich"}
    assert not heavy & set(loaded)
