"""Retry strategies as the daemon follows them, on a real back-end and with real kills."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.process.harness import Daemon, until

JOBS = """
import time
from queued import Fail, Job, Retry

class Blocks(Job):
    timeout = 0.5
    max_tries = 3
    give_up_on = TimeoutError

    async def handle(self):
        time.sleep(3600)

class Lookup(Job):
    max_tries = 5
    retry_on = ConnectionError

    async def handle(self):
        if self.attempts == 1:
            raise Retry("asked for", in_="10ms")
        if self.attempts == 2:
            raise ConnectionResetError("try again")
        raise LookupError("not there")

class Gone(Job):
    async def handle(self):
        raise Fail("no such customer")
"""
CONFIG = """
imports: [work]
http: {listen: "127.0.0.1:0"}
queues:
  default: {sleep: 0.2, kill_grace: 0.2, backoff: {base: 20ms, factor: 2, cap: 50ms, jitter: 0.5}}
"""


def test_a_job_is_tried_again_for_what_its_class_says(daemon: Callable[..., Daemon]) -> None:
    one = daemon(CONFIG, jobs=JOBS).start()
    ids = {
        name: one.run("dispatch", f"work.{name}", "--json").stdout
        for name in ("Blocks", "Lookup", "Gone")
    }
    ids = {name: json.loads(said)["id"] for name, said in ids.items()}

    def failed() -> dict[str, dict]:
        return {each["id"]: each for each in json.loads(one.run("failed", "list", "--json").stdout)}

    found = until(lambda: failed() if set(failed()) == set(ids.values()) else None, "the failures")
    blocks, lookup, gone = (found[ids[name]] for name in ("Blocks", "Lookup", "Gone"))

    assert (blocks["counts"]["timeouts"], blocks["counts"]["tries"]) == (1, 1)
    assert "JobTimeout" in blocks["record"]["error"]
    assert (lookup["counts"]["tries"], lookup["record"]["reason"]) == (3, "retry_on")
    assert [note["outcome"] for note in lookup["history"]] == ["retried", "retried", "failed"]
    assert (gone["counts"]["tries"], gone["record"]["reason"]) == (1, "fail")
