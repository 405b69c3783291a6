"""queue.yaml in, a ``Config`` out, or a ``ConfigError`` with every problem and its line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from queued.config.checks import contradictions, warnings
from queued.config.connection import resolve
from queued.config.document import Document, build
from queued.config.messages import problems_of
from queued.config.problems import KeyPath, Problem, format_path
from queued.config.schema import Config, QueueConfig
from queued.config.source import compose
from queued.config.trust import doubts
from queued.errors import ConfigError
from queued.jobs.text import one_line
from queued.policy import KINDS, KeysFile, Policy, keys, size_from

MOST_PROBLEMS = 100
"""Lines; who has more begins with these."""


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration, and where it came from."""

    config: Config
    """Every queue concrete; ``connection`` is the back-end in use, its path absolute."""
    path: Path
    """Absolute."""
    connection_source: str
    """What named the back-end: a flag, a variable, the file, or the default."""
    policy: Policy = field(default_factory=Policy)
    """What holds for payloads; the environment's word wins over the file's keys."""
    warnings: tuple[str, ...] = ()
    """One line each, as errors are: ``queue.yaml:3: queues.emails.timeout: ...``."""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    """The line of each key in the file."""

    @property
    def folder(self) -> Path:
        """Where ``imports`` and relative paths start."""
        return self.path.parent


def load(
    path: Path, environ: Mapping[str, str] | None = None, *, connection: str | None = None
) -> LoadedConfig:
    """Read queue.yaml.

    The back-end is ``connection`` (a flag), else QUEUE_CONNECTION, else what the file says, else
    ``queued.db`` beside it. Root takes no file that others could change.

    :raises ConfigError: with one line for every problem.
    """
    environ = os.environ if environ is None else environ
    path = path.absolute()
    name = _short(path)
    document = build(compose(path, name), environ, path.parent)
    problems = list(document.problems)
    given = _validated(document.tree, problems)
    url, source, elsewhere = _connection(document.tree, path, environ, connection, problems)
    config = None
    if given is not None:
        config = _merged(given).model_copy(update={"connection": url})
        problems += _without_echoes(contradictions(config), problems)
    policy, doubtful = _policy(config, path, environ)
    elsewhere += (*doubtful, *doubts(path, given.user if given else None))
    if problems or elsewhere or given is None or config is None:
        raise ConfigError([*_lines(problems, document, name), *elsewhere])
    noticed = _lines(warnings(config, given), document, name)
    return LoadedConfig(config, path, source, policy, tuple(noticed), document.lines)


def _policy(
    config: Config | None, path: Path, environ: Mapping[str, str]
) -> tuple[Policy, list[str]]:
    """Return what holds for payloads, and what is wrong with that."""
    if config is None:
        return Policy(), []
    problems: list[str] = []
    found: dict[str, tuple[str, ...]] = {}
    for kind in KINDS:
        named = getattr(config, kind).keys_file
        where = f"{_short(path)}: {kind}.keys_file"
        file = KeysFile(named, path.parent, where) if named else None
        try:
            found[kind] = keys(kind, environ, Path.cwd(), file)
        except ConfigError as error:
            problems += error.problems
    try:
        size = config.defaults.max_payload or size_from(environ)
    except ConfigError as error:
        return Policy(), [*problems, *error.problems]
    limits = {name: one.max_payload for name, one in config.queues.items() if one.max_payload}
    return Policy(**found, max_payload=size, by_queue=limits), problems


def _validated(tree: dict[str, Any], problems: list[Problem]) -> Config | None:
    """Add the problems of ``tree``; return what is left of it without them, if that is enough."""
    tree = {key: value for key, value in tree.items() if not key.startswith("x-")}
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        found = problems_of(error)
    problems += [one for one in found if not any(_is_within(p.path, one.path) for p in problems)]
    try:
        return Config.model_validate(_pruned(tree, {_named(one.path) for one in found}))
    except ValidationError:
        return None


def _pruned(tree: Any, paths: Iterable[KeyPath], here: KeyPath = ()) -> Any:
    if isinstance(tree, dict):
        children = {key: _pruned(value, paths, (*here, key)) for key, value in tree.items()}
        return {key: value for key, value in children.items() if (*here, key) not in paths}
    return tree


def _named(path: KeyPath) -> KeyPath:
    """Return the path up to the first list: an item of it cannot be left out by itself."""
    return tuple(takewhile(lambda part: isinstance(part, str), path))


def _is_within(path: KeyPath, other: KeyPath) -> bool:
    return path[: len(other)] == other


def _without_echoes(found: Iterable[Problem], known: list[Problem]) -> list[Problem]:
    """Leave out what may only follow from a value that was wrong and is missing now."""
    broken = {problem.path[:1] for problem in known}
    return [problem for problem in found if problem.path[:1] not in broken]


def _connection(
    tree: dict[str, Any],
    path: Path,
    environ: Mapping[str, str],
    flag: str | None,
    problems: list[Problem],
) -> tuple[str, str, tuple[str, ...]]:
    """Return the URL, what named it, and the problems that are not the file's."""
    in_file = tree.get("connection")
    if not isinstance(in_file, str):
        in_file = None
    try:
        url, source = resolve(in_file, path, environ, flag)
    except ConfigError as error:
        if flag or environ.get("QUEUE_CONNECTION"):
            return "", "", error.problems
        problems += [Problem(("connection",), text) for text in error.problems]
        return "", "", ()
    return url, source, ()


def _merged(given: Config) -> Config:
    """Return ``given`` with ``defaults`` merged into each queue."""
    queues = {name: _with_defaults(queue, given.defaults) for name, queue in given.queues.items()}
    return given.model_copy(update={"queues": queues})


def _with_defaults(queue: QueueConfig, defaults: QueueConfig) -> QueueConfig:
    own = {name: getattr(queue, name) for name in queue.model_fields_set}
    if "retry_after" in own and "backoff" not in own:
        own["backoff"] = None  # or the backoff of defaults would win over the queue's own word
    if "env" in own:
        own["env"] = defaults.env | own["env"]
    return defaults.model_copy(update=own)


def _lines(problems: Iterable[Problem], document: Document, name: str) -> list[str]:
    """Return the problems as text, in the order of the file, each once."""
    numbered = [(one.line or document.line(one.path) or 1, one) for one in problems]
    numbered.sort(key=lambda pair: pair[0])
    lines = [
        f"{name}:{line}: "
        + one_line(f"{format_path(one.path)}{': ' * bool(one.path)}{one.message}")
        for line, one in numbered
    ]
    return list(dict.fromkeys(lines))


def _short(path: Path) -> str:
    """Return how people would call ``path`` from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
