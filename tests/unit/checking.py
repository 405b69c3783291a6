"""Job classes as ``queued check`` sees them: written to a file, imported, reviewed."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queued.jobs import registry
from queued.jobs.checks.review import Review, review
from queued.jobs.checks.rule import Finding
from queued.jobs.checks.subject import PoolTimeout

POOL = PoolTimeout(60.0, "defaults.timeout")
HEAD = "from queued import Job, dispatch, queue\n"
_numbers = itertools.count()

Checker = Callable[..., Review]


def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checker]:
    """Yield what reviews the jobs of a source; each source is a module of its own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_classes", {})
    names = []

    def check(source: str, pool: PoolTimeout = POOL, *, head: str = HEAD) -> Review:
        names.append(f"checked{next(_numbers)}")
        (tmp_path / f"{names[-1]}.py").write_text(head + textwrap.dedent(source))
        importlib.invalidate_caches()
        importlib.import_module(names[-1])
        found = {n: cls for n, cls in registry.registered().items() if cls.__module__ == names[-1]}
        return review(found, dict.fromkeys(found, pool))

    yield check
    for name in names:
        sys.modules.pop(name, None)


def rules(found: Review) -> set[str]:
    """Return the names of the rules that are broken."""
    return {one.rule for one in found.findings()}


def of(found: Review, rule: str) -> list[Finding]:
    """Return what a rule has found."""
    return [one for one in found.findings() if one.rule == rule]
