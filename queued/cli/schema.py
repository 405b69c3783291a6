"""``queued schema``."""

from __future__ import annotations

import click

from queued.cli.options import example


@click.command(epilog=example("queued schema > queue.schema.json"))
def schema() -> None:
    """Print the JSON Schema of queue.yaml, for editors and other tools.

    Name it in the first line of the file: # yaml-language-server: $schema=./queue.schema.json
    """
    from queued.config.json_schema import json_schema_text  # noqa: PLC0415 - loads pydantic

    click.echo(json_schema_text(), nl=False)
