"""What the server's errors mean, in one line each, without a secret."""

from __future__ import annotations

import errno
import os
import re

from redis import exceptions

from queued.errors import DriverError, DriverUnavailable

# How Redis 7 and Valkey say it when a command within a script is not permitted.
_NOT_PERMITTED = ("ACL failure in script", "The user executing the script can't")

_CONNECTING = re.compile(r"Error (?P<errno>-?\d+) connecting to \S+ ")
_LOGIN = "it refuses the login; check user and password of the connection"
_BY_CLASS: dict[type[Exception], str] = {
    exceptions.OutOfMemoryError: "its memory is full (maxmemory), so it takes no new jobs for now",
    exceptions.ReadOnlyError: "it is a read-only replica; connect to the primary",
    exceptions.BusyLoadingError: "it is still loading its data",
    exceptions.AuthenticationError: _LOGIN,
    exceptions.AuthorizationError: _LOGIN,
    exceptions.ClusterDownError: "its cluster is down",
    exceptions.MasterDownError: "it is a replica that lost its primary",
    exceptions.AskError: "it is a node of a cluster, and redis:// does not follow clusters:"
    " use redis+cluster://",
    exceptions.NoScriptError: "it forgets scripts as fast as they are loaded (SCRIPT FLUSH)",
    exceptions.TryAgainError: "its cluster is moving the queue",
}

_BY_CODE = {
    "BUSY": "it is busy running somebody's script",
    "MISCONF": "it cannot write to its disk and refuses writes; see its log",
    "NOREPLICAS": "too few of its replicas are in sync (min-replicas-to-write)",
    "LOADING": "it is still loading its data",
    "UNBLOCKED": "it stopped being the primary",
}


def refusal(error: Exception, server: str) -> DriverError:
    """Return the error to raise for one of redis-py, about ``server`` (its address).

    ``DriverUnavailable`` for what passes or an operator heals; ``DriverError`` for what does not,
    such as a key of another kind under our name.
    """
    text = " ".join(str(error).split())
    hint = next((hint for kind, hint in _BY_CLASS.items() if isinstance(error, kind)), None)
    hint = hint or _BY_CODE.get(text.partition(" ")[0])
    if isinstance(error, exceptions.NoPermissionError) or text.startswith(_NOT_PERMITTED):
        hint = f"the ACL of this user lacks a permission: {text}"
    if hint:
        return DriverUnavailable(f"Redis at {server}: {hint}")
    if isinstance(error, exceptions.ResponseError):
        return DriverError(f"Redis at {server} refused a command: {text}")
    return DriverUnavailable(f"Redis at {server} cannot be reached: {_plain(text)}")


def _plain(text: str) -> str:
    """Return what redis-py says of a connection without the address, which stands before it."""
    match = _CONNECTING.match(text)
    if match is None:
        return text.rstrip(".")
    number, reason = int(match["errno"]), text[match.end() :]
    if reason.startswith("[SSL"):  # its numbers are TLS's own
        return reason.rstrip(".")
    if number in errno.errorcode:
        reason = os.strerror(number)
    return reason.rstrip(".").lower()
