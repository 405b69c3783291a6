"""What Prometheus looks at: a shop's daemons on a bad day, with the cause of every alert.

``shop`` has a queue for each trouble; ``mine`` is another host on the same back-end, that is lost
while it holds jobs; ``outpost`` has a back-end of its own, that is killed.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.chaos.hasty import HastyDaemon
from tests.contract.servers import Server, start_valkey
from tests.grafana.prometheus import Prometheus
from tests.process.harness import Daemon, until

WORK = (Path(__file__).parent / "work.py").read_text()

SHOP = """
connection: BACK_END
imports: [work]
http: {listen: "127.0.0.1:0"}
defaults: {sleep: 1, kill_grace: 1, timeout: 30}
queues:
  critical: {concurrency: 20, max_wait: 5s}
  emails: {concurrency: 5, max_wait: 30s, max_failure_rate: 10%}
  reports: {concurrency: 2, max_wait: 10m}
  images: {concurrency: 2}
  webhooks: {concurrency: 5}
  stock: {concurrency: 1}
  feeds: {processes: 0, max_wait: 1s}
  archive: {max_memory: 1MiB} # below what an idle worker needs: replaced, then given up
  mining: {processes: 0} # the other host's
  customers: {timeout: none}
"""

MINE = """
connection: BACK_END
imports: [work]
http: {listen: "127.0.0.1:0"}
queues: {mining: {timeout: 2h}}
"""

OUTPOST = """
connection: BACK_END
imports: [work]
http: {listen: "127.0.0.1:0"}
queues: {critical: {}}
"""


class Scene:
    """The daemons and their Prometheus; ``open`` starts everything, ``close`` leaves nothing.

    :param program: the path of Prometheus.
    :param rules: the file with the alert rules.
    """

    def __init__(self, program: str, folder: Path, rules: Path) -> None:
        self._program, self._folder, self._rules = program, folder, rules
        shared = f"sqlite:///{folder}/shop.db"
        self.shop = self._daemon("shop", SHOP, shared)
        self.mine = self._daemon("mine", MINE, shared)
        self._server: Server | None = None
        self._outpost: Daemon | None = None
        self.prometheus: Prometheus

    def _daemon(self, name: str, config: str, url: str) -> Daemon:
        folder = self._folder / name
        folder.mkdir()
        return HastyDaemon(folder, config.replace("BACK_END", url), jobs=WORK)

    def open(self) -> None:
        server = self._folder / "valkey"
        server.mkdir()
        self._server = start_valkey(server)
        self._outpost = self._daemon("outpost", OUTPOST, self._server.url)
        daemons = {"shop": self.shop, "mine": self.mine, "outpost": self._outpost}
        for daemon in daemons.values():
            daemon.start(ready=False)
        for name, daemon in daemons.items():
            until(lambda daemon=daemon: daemon.get("/healthz")[0] == 200, f"{name} to answer")
        targets = {name: daemon.address.removeprefix("http://") for name, daemon in daemons.items()}
        self.prometheus = Prometheus(self._program, self._folder, targets, self._rules)
        self.shop.run("dispatch", "shop.Customers", "{}")

    def break_everything(self) -> None:
        """Lose the host that mines, and kill the back-end of the outpost; the rest is broken."""
        until(
            lambda: self.prometheus.query(
                'queued_queue_jobs{queue="mining",state="reserved"} == 3'
            ),
            "the mine to hold its jobs",
        )
        for pid in self.mine.processes():
            os.kill(pid, signal.SIGKILL)
        assert self._server
        self._server.kill()

    def close(self) -> None:
        if hasattr(self, "prometheus"):
            self.prometheus.stop()
        for daemon in (self.shop, self.mine, self._outpost):
            if daemon:
                daemon.clean_up()
        if self._server:
            self._server.kill()
