"""The pipe between the master and a child: JSON frames that never block either side.

A frame is a 4-byte big-endian length and one JSON object with a ``type``. Snapshots may be dropped
when the socket is full, since the next one says more; everything else is buffered up to a bound.
The master relays snapshots without parsing them, so ``type`` always comes first in a frame and the
raw bytes can be had (``receive_raw``, ``send_raw``).
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, Self

Frame = dict[str, Any]

MAX_FRAME = 16 * 1024 * 1024
"""Bytes. A longer frame means that the other side is not one of ours: the channel closes."""
MAX_PENDING = 8 * 1024 * 1024
"""Bytes that wait to be written. Beyond, even frames that matter are refused."""
READ_SIZE = 256 * 1024

_LENGTH = struct.Struct(">I")


def encode(frame: Frame) -> bytes:
    """Return the JSON of a frame, ``type`` first, without its length."""
    ordered = {"type": frame["type"], **frame}
    return json.dumps(ordered, separators=(",", ":")).encode()


class Channel:
    """One end of a socket pair. Not for several threads."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._deaf = False
        """The other side takes no more; what it said before may be still to be read."""
        self.closed = False
        """The other side is gone (or spoke nonsense): nothing more comes or goes."""

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self.closed = True
        self._sock.close()

    # writing

    @property
    def pending(self) -> bool:
        """Whether bytes wait until the socket takes more: call ``flush`` when it is writable."""
        return bool(self._outgoing) and not (self.closed or self._deaf)

    def send(self, frame: Frame, *, droppable: bool = False) -> bool:
        """Send a frame without ever blocking; False: it was dropped, or the channel is closed."""
        return self.send_raw(encode(frame), droppable=droppable)

    def send_raw(self, data: bytes, *, droppable: bool = False) -> bool:
        """Like ``send``, for a frame that is encoded already."""
        self.flush()
        if self.closed or self._deaf:
            return False
        if self._outgoing and (droppable or len(self._outgoing) + len(data) > MAX_PENDING):
            return False
        message = _LENGTH.pack(len(data)) + data
        written = 0 if self._outgoing else self._write(message)
        if self._deaf or (droppable and written == 0):
            return False
        self._outgoing += memoryview(message)[written:]  # a part is out: the rest must follow
        return True

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        while self.pending:
            written = self._write(self._outgoing)
            if written == 0:
                return
            del self._outgoing[:written]

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data, getattr(socket, "MSG_NOSIGNAL", 0))
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:  # EPIPE, ECONNRESET, EBADF (a job closed every descriptor)
            self._deaf = True
            return 0

    # reading

    def receive(self) -> list[Frame]:
        """Return the frames that have arrived, without blocking; sets ``closed`` at the end."""
        frames = []
        for data in self.receive_raw():
            try:
                frame = json.loads(data)
            except (ValueError, RecursionError):
                self.closed = True
                break
            frames.append(frame)
        return frames

    def receive_raw(self) -> list[bytes]:
        """Like ``receive``, with frames left encoded."""
        self._fill()
        frames = []
        start = 0
        while len(self._incoming) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._incoming, start)
            if length > MAX_FRAME:
                self.closed = True
                break
            end = start + _LENGTH.size + length
            if end > len(self._incoming):
                break
            frames.append(bytes(memoryview(self._incoming)[start + _LENGTH.size : end]))
            start = end
        del self._incoming[:start]
        return frames

    def _fill(self) -> None:
        # Bounded, so that one chatty child cannot keep the master's loop.
        while not self.closed and len(self._incoming) <= MAX_FRAME:
            try:
                data = self._sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.closed = True
                return
            if not data:
                self.closed = True
                return
            self._incoming += data
            if len(data) < READ_SIZE:
                return
