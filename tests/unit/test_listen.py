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


def test_a_name_is_refused_since_looking_it_up_may_take_its_time():
    with pytest.raises(ValueError, match="expected an IP address, not a name"):
        Http(listen="example.com:80", token="t")


def test_localhost_is_not_looked_up():
    with listen(Http(listen="localhost:0")) as sock:
        assert address(sock).startswith("127.0.0.1:")


@pytest.mark.parametrize("hosts", [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
def test_other_addresses_of_a_port_that_is_ours(hosts):
    """At no time is a connection refused, and later nobody else gets the port."""
    before, after = hosts
    with listen(Http(listen=f"{before}:0", token="t")) as old:
        port = old.getsockname()[1]
        http = Http(listen=f"{after}:{port}", token="t")
        with pytest.raises(QueuedError, match="in use"):
            listen(http)
        with listen(http, beside=old) as new:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            old.close()
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            for taken in (http, Http(listen=f"{before}:{port}", token="t")):
                with pytest.raises(QueuedError, match="in use"):
                    listen(taken)
            assert address(new) == f"{after}:{port}"


def test_a_port_of_somebody_else_stays_taken():
    with (
        listen(Http(listen="127.0.0.1:0")) as ours,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        port = taken.getsockname()[1]
        with pytest.raises(QueuedError, match="in use"):
            listen(Http(listen=f"0.0.0.0:{port}", token="t"), beside=ours)
