"""Draw ``queued top``, ``queued status`` and the page of a real daemon under load, for the docs.

    python tools/cockpit_pictures.py [FOLDER]

A daemon runs a shop's jobs in a temporary folder: mails, thumbnails, an import that fails now and
then, reports that take too long for their two slots, and a worker that is killed. What the commands
write on a terminal becomes ``top.svg`` and ``status.svg`` in FOLDER (docs/images), and what
Chromium makes of the page becomes ``page.png``.
"""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from terminal_picture import picture  # noqa: E402 - it stands beside this file

from queued.daemon.master.control_client import ControlClient  # noqa: E402
from queued.errors import ControlError  # noqa: E402

CHROMIUM = shutil.which("chromium") or "chromium"
QUEUED = Path(sys.executable).with_name("queued")
COLUMNS, ROWS = 100, 26
PAGE = 1180, 920
"""Pixels of the page."""
LOAD = 75.0
"""Seconds of load: the figures of the last minute are about a whole one."""
HOME = "\x1b[H"
PROMPT = "\x1b[32m$\x1b[0m "

CONFIG = """
connection: sqlite:///queued.db
imports: [shop]
http: {listen: "127.0.0.1:0"}
defaults: {max_tries: 3, timeout: 60}
queues:
  payments: {processes: 2, concurrency: 10, max_wait: 5s}
  emails: {processes: 2, concurrency: 20}
  thumbnails: {concurrency: 4}
  imports: {concurrency: 5, retry_after: 5, max_failure_rate: 10%}
  reports: {processes: 2, concurrency: 1, max_wait: 20s}
"""
JOBS = """
import asyncio, random
from queued import Job

class Lasting(Job):
    async def handle(self):
        await asyncio.sleep(random.lognormvariate(0, 0.5) * self.seconds)

class ChargeCard(Lasting):
    queue, seconds = "payments", 0.08

class SendReceipt(Lasting):
    queue, seconds = "emails", 0.25

class MakeThumbnail(Lasting):
    queue, seconds = "thumbnails", 0.03

class ImportPrices(Lasting):
    queue, seconds = "imports", 0.4
    async def handle(self):
        await super().handle()
        if random.random() < 0.2:
            raise ConnectionError("the supplier does not answer")

class MonthlyReport(Lasting):
    queue, seconds = "reports", 9.0
"""
PRODUCER = """
import asyncio, random, shop
from queued import queue

KINDS = {
    "ChargeCard": 25, "SendReceipt": 40, "MakeThumbnail": 60, "ImportPrices": 4,
    "MonthlyReport": 0.4,
}

async def keep_dispatching(kind, rate):
    while True:
        await queue.push(getattr(shop, kind)())
        await asyncio.sleep(random.expovariate(rate))

async def main():
    await asyncio.gather(*(keep_dispatching(*one) for one in KINDS.items()))

asyncio.run(main())
"""


class Shop:
    """A daemon with its producers, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "queue.yaml").write_text(CONFIG)
        (folder / "shop.py").write_text(JOBS)
        (folder / "producer.py").write_text(PRODUCER)
        self.environment = os.environ | {"QUEUED_RUNTIME_DIR": str(folder / "run")}
        self.running = [self._start([QUEUED, "start"])]
        until(lambda: self.status().get("state") == "running")
        self.running.append(self._start([sys.executable, "producer.py"]))

    def _start(self, command: list[Any]) -> subprocess.Popen[bytes]:
        log = subprocess.DEVNULL
        return subprocess.Popen(  # noqa: S603 - our own commands
            command, cwd=self.folder, env=self.environment, stdout=log, stderr=log
        )

    def status(self) -> dict[str, Any]:
        try:
            return ControlClient(self.folder / "queue.yaml", self.environment).request("status")
        except ControlError:
            return {}

    def kill_a_worker(self, pool: str) -> None:
        os.kill(self.status()["pools"][pool]["workers"][0]["pid"], signal.SIGKILL)

    def show(self, command: str, ends: Callable[[str], bool], keys: bytes = b"") -> str:
        """Return what a command writes on a terminal until ``ends`` says that it is enough."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        process = subprocess.Popen(  # noqa: S603
            [QUEUED, *command.split()[1:]],
            cwd=self.folder,
            env=self.environment | {"TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
        )
        os.close(theirs)
        written = b""
        try:
            while not ends(written.decode(errors="ignore")):
                written += os.read(ours, 65_536)
        except OSError:  # its end
            pass
        if keys:
            os.write(ours, keys)
        process.wait()
        os.close(ours)
        return written.decode().replace("\r", "").replace(str(self.folder), "/srv/shop")

    def photograph_page(self, file: Path) -> None:
        """Have a browser write what it makes of the page at ``/``."""
        flags = "--headless --no-sandbox --disable-gpu --disable-background-networking"
        subprocess.run(  # noqa: S603
            [
                CHROMIUM,
                *flags.split(),
                "--no-first-run",
                f"--user-data-dir={self.folder}/profile",
                f"--window-size={PAGE[0]},{PAGE[1]}",
                f"--screenshot={file}",
                f"http://{self.status()['http']}/",
            ],
            check=True,
            capture_output=True,
        )

    def close(self) -> None:
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            process.wait()


def until(condition: Callable[[], Any]) -> None:
    while not condition():
        time.sleep(0.1)


def main() -> None:
    images = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "images"
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        try:
            time.sleep(LOAD)
            shop.kill_a_worker("emails")
            time.sleep(2.0)
            frames = shop.show("queued top", lambda text: text.count(HOME) > 2, b"q")  # noqa: PLR2004
            status = shop.show("queued status", lambda _: False)
            shop.photograph_page(images.resolve() / "page.png")
        finally:
            shop.close()
    whole = frames.split(HOME)[-2]
    (images / "top.svg").write_text(picture(whole, "queued top"))
    (images / "status.svg").write_text(picture(f"{PROMPT}queued status\n{status}", "queued status"))


if __name__ == "__main__":
    main()
