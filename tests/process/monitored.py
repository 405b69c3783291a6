"""A real monitor in a process of its own, and a test in its master's place."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Self

import httpx

from queued.daemon.channel import Channel, Frame
from queued.daemon.spec import MonitorSpec, QueueSpec

INSTALL, BOOT = "aaaaaaaa", "11111111"
PATIENCE = 60.0
"""Seconds that a condition may take on a loaded machine."""

PROGRAM = """
import socket, sys
from queued.daemon.channel import Channel
from queued.daemon.monitor.process import run_monitor
from queued.daemon.spec import MonitorSpec
spec, *fds = sys.argv[1:]
channel, *listener = (socket.socket(fileno=int(fd)) for fd in fds)
sys.exit(run_monitor(MonitorSpec.from_json(spec), Channel(channel), *listener or [None]))
"""

RUNNING = {"state": "running", "desired": 1, "slots": 10, "workers": {"idle": 1}}


def owner(index: int = 1, generation: int = 1, boot: str = BOOT, install: str = INSTALL) -> str:
    return f"{install}-{boot}-q.{index}-{generation}"


class Master:
    """What a monitor sees of its master."""

    def __init__(self, url: str, *queues: str, **settings: Any) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        host, port = self.listener.getsockname()
        self.url = f"http://{host}:{port}"
        self.spec = MonitorSpec(
            install=INSTALL,
            boot=BOOT,
            url=url,
            queues={queue: QueueSpec() for queue in queues or ("q",)},
            http_listen=f"{host}:{port}",
            **settings,
        )
        self.with_http = True
        self.frames: list[Frame] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.AsyncClient(base_url=self.url, timeout=5)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        self.listener.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.channel.close()

    async def start(self) -> Self:
        """Start a monitor (another one, when there was one) and wait until it is ready."""
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.frames.clear()
        inherited = [theirs.fileno(), *([self.listener.fileno()] if self.with_http else [])]
        self.process = subprocess.Popen(  # noqa: ASYNC220 - it takes a moment, and it is a test
            [sys.executable, "-c", PROGRAM, self.spec.to_json(), *map(str, inherited)],
            pass_fds=inherited,
        )
        theirs.close()
        await self.until(lambda: self.heard("ready"))
        return self

    def heard(self, kind: str, **values: Any) -> list[Frame]:
        """Return the frames of a type that have come so far, with these values."""
        self.frames += self.channel.receive()
        wanted = {"type": kind, **values}.items()
        return [frame for frame in self.frames if wanted <= frame.items()]

    def tell(self, **values: Any) -> None:
        assert self.channel.send(values)

    def tell_fleet(self, *owners: str, **pools: dict[str, Any]) -> None:
        """Say which owners live, all of queue ``q``, and how the pools are."""
        known = pools or dict.fromkeys(self.spec.queues, RUNNING)
        scopes = ["", *known]
        self.tell(
            type="fleet",
            owners={"q": list(owners)},
            pools=known,
            totals={scope: {} for scope in scopes},
            scopes=scopes,
            config_ok=True,
        )

    def tell_gone(self, name: str, sentences: dict[str, Any], **dossier: Any) -> None:
        self.tell(type="gone", owner=name, queue="q", sentences=sentences, dossier=dossier)

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for a condition while the monitor lives; return its value."""
        assert self.process
        async with asyncio.timeout(PATIENCE):
            while not (value := condition()):
                assert self.process.poll() is None, "the monitor has ended"
                await asyncio.sleep(0.02)
        return value

    async def until_get(self, path: str, right: Callable[[httpx.Response], bool]) -> httpx.Response:
        """Fetch a page until it is right; return it."""
        async with asyncio.timeout(PATIENCE):
            while not right(answer := await self.client.get(path)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return answer

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal (0: none), wait for the process, return its exit code."""
        assert self.process
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, PATIENCE)
