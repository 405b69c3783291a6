"""Encrypted and signed jobs on a running daemon: every output is looked through for a field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx

from queued.policy import generate_key
from tests.process.harness import Daemon, until

CARD = "4111-s3cr3t-1111"
JOBS = """
import faulthandler, logging, os, signal
from queued import Job
import structlog

class Pay(Job):
    encrypt = True
    max_tries = 1
    card: str
    how: str = "raise"

    def handle(self):
        structlog.get_logger().info("paying", card=self.card, job=self)
        logging.getLogger("app").warning("with %s", self.card)
        if self.how == "raise":
            raise RuntimeError(f"refused: {self.card}")
        if self.how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)

    def failed(self, exception):
        raise LookupError(self.card)
"""
CONFIG = """
imports: [work]
http: {listen: "127.0.0.1:0"}
log: {level: debug, jobs: all}
encryption: {keys_file: enc-keys}
signing: {keys_file: sign-keys}
queues:
  default: {sleep: 0.2}
"""


def test_no_output_shows_a_field_and_no_stranger_enqueues(daemon: Callable[..., Daemon]) -> None:
    one = daemon(CONFIG, jobs=JOBS)
    encryption, signing = generate_key(), generate_key()
    (one.folder / "enc-keys").write_text(f"# the only one\n{encryption}\n")
    (one.folder / "sign-keys").write_text(signing)
    one.start()
    said: dict[str, str | bytes] = {}

    def run(*arguments: str) -> str:
        done = one.run(*arguments, check=False)
        said[" ".join(arguments)] = done.stdout + done.stderr
        return done.stdout

    def dispatch(how: str) -> str:
        fields = json.dumps({"card": CARD, "how": how})
        return str(json.loads(one.run("dispatch", "work.Pay", fields, "--json").stdout)["id"])

    ids = [dispatch("raise"), dispatch("crash")]
    forged = "forged-1"
    stranger = one.run(
        *("dispatch", "work.Pay", '{"card": "x"}', "--id", forged, "-c", plain_config(one)),
        check=False,
    )
    assert stranger.returncode == 0, stranger.stderr

    def failed() -> dict[str, dict]:
        found = json.loads(one.run("failed", "list", "--json").stdout)
        return {each["id"]: each for each in found}

    found = until(lambda: failed() if {*ids, forged} <= failed().keys() else None, "the failures")
    assert found[forged]["record"]["reason"] == "bad_signature"
    assert found[forged]["counts"]["tries"] == 0
    assert "LookupError" in until(
        lambda: one.output() if "hook.failed" in one.output() else "", "the hooks"
    )
    for job_id in (*ids, forged):
        for command in (("job", job_id), ("failed", "show", job_id), ("why", job_id)):
            run(*command)
            run(*command, "--json")
    for command in ("status", "status --json", "failed list", "failed list --json", "check"):
        run(*command.split())
    assert "(encrypted, " in said[f"job {ids[0]}"]
    assert "dossier" in said[f"failed show {ids[1]} --json"]
    said |= pages_and_titles(one)
    assert one.stop() == 0
    said["the log"] = one.output()
    said |= {file.name: file.read_bytes() for file in one.folder.glob("queued.db*")}

    assert "paying" in one.output()
    assert_hidden(said, CARD, "s3cr3t", encryption, signing)


def pages_and_titles(one: Daemon) -> dict[str, str | bytes]:
    paths = ("/", "/metrics", "/readyz")
    pages = {path: httpx.get(one.address + path, timeout=10).text for path in paths}
    titles = {str(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in one.processes()}
    return pages | titles


def assert_hidden(said: dict[str, str | bytes], *secrets: str) -> None:
    for secret in secrets:
        for what, text in said.items():
            shown = text if isinstance(text, bytes) else text.encode()
            assert secret.encode() not in shown, what


def plain_config(one: Daemon) -> str:
    """Return a queue.yaml of someone who can write to the back-end, and has no key for signing."""
    path = one.folder / "stranger.yaml"
    path.write_text(CONFIG.replace("signing: {keys_file: sign-keys}\n", ""))
    return str(path)
