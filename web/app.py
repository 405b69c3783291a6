"""The daemon's HTTP site: ``/metrics``, ``/healthz``, ``/readyz`` and a page that names them.

It knows nothing of the daemon but a collector of metrics and a function that says what is wrong;
no request ever touches the back-end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from queued.version import __version__
from queued.web.exposition import Exposition
from queued.web.guard import LOOPBACK_HOSTS, Guard

HOME = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>queued</title></head>
<body>
<h1>queued {__version__}</h1>
<p>A daemon that runs background jobs. Its workers are configured in queue.yaml.</p>
<ul>
<li><a href="/metrics">/metrics</a>: backlog, latency and failures, for Prometheus</li>
<li><a href="/healthz">/healthz</a>: the daemon lives</li>
<li><a href="/readyz">/readyz</a>: the back-end answers and every pool runs</li>
</ul>
<p>On the command line: <code>queued status</code>.</p>
</body>
</html>
"""


def create_app(
    collector: Collector,
    unready: Callable[[], Sequence[str]],
    *,
    token: str | None = None,
    hosts: AbstractSet[str] | None = LOOPBACK_HOSTS,
) -> Starlette:
    """Make the site.

    :param unready: returns the reasons why the daemon is not ready, one sentence each.
    :param token: asked for everywhere but on ``/healthz``.
    :param hosts: the names that a ``Host`` header may have; see ``allowed_hosts``.
    """
    exposition = Exposition(collector)

    def metrics(request: Request) -> Response:
        page = exposition.render(request.headers.get("accept", ""))
        headers = {"Vary": "Accept, Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(page.zipped, headers=headers, media_type=page.content_type)
        return Response(page.body, headers=headers, media_type=page.content_type)

    def readyz(_: Request) -> Response:
        reasons = list(unready())
        if reasons:
            return JSONResponse({"ready": False, "reasons": reasons}, status_code=503)
        return JSONResponse({"ready": True, "reasons": []})

    return Starlette(
        routes=[
            Route("/", _inline(lambda _: HTMLResponse(HOME))),
            Route("/metrics", _inline(metrics)),
            Route("/healthz", _inline(lambda _: JSONResponse({"status": "ok"}))),
            Route("/readyz", _inline(readyz)),
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
