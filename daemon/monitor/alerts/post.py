"""One post over HTTP, in a thread of its own: a receiver that hangs delays nothing.

The standard library does it: a handful of posts a day is not worth four more packages in every
installation. Certificates are checked by the system's own list, proxies are those of HTTPS_PROXY,
redirects are not followed, and no error shows any of the URL.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple


class Answer(NamedTuple):
    """What the receiver said."""

    status: int
    retry_after: str | None

    @property
    def taken(self) -> bool:
        """Whether it has the message."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class PostFailed(Exception):
    """There was no answer; the message says why, without the URL."""


class Poster:
    """Posts to one receiver, one at a time.

    :param timeout: seconds that a post may take, all in all.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._opener: urllib.request.OpenerDirector | None = None
        self._thread: threading.Thread | None = None

    async def post(self, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Post, and return the answer, whatever it is.

        :raises PostFailed: there was none in time.
        """
        if self._thread is not None and self._thread.is_alive():
            # It looked a name up, or gets an answer byte by byte: it cannot be stopped from here.
            raise PostFailed("the try before still hangs")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def work() -> None:
            try:
                answer = self._post(content, headers)
            except Exception as error:  # noqa: BLE001 - it is the caller's
                _tell(loop, future, error)
            else:
                _tell(loop, future, answer)

        self._thread = threading.Thread(target=work, daemon=True, name="webhook")
        self._thread.start()
        try:
            async with asyncio.timeout(self._timeout):
                return await future
        except TimeoutError:
            raise PostFailed(f"no answer within {self._timeout:g} s") from None
        except Exception as error:  # noqa: BLE001 - whatever it was, there is no answer
            raise PostFailed(_reason(error)) from None

    def _post(self, content: bytes, headers: Mapping[str, str]) -> Answer:
        if self._opener is None:
            self._opener = _opener()
        request = urllib.request.Request(self._url, content, dict(headers), method="POST")  # noqa: S310 - checked when queue.yaml was read
        with self._opener.open(request, timeout=self._timeout) as response:
            return Answer(response.status, response.headers.get("Retry-After"))


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that hands back every answer: it follows nothing and raises nothing."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Answer], ending: Answer | Exception
) -> None:
    def deliver() -> None:
        if future.done():  # nobody waits any more
            return
        if isinstance(ending, Exception):
            future.set_exception(ending)
        else:
            future.set_result(ending)

    with suppress(RuntimeError):  # the loop has been closed meanwhile
        loop.call_soon_threadsafe(deliver)


def _reason(error: Exception) -> str:
    """Say why a post failed in words that are known to hold nothing of the URL's path."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {cause.verify_message}"
        case TimeoutError():
            return "it timed out"
        case OSError() if cause.strerror:
            return cause.strerror
    return type(cause).__name__
