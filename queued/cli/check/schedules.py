"""What ``queued check`` says of the schedules, once the jobs are imported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from queued.errors import (
    EncryptionError,
    InvalidJob,
    JobDefinitionError,
    PayloadTooLarge,
    UnknownJob,
)
from queued.jobs import payload, registry
from queued.jobs.checks.rule import Finding, Level

if TYPE_CHECKING:
    from queued.config.load import LoadedConfig
    from queued.config.schema import Schedule


def schedule_problems(loaded: LoadedConfig) -> Iterator[Finding]:
    """Yield the schedules that no worker could run."""
    payload.adopt(loaded.policy)
    for name, one in loaded.config.schedule.items():
        try:
            payload.encode(payload.build(one.job, json.dumps(one.args).encode()), one.queue)
        except UnknownJob as error:
            yield _finding(loaded, (name, "job"), Level.ERROR, str(error))
        except (EncryptionError, InvalidJob, PayloadTooLarge, JobDefinitionError) as error:
            key = "args" if one.args else "job"
            yield _finding(loaded, (name, key), Level.ERROR, str(error))


def schedule_warnings(loaded: LoadedConfig) -> Iterator[Finding]:
    """Yield the schedules whose jobs go elsewhere than their classes say, without a word."""
    for name, one in loaded.config.schedule.items():
        own = _queue_of(one)
        if own is not None and own != one.queue and "queue" not in one.model_fields_set:
            reason = f"its class names the queue {own}, and it goes to {one.queue}: say which"
            yield _finding(loaded, (name, "job"), Level.WARNING, reason)


def _queue_of(schedule: Schedule) -> str | None:
    cls = registry.registered().get(schedule.job)
    return None if cls is None else cls.queue or registry.DEFAULT_QUEUE


def _finding(loaded: LoadedConfig, key: tuple[str, str], level: Level, reason: str) -> Finding:
    path = ("schedule", *key)
    text = f"{'.'.join(path)}: {reason}"
    line = loaded.lines.get(path)
    return Finding("config", level, "", text, file=str(loaded.path), line=line)
