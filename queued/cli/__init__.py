"""The ``queued`` command.

A command is a module, or the ``command`` of a folder where it takes several; the table says which.
They are imported when they are called, and import what they need when they run, so that
``queued --help`` answers at once. Beside them stands what they share: ``options``, ``output``,
``backend`` (one connection for one command), ``failures`` and ``exits`` (how a command ends).
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import ClassVar

import click

from queued.cli.exits import MEANINGS
from queued.cli.failures import run
from queued.version import __version__

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Commands(click.Group):
    """A group that knows its commands by name and summary, and imports one when it is called."""

    table: ClassVar[dict[str, tuple[str, str]]] = {
        "start": ("daemon", "Start the daemon in the foreground."),
        "work": ("work", "Run one worker in the foreground, without a daemon."),
        "check": ("check.command", "Check queue.yaml and the jobs; show every problem."),
        "status": (
            "watch.status",
            "Show whether all is well, the pools, the queues and what runs.",
        ),
        "top": ("watch.top", "Watch the queues, the pools and what runs."),
        "why": ("why.command", "Say in words why a job or a queue waits."),
        "reload": ("daemon", "Apply queue.yaml to the running daemon."),
        "restart": ("daemon", "Take new code into service, pool by pool."),
        "scale": ("daemon", "Set how many workers a pool has."),
        "stop": ("daemon", "Stop the daemon; running jobs may finish."),
        "webhook": ("webhook", "Post a test message to the webhook of queue.yaml."),
        "dispatch": ("dispatch", "Enqueue a job."),
        "job": ("jobs.command", "Show all that is known of a job."),
        "cancel": ("jobs.command", "Remove a job that waits."),
        "pause": ("pauses", "Have no more jobs of queues started, on any host."),
        "resume": ("pauses", "End the pause of queues."),
        "purge": ("jobs.command", "Remove every job that waits in a queue."),
        "batch": ("jobs.batch", "Show how far a batch is."),
        "schedule": ("schedule", "List the schedules of queue.yaml; run one now."),
        "failed": ("failed.command", "List, show, retry and forget failed jobs."),
        "migrate": ("migrate.command", "Move the jobs of another queue system over."),
        "key": ("keys", "Make a key that encrypts or signs jobs."),
        "schema": ("schema", "Print the JSON Schema of queue.yaml."),
        "grafana": ("grafana", "Print the Grafana dashboard, or the alert rules."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.table:
            return None
        module = import_module(f"queued.cli.{self.table[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = get_close_matches(args[0], self.table, n=1) if args else []
        if near and args[0] not in self.table:
            ctx.fail(f'no such command "{args[0]}"; did you mean "{near[0]}"?')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.table.items()])


EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<3} {text}" for code, text in MEANINGS.items())


@click.group(cls=Commands, context_settings=CONTEXT, epilog=EPILOG)
@click.version_option(__version__, prog_name="queued", message="%(prog)s %(version)s")
def cli() -> None:
    """Run background jobs: a queue.yaml in, supervised worker pools and metrics out.

    \b
    Example:
      queued check && queued start
      queued dispatch app.jobs.SendEmail '{"to": "a@b.c"}'
    """  # noqa: D301 - \b is click's mark for text that keeps its lines


def main() -> None:
    """Run the command line and exit: the console script."""
    run(cli)
