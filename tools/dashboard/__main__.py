"""Write grafana/queued.json."""

from __future__ import annotations

from pathlib import Path

from tools.dashboard import text

if __name__ == "__main__":
    (Path(__file__).parents[2] / "grafana" / "queued.json").write_text(text())
