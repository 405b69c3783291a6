"""The pytest plugin in a pytest of its own, over the tests that docs/testing.md shows."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text()
FILE = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLUGIN = "queued.jobs.pytest_plugin"


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder with our plugin, and without the settings of this suite."""
    (folder / "pytest.ini").touch()
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    environment.pop("QUEUE_CONNECTION", None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:queued", "-p", PLUGIN, "-q", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("mode", [(), ("-p", "no:anyio"), ("-p", "no:asyncio")], ids=" ".join)
def test_the_documented_tests_run(tmp_path, mode):
    files = FILE.findall(PAGE)
    assert len(files) >= 2
    for name, text in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)
    if mode == ("-p", "no:asyncio"):
        text = (tmp_path / "test_app.py").read_text()
        (tmp_path / "test_app.py").write_text(text.replace("mark.asyncio", "mark.anyio"))
        (tmp_path / "conftest.py").write_text(
            "import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n"
        )
    ran = run_pytest(tmp_path, *mode)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"\d+ passed", ran.stdout), ran.stdout
    assert "skipped" not in ran.stdout


def test_a_plugin_that_nobody_uses_costs_and_changes_nothing(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        f"    assert {PLUGIN!r} in sys.modules\n"
        "    heavy = {'pydantic', 'redis', 'sqlalchemy', 'structlog', 'uvloop', 'click',"
        " 'queued.jobs.testing.fake', 'queued.drivers.memory', 'queued.daemon', 'queued.config'}\n"
        "    assert not heavy & set(sys.modules)\n"
        "    from queued import queue\n"
        "    assert queue._instead is None\n"
    )
    ran = run_pytest(tmp_path, "-p", "no:anyio", "-p", "no:asyncio", "-p", "no:hypothesispytest")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_package_names_the_plugin():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert f"queued = {PLUGIN}" in config["options.entry_points"]["pytest11"].splitlines()
