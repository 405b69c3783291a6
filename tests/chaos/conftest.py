"""Fixtures of the chaos tests: crews that leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.crew import Crew
from tests.chaos.masters import CONFIG, JOBS, Make, Quickly
from tests.contract.servers import start_valkey
from tests.process.harness import Daemon
from tests.process.test_master_notify import Manager, listening


@contextmanager
def backend(kind: str, folder: Path) -> Iterator[str]:
    """Yield the URL of a fresh back-end."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/queued.db"
        return
    server = start_valkey(folder)
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="module")
def crew(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crew]:
    """Yield the running daemon of a module, made from its QUEUES and JOBS.

    On SQLite, and where a test is parametrised with it, on a Valkey server of its own: faults of
    one pool do not touch the others, so the module's tests share it.
    """
    folder = tmp_path_factory.mktemp("crew")
    with backend(getattr(request, "param", "sqlite"), folder) as url:
        one = Crew(folder, url, request.module.QUEUES, request.module.JOBS)
        try:
            yield one.start()
        finally:
            one.clean_up()


@pytest.fixture
def make_crew(tmp_path: Path) -> Iterator[Callable[[str, str], Crew]]:
    """Make daemons of a test's own, from queues and jobs, on SQLite."""
    made: list[Crew] = []

    def make(queues: str, jobs: str) -> Crew:
        folder = tmp_path / f"crew{len(made)}"
        folder.mkdir()
        made.append(Crew(folder, f"sqlite:///{folder}/queued.db", queues, jobs))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


@pytest.fixture
def make_master(tmp_path: Path) -> Iterator[Make]:
    """Make a daemon that is killed, whatever happened, when the test ends."""
    made: list[Daemon] = []

    def make(config: str = CONFIG, jobs: str = JOBS, **environment: str) -> Daemon:
        made.append(Quickly(tmp_path, config, jobs=jobs, **environment))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that listens, for ``NOTIFY_SOCKET``."""
    with listening(tmp_path / "notify") as manager:
        yield manager
