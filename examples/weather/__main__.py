"""``make run``: start the weather station's surroundings, then become the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

from queued.errors import QueuedError

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> None:
    """Fork the surroundings, then exec ``queued start``: the daemon is the process in front."""
    config = str(ROOT / "queue.yaml")
    os.environ.setdefault("QUEUED_CONFIG", config)
    port = int(os.environ.setdefault("SMTP_PORT", str(free_port())))
    address = os.environ.get("WEATHER_DAEMON", "http://127.0.0.1:9470")
    daemon = os.getpid()
    if os.fork() == 0:
        if os.fork() == 0:  # no child of the daemon's: it supervises what it started, nothing else
            from examples.weather.world import live  # noqa: PLC0415 - the daemon needs none of it

            with contextlib.suppress(KeyboardInterrupt):
                try:
                    asyncio.run(live(port, address, daemon, load=True))
                except (OSError, QueuedError) as error:
                    print(f"the example's surroundings stopped: {error}", file=sys.stderr)
        os._exit(0)
    os.wait()
    queued = Path(sys.executable).with_name("queued")
    os.execv(queued, [str(queued), "start", "-c", config])  # noqa: S606 - our own command


main()
