"""What ``queued check`` finds: in queue.yaml, the imports, the jobs, and where they meet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from queued.cli.options import load_config
from queued.errors import ConfigError, ImportFailed
from queued.jobs.checks.rule import Finding, Level

if TYPE_CHECKING:
    from queued.config.load import LoadedConfig
    from queued.config.schema import QueueConfig
    from queued.jobs.checks.review import Row
    from queued.jobs.checks.subject import PoolTimeout
    from queued.jobs.job import Job

UNSERVED_QUEUE = "unserved-queue"
IDLE_POOL = "idle-pool"
NO_HANDLE = "no-handle"

_PLACE = re.compile(r"(?P<file>[^\n]+?):(?P<line>\d+): (?P<text>.*)")


@dataclass
class Checklist:
    """All that was found."""

    problems: list[Finding] = field(default_factory=list)
    """What keeps the daemon from working."""
    warnings: list[Finding] = field(default_factory=list)
    """What is doubtful in queue.yaml, in the imports and where they meet."""
    queues: list[str] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    """Of each job: ``name, queue, max_tries, timeout``."""
    rows: list[Row] = field(default_factory=list)
    """What the rules say of each job."""
    practices: list[Finding] = field(default_factory=list)
    """What of that is to be done, each thing once, though several classes may inherit it."""

    def at(self, level: Level) -> list[Finding]:
        """Return all findings of a level."""
        every = [*self.problems, *self.warnings, *self.practices]
        return [one for one in every if one.level is level]


def collect(config: Path, connection: str | None, *, practices: bool = True) -> Checklist:
    """Load the configuration and the jobs, and apply every rule.

    :param practices: whether to apply the rules on job classes.
    """
    found = Checklist()
    try:
        loaded = load_config(config, connection)
    except ConfigError as error:
        found.problems = [_told(text, Level.ERROR) for text in error.problems]
        return found
    found.queues = list(loaded.config.queues)
    found.warnings = [_told(text, Level.WARNING) for text in loaded.warnings]
    _add_jobs(found, loaded, practices=practices)
    return found


def _add_jobs(found: Checklist, loaded: LoadedConfig, *, practices: bool) -> None:
    from queued.cli.check.schedules import (  # noqa: PLC0415 - as below
        schedule_problems,
        schedule_warnings,
    )
    from queued.cli.check.systemd import stop_timeouts  # noqa: PLC0415 - only if the file is right
    from queued.jobs import imports, registry  # noqa: PLC0415 - as above
    from queued.jobs.checks.review import review  # noqa: PLC0415 - as above

    try:
        noticed = imports.load(loaded.config.code, loaded.folder)
        found.warnings += [_told(text.strip(), Level.WARNING) for text in noticed]
    except ImportFailed as error:
        lines = str(error).splitlines()
        found.problems = [_of_import(text, loaded) for text in lines]
    classes = dict(sorted(registry.registered().items()))
    found.settings = [{"name": name, **_settings(cls, loaded)} for name, cls in classes.items()]
    if not found.problems:
        found.problems += schedule_problems(loaded)
        found.warnings += schedule_warnings(loaded)
        found.warnings += _mismatches(found, loaded)
        found.warnings += _without_handle(classes)
    found.warnings += stop_timeouts(loaded)
    if practices:
        timeouts = {name: _pool_timeout(cls, loaded) for name, cls in classes.items()}
        reviewed = review(classes, timeouts)
        found.rows, found.practices = reviewed.rows, reviewed.findings()
        # the row of a class says what its import has said, too
        said = {one.reason for one in found.at(Level.ERROR) if one.fix}
        found.problems = [one for one in found.problems if one.reason not in said]


def _told(text: str, level: Level, folder: Path | None = None) -> Finding:
    """Return what a message says as a finding: ``queue.yaml:3: ...``."""
    match = _PLACE.fullmatch(text)
    if match is None:
        return Finding("config", level, "", text)
    file = match["file"] if folder is None else str(folder / match["file"])
    return Finding("config", level, "", match["text"], file=file, line=int(match["line"]))


def _of_import(text: str, loaded: LoadedConfig) -> Finding:
    """Return what a failed import says; without a place of its own it is queue.yaml's."""
    found = _told(text, Level.ERROR, loaded.folder)
    if found.file is not None:
        return found
    named = text.split('"')[1] if '"' in text else text.partition(":")[0]
    imports = [f"{one}." for one in loaded.config.imports]
    key = "imports" if any(one.startswith(f"{named}.") for one in imports) else "tracing"
    line = loaded.lines.get((key,))
    return replace(found, reason=f"{key}: {text}", file=str(loaded.path), line=line)


def _settings(cls: type[Job], loaded: LoadedConfig) -> dict[str, Any]:
    """Return what holds for a class on the queue that it goes to."""
    from queued.jobs.limits import PoolLimits, resolve  # noqa: PLC0415 - see _add_jobs

    pool = _pool(cls, loaded)
    level = PoolLimits(pool.max_tries, pool.timeout, pool.retry_after, pool.backoff)
    limits = resolve(cls, level)
    return {"queue": _queue(cls), "max_tries": limits.max_tries, "timeout": limits.timeout}


def _queue(cls: type[Job]) -> str:
    from queued.jobs.registry import DEFAULT_QUEUE  # noqa: PLC0415 - see _add_jobs

    return cls.queue or DEFAULT_QUEUE


def _pool(cls: type[Job], loaded: LoadedConfig) -> QueueConfig:
    return loaded.config.queues.get(_queue(cls), loaded.config.defaults)


def _pool_timeout(cls: type[Job], loaded: LoadedConfig) -> PoolTimeout:
    from queued.jobs.checks.subject import PoolTimeout  # noqa: PLC0415 - see _add_jobs

    pool = _pool(cls, loaded)
    source = None
    if "timeout" in pool.model_fields_set:
        own = ("queues", _queue(cls), "timeout")
        source = f"queues.{_queue(cls)}.timeout" if own in loaded.lines else "defaults.timeout"
    return PoolTimeout(pool.timeout or None, source)


def _without_handle(classes: Mapping[str, type[Job]]) -> Iterator[Finding]:
    """Yield the classes that do nothing, and are no base of others that do."""
    from queued.jobs.checks.subject import PoolTimeout, Subject  # noqa: PLC0415 - see _add_jobs
    from queued.jobs.job import Job  # noqa: PLC0415 - see _add_jobs

    for name, cls in classes.items():
        if cls.handle is Job.handle and not cls.__subclasses__():
            reason = f"{name} has no handle(): each of its runs fails with NotImplementedError"
            module, line, _ = Subject(cls, PoolTimeout(None, None)).place
            file = module.file if module else None
            yield Finding(NO_HANDLE, Level.WARNING, "", reason, file=file, line=line)


def _mismatches(found: Checklist, loaded: LoadedConfig) -> Iterator[Finding]:
    """Yield the queues that no pool serves, and the pools without a job."""
    jobs: dict[str, list[str]] = {}
    for one in found.settings:
        jobs.setdefault(one["queue"], []).append(one["name"])
    ignored = _Ignores(loaded)
    for queue in sorted(jobs.keys() - set(found.queues)):
        first, *others = jobs[queue]
        more = f" and {len(others)} more" if others else ""
        reason = f"no pool serves the queue {queue}: {first}{more} would wait for ever"
        fix = f"add {queue}: to queues, or correct queue = in the class"
        yield ignored.finding(UNSERVED_QUEUE, "5", reason, fix, ("queues",))
    scheduled = {one.queue for one in loaded.config.schedule.values()}
    for queue in found.queues if jobs else []:
        if queue not in jobs and queue not in scheduled:
            reason = f"queues.{queue}: no job names this queue"
            fix = "its workers wait for nothing: remove it, or name it in a job"
            yield ignored.finding(IDLE_POOL, "6", reason, fix, ("queues", queue))


class _Ignores:
    """queue.yaml with the comments that ignore a rule on their line."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self._loaded = loaded
        self._text = loaded.path.read_text(encoding="utf-8-sig").splitlines()

    def finding(
        self, rule: str, practice: str, reason: str, fix: str, path: tuple[str, ...]
    ) -> Finding:
        from queued.jobs.checks.source import ignored_by  # noqa: PLC0415 - see _add_jobs

        line = self._loaded.lines.get(path)
        text = self._text[line - 1] if line else ""
        level = Level.IGNORED if rule in ignored_by(text) else Level.WARNING
        return Finding(rule, level, practice, reason, fix, str(self._loaded.path), line)
