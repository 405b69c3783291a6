"""A receiver of webhooks that does as it is told: a real HTTP server on a free port."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

HANG = "hang"
"""An answer that never comes."""
DRIP = "drip"
"""An answer that comes byte by byte, and never all of it."""


class Received(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """``answers`` are given in turn, the last one for ever: a status, with headers if need be."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[Any] = [200]
        self.closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answers = receiver.answers
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                receiver.received.append(Received(self.path, headers, body))
                self._answer(answer)

            do_GET = do_POST  # noqa: N815 - as http.server has it

            def _answer(self, answer: Any) -> None:
                if answer == HANG:
                    receiver.closing.wait()
                    return
                if answer == DRIP:
                    while not receiver.closing.wait(0.05):
                        self.wfile.write(b"H")
                    return
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"so it is")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # who hung up did so for a reason

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/T000/B000/hunter2"

    @property
    def ids(self) -> list[str]:
        return [one.headers["webhook-id"] for one in self.received]

    def of_type(self, kind: str) -> list[Received]:
        return [one for one in self.received if one.json["type"] == kind]


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver for as long as it is needed."""
    receiver = Receiver()
    if tls is not None:
        receiver.server.socket = tls.wrap_socket(receiver.server.socket, server_side=True)
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()
