"""What is kept of a run that went wrong: a note beside the job, and the record of its failure."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from queued.errors import QueuedError
from queued.jobs.dossier import in_brief
from queued.jobs.frames import is_ours
from queued.jobs.redaction import redact_text
from queued.jobs.text import error_text, one_line, safe_lines

MAX_NOTE = 500
"""Bytes of a note without a dossier: one for each run is kept beside the job."""
MAX_TRACEBACK = 16 * 1024
"""Characters of a stored traceback; its first and last lines are kept."""


def note(
    outcome: str,
    *,
    at: float,
    error: str,
    worker: str,
    run: int,
    dossier: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the note of one run, at most ``MAX_NOTE`` bytes; the error is cut to fit.

    :param outcome: the value of an ``Outcome``.
    :param dossier: of a run that ended with its worker; it comes on top, in brief.
    """
    values = {
        "at": round(at, 3),
        "outcome": str(outcome),
        "error": "",
        "worker": worker,
        "run": run,
    }
    room = MAX_NOTE - len(_json(values))
    text = one_line(error, room)
    while (over := len(_json(text)) - 2 - room) > 0:  # what JSON escapes, and what is not ASCII
        text = text[: -max(1, over // 4) - 1] + "…"
    values["error"] = text
    return _json(values | {"dossier": in_brief(dossier)} if dossier else values)


def record(
    *,
    error: str,
    kind: str,
    trace: str,
    at: float,
    worker: str,
    job: str,
    reason: str,
    dossier: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the record of a failure, all of it text.

    ``reason`` is why there was no further try: ``max_tries``, ``timed_out``, ``fail`` (the job said
    so), ``give_up_on`` or ``retry_on`` (its class did), ``unknown_job``, ``corrupt_payload``,
    ``bad_signature``, ``no_key`` or ``wrong_key``; the janitor's records also have ``crashed``.
    ``dossier``: of a job that lost its worker.
    """
    values = {
        "error": one_line(error),
        "type": kind,
        "traceback": trace,
        "at": round(at, 3),
        "worker": worker,
        "job": one_line(job, 200),
        "reason": reason,
    }
    return _json(values | {"dossier": dossier} if dossier else values)


def trace(error: BaseException, veil: Callable[[str], str] | None = None) -> str:
    """Return an exception's traceback as text, from the user's own code on, cut in the middle.

    :param veil: hides what an encrypted job holds.
    """
    start = error.__traceback__
    frames = start
    while frames is not None and is_ours(frames.tb_frame):
        frames = frames.tb_next
    if frames is None and not isinstance(error, QueuedError):
        frames = start  # a fault of ours; what we refuse ourselves is told by its message
    try:
        lines = traceback.format_exception(type(error), error, frames)
        # A message may be megabytes; a secret that this first cut halves is gone with the second.
        whole = "".join(lines)
        shown = whole if veil is None else veil(whole)
        text = safe_lines(redact_text(_cut(shown, 4 * MAX_TRACEBACK)))
    except BaseException as problem:  # noqa: BLE001 - a user's may fail to print itself
        said = f"the traceback cannot be printed: {said_by(problem, veil)}"
        return f"{said_by(error, veil)} ({said})"
    return _cut(text)


def said_by(error: BaseException, veil: Callable[[str], str] | None) -> str:
    """Return ``ValueError: boom`` without what looks like a secret, or is one."""
    return one_line(redact_text(error_text(error, 4_000, veil)))


def kind_of(error: BaseException) -> str:
    """Return the full name of an exception's class."""
    kind = type(error)
    return one_line(f"{kind.__module__}.{kind.__qualname__}", 200)


def _cut(text: str, longest: int = MAX_TRACEBACK) -> str:
    if len(text) <= longest:
        return text
    head = longest // 8
    return f"{text[:head]}\n… cut …\n{text[head + 9 - longest :]}"


def _json(values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
