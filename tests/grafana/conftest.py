"""One scene for all tests that look at a Prometheus: starting it takes most of their time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.grafana.rules import RULES, hasty
from tests.grafana.scene import Scene
from tests.tools import required


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Yield the running scene, with every fault caused."""
    program = required("prometheus")
    folder = tmp_path_factory.mktemp("scene")
    rules = folder / "alerts.yml"
    rules.write_text(hasty(RULES.read_text()))
    scene = Scene(program, folder, rules)
    try:
        scene.open()
        scene.break_everything()
        yield scene
    finally:
        scene.close()
