"""``queued check``: the configuration and the jobs, before they are put into service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from queued.cli.exits import Exit
from queued.cli.options import backend_options, example

if TYPE_CHECKING:
    from queued.cli.check.checklist import Checklist
    from queued.jobs.checks.rule import Finding


@click.command(
    epilog=example(
        "queued check -c queue.yaml && queued reload",
        "queued check --strict --format github   # in CI",
    )
)
@backend_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    help="text for people, json, or github: annotations of a workflow's files.",
)
@click.option("--strict", is_flag=True, help="Warnings are errors: the exit code is 1.")
@click.option(
    "--no-practices",
    "practices",
    flag_value=False,
    default=True,
    help="Only what keeps the daemon from working: no rules on the jobs.",
)
def check(
    config: Path,
    connection: str | None,
    *,
    as_json: bool,
    form: str,
    strict: bool,
    practices: bool,
) -> int:
    """Check queue.yaml, then import the jobs and go through the checklist for each of them.

    Nothing is started, and the back-end is not asked. The exit code is 1 if there is an error, with
    --strict also if there is a warning. A comment "# queued: ignore[rule]" in the line, or in that
    of the class, ignores a rule.
    """
    from queued.cli.check.checklist import collect  # noqa: PLC0415 - only where it is used
    from queued.jobs.checks.rule import Level  # noqa: PLC0415 - as above

    found = collect(config, connection, practices=practices)
    errors, warnings = found.at(Level.ERROR), found.at(Level.WARNING)
    is_ok = not errors and not (strict and warnings)
    match "json" if as_json else form:
        case "json":
            from queued.cli.output import print_json  # noqa: PLC0415 - as above

            print_json(_report(found, ok=is_ok))
        case "github":
            from queued.cli.check.annotations import annotate  # noqa: PLC0415 - as above

            annotate([*errors, *warnings])
        case _:
            from queued.cli.check.text import show  # noqa: PLC0415 - as above

            show(config, found, ok=is_ok)
    return Exit.OK if is_ok else Exit.PROBLEM


def _report(found: Checklist, *, ok: bool) -> dict[str, Any]:
    from queued.cli.check.annotations import line_of  # noqa: PLC0415 - only where it is used
    from queued.jobs.checks.rule import Level  # noqa: PLC0415 - as above

    errors, warnings = found.at(Level.ERROR), found.at(Level.WARNING)
    checks = {row.name: row for row in found.rows}
    jobs = []
    for one in found.settings:
        row = checks.get(one["name"])
        if row is not None:
            place = {"file": row.file, "line": row.line}
            jobs.append({**one, **place, "checks": [_fields(each) for each in row.findings]})
        else:
            jobs.append(one)
    return {
        "ok": ok,
        "problems": [line_of(one) for one in errors],
        "warnings": [line_of(one) for one in warnings],
        "findings": [_fields(one) for one in [*errors, *warnings]],
        "queues": found.queues,
        "jobs": jobs,
    }


def _fields(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "level": finding.level,
        "practice": finding.practice or None,
        "reason": finding.reason,
        "fix": finding.fix,
        "file": finding.file,
        "line": finding.line,
    }
