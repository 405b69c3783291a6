"""The Job classes of this process by wire name: the only way from a payload to code."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from queued.errors import JobDefinitionError, UnknownJob
from queued.jobs.text import nearest, one_line

if TYPE_CHECKING:
    from queued.jobs.job import Job

DEFAULT_QUEUE = "default"
"""Where the jobs go of a class that names no queue."""
SCRIPTS = ("__main__", "__mp_main__")
"""The names of a module that is run: no worker finds a class by them."""

_classes: dict[str, type[Job]] = {}


def register(cls: type[Job]) -> None:
    """Make a class known under its wire name. A reload of its module replaces it.

    :raises JobDefinitionError: another class has that name.
    """
    name = cls.__queued__.name
    known = _classes.get(name)
    if known is not None and not _same_source(known, cls):
        raise JobDefinitionError(
            f'{cls.__module__}.{cls.__qualname__}: the name "{name}" is taken by'
            f" {known.__module__}.{known.__qualname__}; give one of them another"
        )
    _classes[name] = cls


def lookup(name: str) -> type[Job]:
    """Return the class of that wire name. Nothing is ever imported for it.

    :raises UnknownJob: there is none.
    """
    cls = _classes.get(name)
    if cls is None:
        shown = one_line(name, 200)
        raise UnknownJob(f'no job is registered as "{shown}"{_hint(shown, len(_classes))}')
    return cls


def registered() -> dict[str, type[Job]]:
    """Return all known classes by wire name."""
    return dict(_classes)


def of_queue(queue: str) -> list[str]:
    """Return the wire names of the classes whose jobs go to a queue, unless told otherwise."""
    return [name for name, cls in _classes.items() if (cls.queue or DEFAULT_QUEUE) == queue]


@lru_cache(maxsize=100)
def _hint(shown: str, _classes_known: int) -> str:
    """Suggest a name; remembered, since it takes milliseconds and jobs of one lost class abound."""
    return nearest(shown, _classes) or "; is its module in imports?"


def _same_source(known: type[Job], cls: type[Job]) -> bool:
    # A file can be loaded twice, under its own name and as the script that runs.
    modules = {known.__module__, cls.__module__}
    return known.__qualname__ == cls.__qualname__ and (
        len(modules) == 1 or not modules.isdisjoint(SCRIPTS)
    )
