"""A real Prometheus (Debian's), in a folder of its own, on a free port."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.process.harness import until

Series = list[dict[str, Any]]
"""As the HTTP API has it: ``metric`` (labels), and ``value`` or ``values`` of [time, text]."""


class Prometheus:
    """A server that scrapes and evaluates rules each second.

    :param targets: address (host:port) of each instance.
    """

    def __init__(
        self, program: str, folder: Path, targets: Mapping[str, str], rules: Path | None = None
    ) -> None:
        self._log = folder / "prometheus.log"
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(_config(targets, rules)))
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        self.url = until(self._address, "Prometheus to listen")

    def _address(self) -> str | None:
        log = self._log.read_text()
        assert self._process.poll() is None, f"Prometheus ended:\n{log}"
        found = re.search(r'msg="Listening on" address=(127\.0\.0\.1:\d+)', log)
        return found and f"http://{found[1]}"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def query(self, expr: str) -> Series:
        """Return the value of an expression now."""
        found = self._get("query", query=expr)["result"]
        return found if isinstance(found, list) else []

    def query_range(self, expr: str, start: float, end: float, step: float) -> Series:
        """Return the values of an expression over time (seconds since the epoch)."""
        found: Series = self._get("query_range", query=expr, start=start, end=end, step=step)[
            "result"
        ]
        return found

    def label_values(self, label: str, metric: str) -> list[str]:
        """Return the values that a label of a metric has, as Grafana's variables ask for them."""
        found: list[str] = self._get(f"label/{label}/values", **{"match[]": metric})
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its health and its last error."""
        groups = self._get("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _get(self, path: str, **parameters: Any) -> Any:
        """Ask the HTTP API.

        :raises AssertionError: it refuses, with its words.
        """
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None


def _config(targets: Mapping[str, str], rules: Path | None) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [
            {
                "job_name": "queued",
                "static_configs": [
                    {"targets": [address], "labels": {"instance": name}}
                    for name, address in targets.items()
                ],
            }
        ],
    }
