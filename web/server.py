"""uvicorn inside somebody else's loop: a listener that is open already, no signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 200
"""More are answered 503: an idle client costs memory and a descriptor."""
KEEP_ALIVE = 75
"""Seconds an idle connection is kept: longer than the interval of most scrapers."""


PATIENCE = 10.0
"""Seconds in which a client must send a request whole, or is hung up on."""


class Protocol(H11Protocol):
    """uvicorn's HTTP, for clients that mean harm.

    uvicorn waits for ever for the rest of a request: so many such clients, and nobody else is
    served. A request that turns out to be nonsense after its answer has begun is the client's
    fault, not a traceback in the log.
    """

    _hang_up_at: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_a_request()

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.LocalProtocolError:
            self.transport.close()
        self._expect_a_request()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True  # it is answered: what a page has to say comes too late
        super().send_400_response(msg)

    def on_response_complete(self) -> None:
        self._hang_up_at = None
        super().on_response_complete()

    def _expect_a_request(self) -> None:
        """Let time run out while nothing is answered; one more byte does not set it back."""
        if self.cycle is not None and not self.cycle.response_complete:
            return
        if self.timeout_keep_alive_task is None:
            if self._hang_up_at is None:
                self._hang_up_at = self.loop.time() + PATIENCE
            self.timeout_keep_alive_task = self.loop.call_at(
                self._hang_up_at, self.timeout_keep_alive_handler
            )


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
            http=Protocol,
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
