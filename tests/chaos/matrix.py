"""The fault matrix: every fault that queued must survive, by number.

A test that proves a row carries ``@pytest.mark.fault(row, ...)``; ``test_matrix.py`` holds that no
row is without one, and ``docs/guarantees.md`` names them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]

FAULTS = {
    1: "a worker is killed",
    2: "a job kills its worker every time",
    3: "the master is killed",
    4: "the master stands still",
    5: "a worker stands still beyond its lease, then goes on",
    6: "a job makes its worker crash (a segmentation fault)",
    7: "a job ends its process with os._exit(0)",
    8: "a job raises SystemExit or KeyboardInterrupt",
    9: "a job blocks the event loop",
    10: "a job holds the GIL in C",
    11: "a job swallows its cancellation",
    12: "a job leaks memory",
    13: "a job forks a process that outlives the worker",
    14: "a job closes every descriptor",
    15: "an import starts threads before the fork",
    16: "a thousand workers end quickly",
    17: "the user's code cannot be imported",
    18: "a worker dies after two seconds, again and again",
    19: "SIGTERM during the start",
    20: "SIGTERM twice",
    21: "a job outlives the grace of a stop",
    22: "a reload with a broken file",
    23: "a reload that shrinks a pool",
    24: "the HTTP port is taken",
    25: "the Redis server is killed",
    26: "power loss cuts off the end of Redis' file",
    27: "the Redis server restarts under load",
    28: "Redis is out of memory",
    29: "Redis has become a read-only replica",
    30: "Redis is busy with a script",
    31: "Redis has forgotten our scripts",
    32: "the connection is reset in the middle of a script",
    33: "the Redis server stands still beyond the lease",
    34: "Redis cannot write its disk",
    35: "the clock is an hour off, or jumps",
    36: "thousands of jobs are due at once",
    37: "a million jobs wait",
    38: "two hundred workers wait for one job",
    39: "a payload of 50 MB",
    40: "a payload of garbage, or of an unknown class",
    41: "an exception that cannot be pickled or printed",
    42: "failed() raises, hangs or kills its worker",
    43: "the SQLite file cannot grow",
    44: "the SQLite file is locked",
    45: "PostgreSQL restarts, or ends a connection in a commit",
    46: "the connection that listens to PostgreSQL dies",
    47: "Redis fails over to a replica",
    48: "a second master on the same host",
}


class Proof(NamedTuple):
    """A test that is marked with a row."""

    row: int
    path: str
    """From the repository's root."""
    test: str


def proofs() -> Iterator[Proof]:
    """Find every mark in the tests' own source, so that no test needs to be run for it."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for row in _rows(node):
                    yield Proof(row, str(path.relative_to(TESTS.parent)), node.name)


def _rows(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
            yield from (ast.literal_eval(row) for row in mark.args)
