"""The dossier of a run that ended with its worker: plain values, and stacks as text.

    ending       "was killed by SIGSEGV": the rest of a sentence about the worker
    worker, host, pid, run
    reason       why the worker ended, as ``worker_exits_total`` counts it
    signal, exit_code
    oom          the kernel killed it for memory
    peak_memory  bytes that were resident at most; memory_limit: what its control group may use
    ran, lived   seconds of the job and of the worker
    overran      ids of the jobs past their deadline, if it was killed for them
    stack        blocks with an empty line between them, each as faulthandler writes a thread
    log          the worker's last lines

A job that fails by it has all of that in its record. A job that runs again has it in brief, in the
note of that run. What is not known is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

BRIEF_FRAMES = 15
MAX_BRIEF = 2 * 1024
"""Frames and characters of a stack that is kept for each run."""

_IN_BRIEF = (
    "ending", "host", "pid", "reason", "signal", "exit_code", "oom", "peak_memory", "ran"
)  # fmt: skip


def in_brief(dossier: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the note of a run has room for."""
    kept = {name: dossier[name] for name in _IN_BRIEF if name in dossier}
    if stack := dossier.get("stack"):
        kept["stack"] = _first_block(stack)
    return kept


def in_order(blocks: Iterable[str]) -> list[str]:
    """Return the blocks of a dump: what it died of, the thread that did, the others."""
    return sorted(blocks, key=_rank)


def own_first(stack: str, job_id: str) -> str:
    """Return a stack with the block of a job first, if it has one."""
    own = f"Job {job_id} "
    return "\n\n".join(sorted(stack.split("\n\n"), key=lambda block: not block.startswith(own)))


def _rank(block: str) -> int:
    if block.startswith("Fatal Python error"):
        return 0
    if block.startswith("Current thread"):
        return 1
    return 3 if block.startswith("Extension modules") else 2


def _first_block(stack: str) -> str:
    head, *others = stack.split("\n\n")
    lines = [head, *others[0].splitlines()] if _rank(head) == 0 and others else head.splitlines()
    text = "\n".join(lines[: BRIEF_FRAMES + 2])
    return text if len(text) <= MAX_BRIEF else text[: MAX_BRIEF - 2] + "\n…"
