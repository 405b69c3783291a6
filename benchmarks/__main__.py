"""The command ``python -m benchmarks``."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks import report, server, systems
from benchmarks.run import Run
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.base import QUICK, Size
from benchmarks.venvs import python_of, version_of


def _names(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


@click.command()
@click.option(
    "--peers", callback=_names, help="Only these, as in huey,saq; 'none' for queued alone."
)
@click.option("--scenario", "names", callback=_names, help=f"Only these: {', '.join(SCENARIOS)}.")
@click.option("--quick", is_flag=True, help="Few jobs, one round, few peers: to see that it works.")
@click.option("--rounds", type=click.IntRange(1), help="How often each system takes its turn.")
@click.option("--jobs", type=click.IntRange(10), help="No-op jobs in a drain.")
@click.option("--output", type=click.Path(path_type=Path), default=report.FOLDER)
def main(
    *,
    peers: tuple[str, ...],
    names: tuple[str, ...],
    quick: bool,
    rounds: int | None,
    jobs: int | None,
    output: Path,
) -> None:
    """Measure queued beside its peers, on one machine and one server, in one run.

    Example: python -m benchmarks --scenario drain --peers huey,taskiq-streams
    """
    size = QUICK if quick else Size()
    size = dataclasses.replace(size, rounds=rounds or size.rounds, jobs=jobs or size.jobs)
    if not peers:
        peers = systems.QUICK if quick else tuple(systems.NAMES)
    try:
        taking = systems.chosen(() if peers == ("none",) else peers)
    except KeyError as error:
        known = ", ".join(systems.NAMES)
        raise click.UsageError(f"no peer is called {error}; there are: {known}") from None
    if unknown := set(names) - set(SCENARIOS):
        known = ", ".join(SCENARIOS)
        raise click.UsageError(f"no scenario is called {min(unknown)!r}; there are: {known}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s  {text}")

    try:
        server.program()
        pythons = {system.name: python_of(system, say) for system in taking}
    except (RuntimeError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="queued-bench-") as name:
        folder = Path(name)
        with server.running(folder) as redis:
            run = Run(taking, pythons, redis, folder, size, say)
            versions = {one.name: version_of(one, pythons[one.name]) for one in taking}
            about = report.About.of_machine(redis.version, versions, size)
            say(f"{about.machine}, load {os.getloadavg()[0]:.1f}; {about.server}")
            say(", ".join(f"{name} {version}" for name, version in versions.items()))
            for scenario in names or SCENARIOS:
                run.perform(SCENARIOS[scenario])
    click.echo(report.write(run.results, about, output))
    for failure in run.failures:
        click.echo(f"failed: {failure}", err=True)
    sys.exit(bool(run.failures))


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped: nothing is left running", err=True)
        sys.exit(130)
