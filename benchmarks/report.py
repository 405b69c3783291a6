"""What a run leaves: ``results/<date>.json``, a Markdown table and plots; and what it prints."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks import plots
from benchmarks.aims import verdicts
from benchmarks.results import TIMES, Results, number
from benchmarks.scenarios.base import Size
from benchmarks.systems import NAMES, QUEUED, QUEUED_SQLITE

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class About:
    """What a figure means nothing without."""

    at: str
    machine: str
    python: str
    server: str
    load: float
    """The machine's load when the run began."""
    versions: Mapping[str, str]
    size: Size

    @classmethod
    def of_machine(cls, server: str, versions: Mapping[str, str], size: Size) -> Self:
        now = dt.datetime.now().astimezone()
        return cls(
            now.strftime("%Y-%m-%d-%H%M%S"),
            f"{os.cpu_count()} {TIMES} {_processor()}, {_gibibytes()} GiB, {platform.system()} "
            f"{platform.release()}",
            platform.python_version(),
            server,
            round(os.getloadavg()[0], 1),
            versions,
            size,
        )


def write(results: Results, about: About, folder: Path) -> str:
    """Write all files of a run, and return what is printed at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(results, about)
    stem = folder / about.at
    stem.with_suffix(".json").write_text(json.dumps(as_json(results, about), indent=1) + "\n")
    stem.with_suffix(".md").write_text(text)
    written = [stem.with_suffix(".json"), stem.with_suffix(".md")]
    if importlib.util.find_spec("matplotlib"):
        written += plots.draw(results, stem)
    else:
        text += "\nNo plots: pip install -e '.[bench]'\n"
    return text + "\n" + "\n".join(f"wrote {path}" for path in written)


def as_json(results: Results, about: About) -> dict[str, Any]:
    """Return everything, with the raw values."""
    return {
        "about": dataclasses.asdict(about),
        "metrics": {
            name: {
                **dataclasses.asdict(metric),
                "systems": {
                    system: {
                        "values": values,
                        "median": results.median(name, system),
                        "queued_is_better_by": results.ratio(name, _ours(system), system),
                    }
                    for system, values in results.values[name].items()
                },
            }
            for name, metric in results.metrics.items()
        },
        "aims": [dataclasses.asdict(verdict) for verdict in verdicts(results)],
    }


def markdown(results: Results, about: About) -> str:
    """Return the tables: medians, ratios, aims."""
    size = about.size
    how = (
        f"{about.machine}; Python {about.python}; {about.server} without persistence, on loopback; "
        f"load {about.load} at the start. Medians of up to {size.rounds} interleaved rounds, with "
        f"the lowest and the highest value; {size.jobs:,} jobs a drain. In italics: how many times "
        "better queued is."
    )
    parts = [f"# Benchmarks of {about.at}", how]
    for ours in (QUEUED, QUEUED_SQLITE):
        columns = [name for name in results.systems() if _ours(name) == ours.name]
        if columns:
            parts.append(_medians(results, about, columns))
    told = verdicts(results)
    if told:
        rows = [
            [one.metric, one.aim, one.found, "reached" if one.reached else "**not reached**"]
            for one in told
        ]
        parts += ["## Aims", _table(["metric", "aim", "found", ""], rows)]
    return "\n\n".join(parts) + "\n"


def _medians(results: Results, about: About, systems: Sequence[str]) -> str:
    """Return a table of the systems of one back-end: a row for each metric."""
    rows = [["guarantee", *(NAMES.get(name, QUEUED).guarantee for name in systems)]]
    for metric in results.metrics.values():
        cells = [_cell(results, metric.name, name) for name in systems]
        if any(cells):
            rows.append([f"{metric.title}, {metric.unit}", *cells])
    return _table(["", *(f"{name} {about.versions.get(name, '')}" for name in systems)], rows)


def _cell(results: Results, metric: str, system: str) -> str:
    values = results.values[metric].get(system)
    if not values:
        return ""
    text = number(statistics.median(values))
    if len(values) > 1:
        text += f" ({number(min(values))} to {number(max(values))})"
    ratio = results.ratio(metric, _ours(system), system)
    return text if ratio is None or system == _ours(system) else f"{text} *{number(ratio)}{TIMES}*"


def _ours(system: str) -> str:
    """Return which of queued's names a system is compared with."""
    sqlite = system in NAMES and NAMES[system].backend == "sqlite"
    return QUEUED_SQLITE.name if sqlite or system == QUEUED_SQLITE.name else QUEUED.name


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _gibibytes() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
