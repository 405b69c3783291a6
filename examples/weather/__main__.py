"""``make run``: start the weather station's surroundings, then become the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

from queued.errors import ConfigError, QueuedError

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def surround(config: Path, port: int, daemon: int) -> None:
    """Be the station's surroundings until the process ``daemon`` is gone."""
    # the daemon needs none of these
    from examples.weather.world import live  # noqa: PLC0415
    from queued.config.load import load  # noqa: PLC0415

    try:
        http = load(config).config.http
        if http is not None:  # it tells when the daemon is ready
            asyncio.run(live(port, f"http://{http.listen}", daemon))
    except ConfigError:
        return  # the daemon says what is wrong
    except (OSError, QueuedError) as error:
        print(f"the example's surroundings stopped: {error}", file=sys.stderr)


def main() -> None:
    """Fork the surroundings, then exec ``queued start``: the daemon is the process in front."""
    config = ROOT / "queue.yaml"
    os.environ["QUEUED_CONFIG"] = str(config)
    port = int(os.environ.setdefault("SMTP_PORT", str(free_port())))
    daemon = os.getpid()
    if os.fork() == 0:
        if os.fork() == 0:  # no child of the daemon's: it supervises what it started, nothing else
            with contextlib.suppress(KeyboardInterrupt):
                surround(config, port, daemon)
        os._exit(0)
    os.wait()
    queued = Path(sys.executable).with_name("queued")
    os.execv(queued, [str(queued), "start", "-c", str(config)])  # noqa: S606 - our own command


main()
