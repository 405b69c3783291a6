"""Fixtures of the process tests: back-ends of their own, daemons that leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.servers import start_valkey
from tests.process.harness import Daemon
from tests.process.standins import Master


@pytest.fixture(params=["sqlite", "valkey"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a fresh back-end: SQLite in a file, a Valkey server of this test's own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/queued.db"
        return
    folder = tmp_path / "valkey"
    folder.mkdir()
    server = start_valkey(folder)
    yield server.url
    server.stop()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make daemons that are killed, whatever happened, when the test ends."""
    made: list[Daemon] = []

    def make(config: str, **options: str) -> Daemon:
        folder = tmp_path / f"daemon{len(made)}"
        folder.mkdir()
        made.append(Daemon(folder, config, **options))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Callable[..., Master]]:
    """Make daemons with stand-ins for worker and monitor; they are killed when the test ends."""
    made: list[Master] = []

    def make(config: str, **options: str) -> Master:
        folder = tmp_path / f"master{len(made)}"
        folder.mkdir()
        made.append(Master(folder, config, **options))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()
