"""The channel: frames arrive whole and in order, and nothing ever blocks."""

from __future__ import annotations

import pytest

from queued.daemon import channel as module
from queued.daemon.channel import Channel


@pytest.fixture
def ends():
    ends = Channel.pair()
    yield ends
    for end in ends:
        end.close()


def test_frames_arrive_in_order(ends):
    ours, theirs = ends
    for n in range(3):
        assert ours.send({"type": "n", "n": n})
    assert theirs.receive() == [{"type": "n", "n": n} for n in range(3)]
    assert theirs.receive() == []
    assert not theirs.closed


def test_the_type_comes_first(ends):
    ours, theirs = ends
    ours.send({"n": 1, "type": "snapshot"})
    assert theirs.receive_raw() == [b'{"type":"snapshot","n":1}']


def test_raw_frames_pass_through(ends):
    ours, theirs = ends
    ours.send_raw(b'{"type":"x"}')
    assert theirs.receive() == [{"type": "x"}]


def fill(end: Channel) -> int:
    sent = 0
    while end.send({"type": "snapshot", "data": "x" * 10_000}, droppable=True):
        sent += 1
    return sent


def test_droppable_frames_are_dropped_when_the_socket_is_full(ends):
    ours, theirs = ends
    sent = fill(ours)
    assert ours.send({"type": "leaving"})  # buffered
    assert ours.pending
    received = []
    while ours.pending:
        received += theirs.receive()
        ours.flush()
    received += drain(theirs)
    assert [frame["type"] for frame in received] == ["snapshot"] * sent + ["leaving"]


def drain(end: Channel) -> list[module.Frame]:
    received = []
    while frames := end.receive():
        received += frames
    return received


def test_the_buffer_is_bounded(ends, monkeypatch):
    monkeypatch.setattr(module, "MAX_PENDING", 1000)
    ours, _ = ends
    fill(ours)
    assert ours.send({"type": "event"})
    assert not ours.send({"type": "event", "text": "x" * 2000})


def test_a_frame_larger_than_the_socket_arrives_in_parts(ends):
    ours, theirs = ends
    ours.send({"type": "big", "data": "x" * 3_000_000})
    received = []
    while not received:
        received = theirs.receive()
        ours.flush()
    assert len(received[0]["data"]) == 3_000_000


def test_the_end_is_seen_after_the_last_frame(ends):
    ours, theirs = ends
    ours.send({"type": "leaving"})
    ours.close()
    assert theirs.receive() == [{"type": "leaving"}]
    theirs.receive()
    assert theirs.closed


def test_sending_to_a_dead_child_is_no_error(ends):
    ours, theirs = ends
    theirs.close()
    assert not ours.send({"type": "quiet"})
    assert not ours.pending
    assert ours.receive() == []
    assert ours.closed


def test_what_a_dead_child_said_last_is_read_though_it_takes_no_more(ends):
    ours, theirs = ends
    theirs.send({"type": "leaving"})
    theirs.close()
    assert not ours.send({"type": "quiet"})
    assert ours.receive() == [{"type": "leaving"}]
    ours.receive()
    assert ours.closed


@pytest.mark.parametrize("junk", [b"\xff\xff\xff\xff....", b"\x00\x00\x00\x01{"])
def test_nonsense_closes_the_channel(ends, junk):
    ours, theirs = ends
    ours._sock.send(junk)
    assert theirs.receive() == []
    assert theirs.closed
