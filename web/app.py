"""The daemon's HTTP site: ``/metrics``, ``/healthz``, ``/readyz`` and a page for people.

It knows nothing of the daemon but a source of metrics, a function that says what is wrong and one
that tells what the page shows; no request ever touches the back-end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from queued.web.exposition import Exposition, takes_gzip
from queued.web.guard import LOOPBACK_HOSTS, TRUSTED, Guard
from queued.web.overview import Overview
from queued.web.page import render

STATIC = Path(__file__).with_name("static")
TYPES = {".css": "text/css", ".svg": "image/svg+xml"}


def create_app(
    source: Callable[[], Collector],
    unready: Callable[[], Sequence[str]],
    overview: Callable[[], Overview],
    *,
    token: str | None = None,
    hosts: AbstractSet[str] | None = LOOPBACK_HOSTS,
) -> Starlette:
    """Make the site.

    :param source: returns what /metrics shows, as it is now; see ``Exposition``.
    :param unready: returns the reasons why the daemon is not ready, one sentence each.
    :param overview: returns what the page at ``/`` shows.
    :param token: asked for everywhere but on ``/healthz`` and, for its reasons, ``/readyz``.
    :param hosts: the names that a ``Host`` header may have; see ``allowed_hosts``.
    """
    exposition = Exposition(source)

    def home(_: Request) -> Response:
        return HTMLResponse(render(overview(), unready(), time.time()))

    async def metrics(request: Request) -> Response:
        page = await exposition.page(request.headers.get("accept", ""))
        headers = {"Vary": "Accept, Accept-Encoding"}
        if takes_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            return Response(page.zipped, headers=headers, media_type=page.content_type)
        return Response(page.body, headers=headers, media_type=page.content_type)

    def readyz(request: Request) -> Response:
        reasons = list(unready())
        told = {"reasons": reasons} if request.scope[TRUSTED] else {}
        return JSONResponse({"ready": not reasons} | told, status_code=503 if reasons else 200)

    return Starlette(
        routes=[
            Route("/", _inline(home)),
            Route("/metrics", metrics),
            Route("/healthz", _inline(lambda _: JSONResponse({"status": "ok"}))),
            Route("/readyz", _inline(readyz)),
            *_static(),
        ],
        middleware=[Middleware(Guard, token=token, hosts=hosts)],
    )


def allowed_hosts(listen: str, token: str | None) -> AbstractSet[str] | None:
    """Return which ``Host`` names a site bound to ``listen`` answers to; None: any.

    With a token any: what a browser is tricked into asking for does not carry it.
    """
    return None if token else LOOPBACK_HOSTS | {listen.rpartition(":")[0].lower()}


def _inline(page: Callable[[Request], Response]) -> Callable[[Request], object]:
    """Run a page in the loop: starlette would send a plain function to a thread."""

    async def endpoint(request: Request) -> Response:
        return page(request)

    return endpoint


def _static() -> Iterator[Route]:
    """Yield a route for each file of the page: they are few and small, so they stay in memory."""
    for file in sorted(STATIC.iterdir()):
        if file.suffix in TYPES:
            yield Route(
                f"/static/{file.name}", _inline(_file(file.read_bytes(), TYPES[file.suffix]))
            )


def _file(content: bytes, media_type: str) -> Callable[[Request], Response]:
    return lambda _: Response(content, media_type=media_type)
