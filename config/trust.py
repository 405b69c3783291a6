"""Whether somebody else could change what the daemon runs as root.

Who can write queue.yaml names the modules that are imported. So, as sshd and sudo ask of their own
files, nobody may but root and the user that the file itself names: not through its mode, not as its
owner, and not through a folder on the way to it (links included).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def doubts(path: Path, user: str | None) -> list[str]:
    """Return why root should not do what ``path`` says, one line each; none if it is not root.

    :param path: absolute.
    :param user: ``name`` or ``name:group``, as queue.yaml has it.
    """
    if os.geteuid() != 0:
        return []
    uids, gids = _trusted(user)
    lines = []
    for step in dict.fromkeys(_steps(path)):
        problem = _doubt(step, uids, gids)
        if problem:
            lines.append(f"{step}: {problem}")
    return lines


def _trusted(user: str | None) -> tuple[set[int], set[int]]:
    uids, gids = {0}, {0}
    name, _, group = (user or "").partition(":")
    with suppress(KeyError):  # who does not exist owns nothing; `start` says that he does not
        found = pwd.getpwnam(name)
        uids.add(found.pw_uid)
        gids.add(grp.getgrnam(group).gr_gid if group else found.pw_gid)
    return uids, gids


def _steps(path: Path) -> Iterator[Path]:
    """Yield the file and every folder on the way to it, also on the ways that links take."""
    seen = set()
    ways = [path]
    while ways:
        way = ways.pop()
        for step in (way, *way.parents):
            if step in seen:
                continue
            seen.add(step)
            if step.is_symlink():
                ways.append(step.parent / step.readlink())
            else:
                yield step


def _doubt(step: Path, uids: set[int], gids: set[int]) -> str | None:
    try:
        found = step.stat()
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if found.st_uid not in uids:
        owner = _name(found.st_uid)
        own = f", or run the jobs as that user: user: {owner}" if not owner.isdecimal() else ""
        return f"belongs to {owner}, who could have root run anything: chown root {step}{own}"
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return None  # as /tmp: what is in it can be changed by its owner only
    if found.st_mode & stat.S_IWOTH:
        return f"everybody can write to it, and so have root run anything: chmod o-w {step}"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in gids:
        return f"its group can write to it, and so have root run anything: chmod g-w {step}"
    return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
