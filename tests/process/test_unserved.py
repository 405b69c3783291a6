"""A job that went to a queue that nobody serves shows, wherever people look."""

from __future__ import annotations

import json

from tests.process.harness import until

CONFIG = """
connection: sqlite:///queued.db
imports: [work]
http: {listen: "127.0.0.1:0"}
queues:
  default: {}
  emails: {}
"""
JOBS = """
from queued import Job
class Nightly(Job):
    async def handle(self): ...
"""


def test_a_queue_that_was_mistyped_is_told(daemon) -> None:
    running = daemon(CONFIG, jobs=JOBS).start()
    running.run("dispatch", "work.Nightly", "{}", "--queue", "emials")
    until(lambda: running.status()["unserved"] == {"emials": 1}, "the monitor to look around")
    told = 'emials: 1 job waits, and nobody serves that queue; did you mean "emails"?'
    for command in ("status", "top"):
        said = running.run(command, *(["--once"] if command == "top" else [])).stdout
        assert said.startswith("ready, with warnings")
        assert f"{told} (queued why emials)" in said
    assert json.loads(running.run("status", "--json").stdout)["health"]["ready"]
    assert told.replace('"', "&#34;") in running.get("/")[1].replace("&quot;", "&#34;")
    assert running.get("/readyz")[0] == 200
    running.run("purge", "emials", "--yes")
    until(lambda: not running.status()["unserved"], "it to be over")
