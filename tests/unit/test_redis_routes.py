"""The calls of a cluster between sending and receiving: what is sent when, and what is answered."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.exceptions import NoScriptError, TryAgainError

from queued.drivers.base import Lane, NewJob
from queued.drivers.redis.address import ClusterAddress, address_of
from queued.drivers.redis.commands import Command, Commands
from queued.drivers.redis.routes import NOTE_AGAIN, Call, Part, Routes
from queued.errors import QueueUnavailable

HOSTS = [("10.0.0.1", 7000), ("10.0.0.2", 7000), ("10.0.0.3", 7000)]
COMMANDS = Commands("queued", whole=True)


@pytest.fixture
def routes() -> Routes:
    address = address_of("redis+cluster://10.0.0.1:7000,10.0.0.2:7000,10.0.0.3:7000")
    assert isinstance(address, ClusterAddress)
    made = Routes(address)
    starts = (0, 5000, 10_000)
    last = (4999, 9999, 16_383)
    nodes = [[host.encode(), port, b"id"] for host, port in HOSTS]
    made.learn([list(one) for one in zip(starts, last, nodes, strict=True)], HOSTS[0])
    return made


def enqueue(queue: str = "emails") -> list[Command]:
    return COMMANDS.enqueue(queue, [NewJob("a", b"a")])


def sent(call: Call) -> list[Any]:
    """Return the first words of what is to be sent now."""
    return [command[0] for part in call.parts() for command in part.commands]


def answered(call: Call, reply: Any) -> None:
    for part in call.parts():
        call.take(part, [reply] * len(part.commands))


def test_what_was_never_sent_is_no_answer(routes: Routes) -> None:
    """The name was noted in the last moment of the call: there was no time for the jobs."""
    call = Call(routes, enqueue())
    answered(call, 1)
    assert not call.over
    noted, stored = call.give_up()
    assert noted == 1
    assert isinstance(stored, QueueUnavailable)
    assert "10.0.0.1:7000" in str(stored)


def test_why_something_did_not_run_stays_its_answer(routes: Routes) -> None:
    routes.note(enqueue()[0][2])
    call = Call(routes, enqueue())
    answered(call, TryAgainError("TRYAGAIN"))
    assert [type(reply) for reply in call.give_up()] == [int, TryAgainError]


def test_one_call_a_minute_notes_a_name_again(routes: Routes) -> None:
    """Else each of them would wait for the node of the names, should that be silent."""
    name, *_ = enqueue()
    routes.note(name[2])
    assert sent(Call(routes, enqueue())) == ["EVALSHA"]
    routes._noted[name[2]] = time.monotonic() - NOTE_AGAIN
    assert sorted(sent(Call(routes, enqueue()))) == ["EVALSHA", "SADD"]
    assert sent(Call(routes, enqueue())) == ["EVALSHA"]


def exchange() -> list[Command]:
    reserve = COMMANDS.reserve(
        "emails", "me", want=1, nonce=1, lease=30.0, lane=Lane.NORMAL, limit=None
    )
    return [COMMANDS.verb("ack", "emails", "me", "a", 1), reserve]


@pytest.mark.parametrize("error", [NoScriptError("NOSCRIPT"), TryAgainError("TRYAGAIN")])
def test_a_reservation_comes_behind_what_was_sent_with_it(routes: Routes, error: Exception) -> None:
    ack, reserve = exchange()
    call = Call(routes, [ack, reserve])
    [part] = call.parts()
    call.take(part, [error, [b"early"]])
    assert not call.over
    [part] = call.parts()
    assert part.commands[-2:] == [ack, reserve]
    call.take(part, [*([b"OK"] * (len(part.commands) - 2)), [], [b"late"]])
    assert call.over
    assert call.replies == [[], [b"late"]]


def test_nothing_else_that_has_run_is_sent_again(routes: Routes) -> None:
    ack, _ = exchange()
    call = Call(routes, [ack, ack])
    [part] = call.parts()
    call.take(part, [NoScriptError("NOSCRIPT"), []])
    [part] = call.parts()
    assert [command[0] for command in part.commands].count("EVALSHA") == 1


def test_who_was_silent_is_asked_last(routes: Routes) -> None:
    routes.silent(HOSTS[0])
    routes.silent(HOSTS[2])
    for _ in range(20):
        assert routes.to_ask()[0] == HOSTS[1]
    routes.learn([[0, 16_383, [b"10.0.0.3", 7000, b"id"]]], HOSTS[2])
    assert routes.to_ask()[-1] == HOSTS[0]


def test_a_node_that_did_not_answer_has_the_map_drawn_anew(routes: Routes) -> None:
    call = Call(routes, exchange())
    [part] = call.parts()
    assert isinstance(part, Part)
    call.take(part, QueueUnavailable("gone"))
    assert call.over
    assert routes.stale
    assert routes.to_ask()[-1] == part.host
