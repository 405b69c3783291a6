"""The committed alert rules, in a hurry: minutes become seconds, and nothing else changes.

A test cannot wait ten minutes for ``[10m]`` and five for ``for: 5m``. Thresholds, comparisons,
matchers, labels and annotations stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path

RULES = Path(__file__).parents[2] / "grafana" / "alerts.yml"

_MINUTES = re.compile(r"(?<=\[)(\d+)m(?=\])|(?<=for: )(\d+)m$", re.MULTILINE)


def hasty(text: str) -> str:
    """Return rules whose windows (``[10m]``) and patience (``for: 5m``) are in seconds."""
    return _MINUTES.sub(lambda found: f"{found[1] or found[2]}s", text)
