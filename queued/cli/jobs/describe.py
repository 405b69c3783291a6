"""A job as people and programs read it: fields, history and failure, nothing secret in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

from queued.cli.jobs.batch import sequel_fields, sequel_json
from queued.cli.output import console, moment, print_fields, print_table
from queued.drivers.base import Counts, FailedJob, JobInfo
from queued.jobs.payload import body_text, job_name
from queued.jobs.text import one_line, safe_lines
from queued.jobs.trace_context import TraceContext
from queued.jobs.unique import key_of
from queued.units import format_size


def parsed(raw: bytes) -> Any:
    """Return stored JSON, or its text where it is none."""
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="backslashreplace")


def history_of(raw: bytes) -> list[dict[str, Any]]:
    """Return the notes of a job's runs, oldest first."""
    notes = [parsed(line) for line in raw.splitlines() if line]
    return [note if isinstance(note, dict) else {"error": str(note)} for note in notes]


def counts_of(counts: Counts) -> dict[str, int]:
    """Return what became of a job's earlier runs."""
    return {"tries": counts.tries, "runs": counts.runs, **counts._asdict()}


def as_json(info: JobInfo) -> dict[str, Any]:
    """Return all that is known of a job, as plain data."""
    failed = info.failed
    return {
        "id": info.id,
        "queue": info.queue,
        "state": info.state.value,
        "job": job_name(info.payload),
        "payload": _payload(info.payload),
        "trace_id": _trace_id(info.payload),
        "enqueued_at": info.enqueued_at,
        "ready_at": info.ready_at,
        "due_at": info.due_at,
        "reserved_at": info.reserved_at,
        "owner": info.owner,
        "unique_key": key_of(info.unique) if info.unique else None,
        "counts": counts_of(info.counts),
        "history": history_of(info.history),
        **sequel_json(info.sequel),
        "failed": failed and failure_json(failed),
    }


def failure_json(failed: FailedJob) -> dict[str, Any]:
    """Return a failed job as plain data."""
    return {
        "id": failed.id,
        "queue": failed.queue,
        "job": job_name(failed.payload),
        "payload": _payload(failed.payload),
        "trace_id": _trace_id(failed.payload),
        "failed_at": failed.failed_at,
        "enqueued_at": failed.enqueued_at,
        "counts": counts_of(failed.counts),
        "history": history_of(failed.history),
        "record": parsed(failed.record),
        "hook_pending": failed.hook_pending,
    }


def print_job(info: JobInfo, held: str | None = None) -> None:
    """Print all that is known of a job.

    :param held: who has reserved it, and what that one does with it; None: nobody has.
    """
    print_fields(
        [
            ("id", info.id),
            ("job", job_name(info.payload) or "(not a payload of queued)"),
            ("queue", info.queue),
            ("state", info.state.value),
            ("payload", body_text(info.payload)),
            ("size", f"{len(info.payload)} bytes"),
            ("trace", _trace_id(info.payload)),
            ("enqueued", moment(info.enqueued_at)),
            ("ready", moment(info.ready_at)),
            ("due", moment(info.due_at)),
            ("reserved", moment(info.reserved_at)),
            ("owner", info.owner),
            ("held", held),
            ("unique", key_of(info.unique) if info.unique else None),
            ("runs", _counts_text(info.counts)),
            *sequel_fields(info.sequel),
            ("failed", moment(info.failed.failed_at) if info.failed else None),
        ]
    )
    if info.failed:
        print_failure(info.failed)
    elif dossier := _last_dossier(info.history):
        print_dossier(dossier)
    print_history(info.history)


def _trace_id(payload: bytes) -> str | None:
    """Return the trace of the dispatch, if that was traced."""
    context = TraceContext.of(payload)
    return context.trace_id if context else None


def _last_dossier(history: bytes) -> dict[str, Any] | None:
    """Return how the last worker that the job lost ended, if it lost one."""
    notes = [note for note in history_of(history) if isinstance(note.get("dossier"), dict)]
    if not notes:
        return None
    known: dict[str, Any] = notes[-1]["dossier"]
    return {name: notes[-1][name] for name in ("worker", "run") if name in notes[-1]} | known


def print_history(raw: bytes) -> None:
    """Print one line for each run that is over."""
    notes = history_of(raw)
    if not notes:
        return
    click.echo()
    rows = [
        (
            note.get("run", ""),
            moment(note.get("at")) or "",
            note.get("outcome", ""),
            note.get("worker", ""),
            note.get("error", ""),
        )
        for note in notes
    ]
    print_table(("run", "ended", "outcome", "worker", "error"), rows, right=("run",), below=1)


def print_failure(failed: FailedJob) -> None:
    """Print why a job failed, with its traceback."""
    click.echo()
    record = parsed(failed.record)
    if not isinstance(record, dict):
        print_fields([("record", record)])
        return
    trace = str(record.pop("traceback", "") or "")
    dossier = record.pop("dossier", None)
    shown = [(name, _scalar(value)) for name, value in record.items() if name != "at"]
    if failed.hook_pending:
        shown.append(("hook", "failed() has not run yet"))
    print_fields(shown)
    if "\n" in trace.rstrip():  # else it only repeats the error
        click.echo()
        _print_lines(trace.splitlines())
    if isinstance(dossier, dict):
        print_dossier(dossier)


def print_dossier(dossier: dict[str, Any]) -> None:
    """Print how a job's worker ended: a sentence, its stacks, its last log lines."""
    click.echo()
    click.echo(one_line(_sentence(dossier), 1_000))
    if stack := dossier.get("stack"):
        click.echo("\nwhere the code was:")
        _print_lines(str(stack).splitlines())
    if lines := dossier.get("log"):
        click.echo("\nthe last log lines of the worker:")
        _print_lines(text for line in lines for text in _log_line(str(line)).splitlines())


def _sentence(dossier: dict[str, Any]) -> str:
    host = f" on host {dossier['host']}" if dossier.get("host") else ""
    after = f" {dossier['ran']:.1f} s after the job's start" if "ran" in dossier else ""
    run = f", run {dossier['run']}" if "run" in dossier else ""
    parts = [
        f"worker {dossier.get('worker', '?')}{host} {dossier.get('ending', 'ended')}{after}{run}"
    ]
    if peak := dossier.get("peak_memory"):
        limit = dossier.get("memory_limit")
        of = f" of {format_size(limit)}" if limit else ""
        parts.append(f"peak memory {format_size(peak)}{of}")
    if "oom" in dossier:
        parts.append(f"killed by the kernel for memory: {'yes' if dossier['oom'] else 'no'}")
    return "; ".join(parts)


def _log_line(line: str) -> str:
    """Return a line for people: what is JSON is written as a terminal would have had it."""
    event = parsed(line.encode())
    if not isinstance(event, dict):
        return line
    said = [str(event.pop(name, "")) for name in ("timestamp", "level", "event")]
    return "  ".join(said + [f"{name}={_scalar(value)}" for name, value in event.items()])


def _print_lines(lines: Iterable[str]) -> None:
    """Print lines below what they belong to, safe on a terminal."""
    out = console()
    for line in lines:
        out.print(f"  {safe_lines(line)}".rstrip(), soft_wrap=True)


def error_of(failed: FailedJob) -> str:
    """Return a failed job's error on one line."""
    record = parsed(failed.record)
    text = record.get("error", "") if isinstance(record, dict) else record
    return one_line(str(text), 200)


def _payload(payload: bytes) -> Any:
    """Return the fields with secret-looking ones hidden."""
    text = body_text(payload)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _counts_text(counts: Counts) -> str:
    named = {
        "error": counts.errors,
        "timeout": counts.timeouts,
        "crash": counts.crashes,
        "lost": counts.lost,
        "released": counts.releases,
    }
    ends = ", ".join(f"{name} {count}" for name, count in named.items() if count)
    return f"{counts.runs} ({ends})" if ends else str(counts.runs)


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
