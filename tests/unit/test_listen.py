"""The HTTP listener: bound by the master, or one clear line."""

from __future__ import annotations

import socket

import pytest

from queued.config.schema import Http
from queued.daemon.master.listen import address, listen
from queued.errors import QueuedError


def test_a_free_port():
    with listen(Http(listen="127.0.0.1:0")) as sock:
        host, port = address(sock).split(":")
        assert host == "127.0.0.1"
        socket.create_connection((host, int(port)), timeout=5).close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6():
    try:
        sock = listen(Http(listen="[::1]:0"))
    except QueuedError as error:
        pytest.skip(str(error))
    with sock:
        assert address(sock).startswith("[::1]:")


def test_a_taken_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(QueuedError, match=f"http.listen: 127.0.0.1:{port} is in use"):
            listen(Http(listen=f"127.0.0.1:{port}"))


def test_an_address_that_is_not_ours():
    with pytest.raises(QueuedError, match=r"http.listen: 192.0.2.1:9470 is no address of this"):
        listen(Http(listen="192.0.2.1:9470", token="t"))


def test_a_name_that_does_not_exist():
    with pytest.raises(QueuedError, match=r"http.listen: nonsuch.invalid:1"):
        listen(Http(listen="nonsuch.invalid:1", token="t"))
