"""``queue.within`` where there is nothing to join."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import create_engine

from queued.errors import InvalidJob
from queued.jobs.queue import Queue


@pytest.mark.parametrize("url", ["redis://localhost", "memory://x", "unix:///tmp/redis.sock"])
def test_a_queue_that_no_transaction_holds(url: str) -> None:
    refused = pytest.raises(InvalidJob, match=r"needs a queue in a database, and this one is in")
    with create_engine("sqlite://").connect() as connection, refused:
        Queue(url).within(connection)


def test_what_is_no_connection() -> None:
    with pytest.raises(InvalidJob, match=r"takes a Connection, Session, .* got Engine"):
        Queue("sqlite:///queued.db").within(create_engine("sqlite://"))  # type: ignore[call-overload]


def test_a_producer_that_joins_nothing_does_not_load_sqlalchemy() -> None:
    code = "import queued, sys; queued.Queue; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
