"""``queued webhook``: whether alerts would get to where queue.yaml sends them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from queued.cli.exits import Exit
from queued.cli.failures import Refused
from queued.cli.options import config_option, example, json_option, load_config
from queued.cli.output import print_json


@click.command(epilog=example("queued webhook -c queue.yaml"))
@config_option
@json_option
def webhook(config: Path, *, as_json: bool) -> int:
    """Post a test message to the webhook of queue.yaml, once, and say what it answers.

    The message has the type alert.test, and is signed as alerts are. No daemon need run.
    """
    from queued.daemon.master.plan import webhook_of  # noqa: PLC0415 - commands import when they run
    from queued.daemon.monitor.alerts.post import PostFailed  # noqa: PLC0415 - as above
    from queued.daemon.monitor.alerts.webhook import post_test  # noqa: PLC0415 - as above

    spec = webhook_of(load_config(config, None).config.webhook)
    if spec is None:
        raise Refused(f"{config} has no webhook with a url: alerts are only logged")
    status, error = None, ""
    try:
        answer = asyncio.run(post_test(spec))
        status, taken = answer.status, answer.taken
        if not taken:
            error = f"the receiver answered HTTP {status}; is the url right?"
    except PostFailed as failed:
        taken, error = False, f"the receiver cannot be reached: {failed}"
    if as_json:
        print_json({"ok": taken, "status": status, "error": error or None})
        return Exit.OK if taken else Exit.PROBLEM
    if not taken:
        raise Refused(error)
    click.echo(f"the receiver has taken a test message (HTTP {status})")
    return Exit.OK
