"""What the guide's examples take for granted: mail, databases, alerts. Each call is noted down.

Copied beside the examples as ``app/world.py``; ``from app.world import anything`` gives a function.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ANSWERS: dict[str, Any] = {"fetch_order": {"total": 3}, "do_work": "42 rows"}


class Told:
    """An async function that notes how it was called."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.to_thread(_note, [self.name, *args, *kwargs.values()])
        return ANSWERS.get(self.name)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return Told(name)


def _note(call: list[Any]) -> None:
    with Path(os.environ["CALLS"]).open("a") as file:
        file.write(json.dumps(call, default=str) + "\n")


async def _execute(statement: str, values: tuple[Any, ...]) -> None:
    def run() -> None:
        with sqlite3.connect(os.environ["USERS"], timeout=60) as connection:
            connection.execute(statement, values)

    await asyncio.to_thread(run)
    await Told("execute")(*values)


db = SimpleNamespace(execute=_execute)
