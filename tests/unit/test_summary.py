"""What `queued start` prints first on a terminal."""

from __future__ import annotations

from queued.config.load import load
from queued.daemon.master.plan import plan
from queued.daemon.master.summary import table
from queued.version import __version__

CONFIG = """
connection: redis://user:secret@localhost:6379/0
imports: [app.jobs, app.more]
queues:
  critical: {processes: 2, concurrency: 20}
  default: {}
  parked: {processes: 0}
  one: {concurrency: 1}
"""


def test_the_table(tmp_path):
    path = tmp_path / "queue.yaml"
    path.write_text(CONFIG)
    loaded = load(path, {})
    text = table(loaded, plan(loaded, "a", "b"), "127.0.0.1:9470")
    assert "secret" not in text
    assert [line.strip() for line in text.splitlines()] == [
        f"queued {__version__}",
        f"config      {path}",
        f"connection  redis://user:***@localhost:6379/0  (connection of {path})",
        "metrics     http://127.0.0.1:9470/metrics",
        "imports     app.jobs, app.more",
        "pools       critical  2 processes x 20 jobs",
        "default   1 process x 10 jobs",
        "parked    parked (processes: 0)",
        "one       1 process x 1 job",
        "",
    ]


def test_without_http_and_imports(tmp_path):
    path = tmp_path / "queue.yaml"
    path.write_text("queues: {default: {}}\nhttp: false\n")
    loaded = load(path, {})
    text = table(loaded, plan(loaded, "a", "b"), None)
    assert "metrics     off\n" in text
    assert "imports     none\n" in text
