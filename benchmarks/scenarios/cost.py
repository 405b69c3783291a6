"""What an idle worker costs: memory of its whole tree, commands, processor time; and an import."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence

from benchmarks.processes import descendants, memory, processor_seconds
from benchmarks.results import Metric
from benchmarks.scenarios.base import CONCURRENCY, Scenario, Size
from benchmarks.scenarios.commands import monitored
from benchmarks.stage import Failed, Stage, Worker

WARM = 100
SETTLED = 1.0
"""Seconds from the last job to the first look."""
MANY = 20
"""Workers whose memory is shared out."""
IMPORTS = 5


def _cost(stage: Stage, size: Size) -> Mapping[str, float]:
    values = {"import": _import_time(stage)}
    with stage.worker(1, CONCURRENCY) as worker:
        _warm(stage, worker, WARM)
        tree = [worker.process.pid, *descendants(worker.process.pid)]
        used = memory(tree)
        values |= {"rss": used.rss, "pss": used.pss, "uss": used.uss}
        if not stage.system.peer:
            values["worker-uss"] = memory(_worker_pids(stage)).uss
        values["idle-commands"], values["idle-cpu"] = _idle(stage, tree, size.idle)
    if not stage.system.peer:
        values |= _shared(stage.again(), size)
    return values


def _shared(stage: Stage, size: Size) -> Mapping[str, float]:
    """Return what each of many workers costs, which have all run jobs."""
    with stage.worker(MANY, CONCURRENCY) as worker:
        _warm(stage, worker, WARM * MANY)
        pids = _worker_pids(stage)
        shared = memory(pids).pss / MANY
        commands, busy = _idle(stage, pids, size.idle)
    return {
        "worker-pss-20": shared,
        "worker-idle-commands": commands / MANY,
        "worker-idle-cpu": busy / MANY,
    }


def _warm(stage: Stage, worker: Worker, jobs: int) -> None:
    stage.enqueue("noop", jobs)
    worker.until_done(jobs)
    time.sleep(SETTLED)


def _idle(stage: Stage, pids: Sequence[int], seconds: float) -> tuple[float, float]:
    """Return commands a second that clients send, and the percentage of a core that is used."""
    busy, began = processor_seconds(pids), time.monotonic()
    with monitored(stage.server) as counted:
        time.sleep(seconds)
    passed = time.monotonic() - began
    return counted.sent / passed, 100 * (processor_seconds(pids) - busy) / passed


def _worker_pids(stage: Stage) -> Sequence[int]:
    """Ask the daemon which of its processes are workers."""
    queued = stage.python.with_name("queued")
    answer = subprocess.run(
        [queued, "status", "--json", "-c", stage.folder / "queue.yaml"],
        env=stage.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise Failed(f"queued status: {answer.stderr}")
    pools = json.loads(answer.stdout)["pools"].values()
    return [worker["pid"] for pool in pools for worker in pool["workers"]]


def _import_time(stage: Stage) -> float:
    """Return the milliseconds that a producer's import takes, beyond those of Python."""
    return 1000 * (_fastest(stage, f"import {stage.system.imports}") - _fastest(stage, "pass"))


def _fastest(stage: Stage, program: str) -> float:
    times = []
    for _ in range(IMPORTS):
        began = time.perf_counter()
        subprocess.run(
            [stage.python, "-c", program], check=True, cwd=stage.folder, env=_bare(stage)
        )
        times.append(time.perf_counter() - began)
    return min(times)


def _bare(stage: Stage) -> dict[str, str]:
    return {name: text for name, text in stage.environment.items() if name != "PYTHONPATH"}


COST = Scenario(
    "cost",
    "one idle worker with everything that belongs to it, and an import",
    [
        Metric("rss", "RSS of the tree", "MB", lower=True),
        Metric("pss", "PSS of the tree", "MB", lower=True),
        Metric("uss", "USS of the tree", "MB", lower=True),
        Metric("worker-uss", "USS of a worker", "MB", lower=True),
        Metric("worker-pss-20", "PSS of each of 20 workers", "MB", lower=True),
        Metric("idle-commands", "commands when idle", "1/s", lower=True),
        Metric("idle-cpu", "processor when idle", "% of a core", lower=True),
        Metric("worker-idle-commands", "commands of each of 20 idle workers", "1/s", lower=True),
        Metric("worker-idle-cpu", "processor of each of 20 idle ones", "% of a core", lower=True),
        Metric("import", "import", "ms", lower=True),
    ],
    lambda system: system.backend == "redis",
    _cost,
    rounds=1,
)
