"""setup.cfg names every package: a folder that it does not name is in no wheel."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_folder_of_modules_is_a_package_of_the_wheel() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = setup["options"]["packages"].split()
    places = dict(line.split(" = ") for line in setup["options"]["package_dir"].split("\n") if line)
    found = {
        ".".join([package, *file.parent.relative_to(ROOT / folder).parts])
        for package, folder in places.items()
        for file in (ROOT / folder).rglob("*.py")
    }
    assert sorted(found) == sorted(named)
