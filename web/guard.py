"""What every request passes before a page sees it, and what every answer carries.

GET and HEAD only; on a loopback address a ``Host`` that is ours, so that a page of another site
cannot reach the daemon through a name that it points at 127.0.0.1 (DNS rebinding); with a token
nothing without it but what probes ask for.
"""

from __future__ import annotations

import hmac
from collections.abc import Set as AbstractSet
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Answered without a token, too, yes or no and nothing more: probes and balancers carry none."""

TRUSTED = "queued.trusted"
"""The key of the scope that tells a page whether who asks may know everything."""

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware around the whole site.

    :param token: what ``Authorization: Bearer`` must carry; None: nothing is asked.
    :param hosts: the names (without port) that ``Host`` may have; None: any.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None = None,
        hosts: AbstractSet[str] | None = LOOPBACK_HOSTS,
    ) -> None:
        self._app = app
        self._token = token.encode() if token else None
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        scope[TRUSTED] = self._token is None or self._authorized(headers)
        answer: ASGIApp = self._refusal(scope, headers) or self._app
        await answer(scope, receive, send_hardened)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] not in {"GET", "HEAD"}:
            return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        if self._hosts is not None and _hostname(headers.get("host", "")) not in self._hosts:
            return _refuse(HTTPStatus.MISDIRECTED_REQUEST)
        if not scope[TRUSTED] and scope["path"] not in OPEN_PATHS:
            return _refuse(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Bearer realm="queued"'})
        return None

    def _authorized(self, headers: Headers) -> bool:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        given = credentials.strip().encode("latin-1")  # as it came over the wire
        assert self._token
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self._token)


def _hostname(host: str) -> str:
    """Return a ``Host`` without its port: ``[::1]:9470`` → ``[::1]``."""
    name, colon, port = host.rpartition(":")
    return (name if colon and (not port or port.isdecimal()) else host).lower()


def _refuse(status: HTTPStatus, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{status.phrase}\n", status.value, headers)
