"""uvicorn inside somebody else's loop: a listener that is open already, no signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

MAX_CONNECTIONS = 200
"""More are answered 503: an idle client costs memory and a descriptor."""
KEEP_ALIVE = 75
"""Seconds an idle connection is kept: longer than the interval of most scrapers."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the process that the loop belongs to handles its signals itself


async def serve(app: ASGIApp, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve ``app`` until ``stop`` is set, then close within about a second.

    Idle connections are closed at once; a request that is being answered gets a second.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=1,
        )
    )
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(_stop(server, stop))
        await server.serve(sockets=[listener])
        stopping.cancel()


async def _stop(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
