"""From root to the ``user:`` of queue.yaml, for good and all the way.

Root is needed for a port below 1024 and for a folder below /run. Then the groups go, the group, the
user, in this order, each in its real, effective and saved form: an id that is left behind is a way
back (CVE-2011-4356). It is verified that there is none, before any process is forked and before any
of the user's code is imported. ``PR_SET_PDEATHSIG``, which a change of user clears, is set by each
child after that.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import queued
from queued.errors import ConfigError, QueuedError

if TYPE_CHECKING:
    from queued.config.load import LoadedConfig

T = TypeVar("T")

_PR_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the daemon becomes."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """Supplementary ones; ``gid`` is among them."""
    home: str

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return ``environ`` with what it says of the user corrected."""
        kept = {key: value for key, value in environ.items() if key != "XDG_RUNTIME_DIR"}
        return {**kept, "HOME": self.home, "USER": self.name, "LOGNAME": self.name}


def identity(user: str | None) -> Identity | None:
    """Return whom the ``user:`` of queue.yaml means; None: there is nothing to change.

    :raises ConfigError: there is no such user or group, or only root could become it.
    """
    if user is None:
        return None
    name, _, group = user.partition(":")
    found = _entry(pwd.getpwnam, name, "user")
    gid = _entry(grp.getgrnam, group, "group").gr_gid if group else found.pw_gid
    if found.pw_uid == os.geteuid():
        if group and gid != os.getegid():
            raise ConfigError([f"user: {name} runs this, and cannot change the group to {group}"])
        return None
    if os.geteuid() != 0:
        own = _name(os.geteuid())
        raise ConfigError([f"user: only root can become {name}, and {own} runs this"])
    return Identity(name, found.pw_uid, gid, tuple(os.getgrouplist(name, gid)), found.pw_dir)


@contextmanager
def acting_as(who: Identity | None) -> Iterator[None]:
    """Do something as another user and come back to root: files are made by who will use them."""
    if who is None:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups(who.groups)
    os.setegid(who.gid)
    os.seteuid(who.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def become(who: Identity | None) -> None:
    """Become another user, with no way back, in this process and what it will fork.

    :raises QueuedError: something of root is left.
    """
    if who is None:
        return
    os.setgroups(who.groups)
    os.setgid(who.gid)  # as root: the real, the effective and the saved one
    os.setuid(who.uid)
    _verify(who)
    os.environ.update(who.environ(os.environ))
    os.environ.pop("XDG_RUNTIME_DIR", None)
    # The kernel takes /proc/self and core dumps from who changes its user. Service managers that
    # set the user before they start a program leave both.
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _verify(who: Identity) -> None:
    uids, gids = os.getresuid(), os.getresgid()
    is_complete = set(uids) == {who.uid} and set(gids) == {who.gid}
    if not is_complete or set(os.getgroups()) - {who.gid} != set(who.groups) - {who.gid}:
        raise QueuedError(
            f"user: not all of root could be given up: user {uids}, group {gids},"
            f" groups {os.getgroups()}"
        )
    for regain in (os.setuid, os.seteuid, os.setgid, os.setegid):
        if _works(regain):
            raise QueuedError(f"user: {who.name} could become root again by {regain.__name__}()")


def _works(regain: Callable[[int], None]) -> bool:
    try:
        regain(0)
    except PermissionError:
        return False
    return True


def check_access(loaded: LoadedConfig, who: Identity | None) -> None:
    """Look whether the user that this process has become can do what it must.

    :raises ConfigError: one line for each thing that it cannot.
    """
    if who is None:
        return
    problems = [
        f"{file}: {who.name} cannot read it; check its mode and that of its folders"
        for file in (loaded.path, Path(os.__file__), Path(str(queued.__file__)))
        if not os.access(file, os.R_OK)
    ]
    kind, _, path = loaded.config.connection.partition(":///")
    database = Path(path.partition("?")[0])
    if kind == "sqlite" and not _can_write(database):
        problems.append(
            f"connection: {who.name} cannot write to {database} and its folder;"
            f" name a place such as {who.home}, or chown both"
        )
    if problems:
        raise ConfigError(problems)


def _can_write(database: Path) -> bool:
    if database.exists() and not os.access(database, os.R_OK | os.W_OK):
        return False
    folder = next(one for one in database.parents if _is_there(one))
    return os.access(folder, os.W_OK | os.X_OK)


def _is_there(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError:
        return False


def _entry(look_up: Callable[[str], T], name: str, kind: str) -> T:
    try:
        return look_up(name)
    except KeyError:
        raise ConfigError([f"user: there is no {kind} {name} on this machine"]) from None


def _name(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)
