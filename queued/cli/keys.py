"""``queued key``: the keys that encrypt and sign jobs."""

from __future__ import annotations

import click

from queued.cli.options import example


@click.group(epilog=example("queued key generate"))
def key() -> None:
    """Make a key that encrypts or signs jobs."""


@key.command(
    epilog=example(
        "(umask 077; queued key generate > encryption-keys)",
        "QUEUED_SIGNING_KEYS=$(queued key generate) queued start",
    )
)
def generate() -> None:
    """Print a new key: 32 random bytes as text, good for encryption and for signing.

    Use one for each purpose. Whoever has it can read what it encrypts, and enqueue what it signs.
    """
    from queued.policy import generate_key  # noqa: PLC0415 - commands import when they run

    click.echo(generate_key())
