"""Where a running daemon keeps what is not data: lock, control socket, install id, open alerts.

Everything is named by a hash of the configuration's real path, so that one configuration has one
daemon and ``queued status`` finds it from the path alone. A daemon that root starts for a user has
a folder of that user's, where root finds it, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from queued.daemon.master.privileges import Identity
from queued.errors import AlreadyRunning, ConfigError
from queued.folders import make_private

SHARED = Path("/run/queued")
"""Root's own files, and below it a folder for each user that it starts a daemon for."""
LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel's limit is 107 on Linux, 103 on macOS."""


def candidates(environ: Mapping[str, str], user: str | None = None) -> Iterator[Path]:
    """Yield the folders that may hold the runtime files, the best first.

    :param user: for whom root starts the daemon; None: it is who runs this.
    """
    if explicit := environ.get("QUEUED_RUNTIME_DIR"):
        yield Path(explicit)
        return
    if given := environ.get("RUNTIME_DIRECTORY"):  # systemd; several are separated by colons
        yield Path(given.split(":")[0])
    if session := environ.get("XDG_RUNTIME_DIR"):
        yield Path(session) / "queued"
    yield SHARED / user if user else SHARED
    home = environ.get("HOME")
    yield (Path(home) if home else Path.home()) / ".queued" / "run"


class Runtime:
    """The runtime files of one configuration."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        self.config = config.resolve()
        name = hashlib.sha256(os.fsencode(self.config)).hexdigest()[:16]
        self.lock_path = folder / f"{name}.lock"
        self.socket_path = folder / f"{name}.sock"
        self.episodes_path = folder / f"{name}.episodes"
        self._install_path = folder / f"{name}.install"
        self._lock: int | None = None

    @classmethod
    def for_daemon(
        cls, config: Path, environ: Mapping[str, str] | None = None, user: str | None = None
    ) -> Runtime:
        """Return the runtime files in the first folder that is ours or can be made.

        :param user: as for ``candidates``.
        :raises ConfigError: there is none; the message says why for each.
        """
        problems = []
        for folder in candidates(os.environ if environ is None else environ, user):
            problem = _prepare(folder)
            if problem is None:
                return cls(folder, config)
            problems.append(f"{folder}: {problem}")
        hint = "no folder for the control socket; set QUEUED_RUNTIME_DIR to one of your own"
        raise ConfigError([hint, *problems])

    @classmethod
    def for_client(cls, config: Path, environ: Mapping[str, str] | None = None) -> Runtime:
        """Return the runtime files of a daemon that runs, or those that one would have."""
        folders = list(candidates(os.environ if environ is None else environ))
        with suppress(OSError):
            folders += [entry for entry in SHARED.iterdir() if entry.is_dir()]
        known = [cls(folder, config) for folder in folders]
        return next((one for one in known if _exists(one.socket_path)), known[0])

    def acquire(self) -> None:
        """Take the lock, until this process ends.

        :raises AlreadyRunning: another master holds it; the message has its pid.
        """
        fd = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.read(fd, 32).decode(errors="replace").strip()
            os.close(fd)
            who = f" (pid {pid})" if pid.isdecimal() else ""
            raise AlreadyRunning(
                f"already running{who} for {self.config}; queued reload takes a changed file in,"
                " queued restart new code, and queued stop ends it"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock = fd

    def release(self) -> None:
        """Give the lock back and take the socket away.

        The lock's file stays: were it removed, a second master that has just opened it and a third
        that makes a new one would both hold a lock.
        """
        if self._lock is None:
            return
        self.socket_path.unlink(missing_ok=True)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)
        self._lock = None

    def install_id(self) -> str:
        """Return 8 hex digits that tell this configuration on this machine from any other.

        Only the holder of the lock asks. The owners of this id's earlier boots count as dead, so
        the machine's own id goes into it: a clone, or a folder that two hosts share, must not make
        one bury the other's living.
        """
        seed = f"{self._stored_id()} {_machine_id()}"
        return hashlib.blake2s(seed.encode(), digest_size=4).hexdigest()

    def _stored_id(self) -> str:
        with suppress(OSError):
            text = self._install_path.read_text().strip()
            if len(text) == 8 and all(digit in "0123456789abcdef" for digit in text):  # noqa: PLR2004
                return text
        text = secrets.token_hex(4)
        fd = os.open(self._install_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, text.encode())
        os.close(fd)
        return text


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip() or socket.gethostname()
    except OSError:  # a container
        return socket.gethostname()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder of somebody else's
        return False


def provide(who: Identity, environ: Mapping[str, str]) -> None:
    """As root, make the folder in which a daemon of ``who`` will have its runtime files.

    One that root has made, or been given by the service manager, becomes the user's. What cannot be
    done here shows when that user looks for a folder.
    """
    folder = next(candidates(environ, who.name))
    with suppress(OSError):
        make_private(folder)
        if folder.parent == SHARED and SHARED.lstat().st_uid == 0:
            SHARED.chmod(0o755)  # the way to it; what is in there is private in itself
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_uid == 0:
                for name in os.listdir(fd):  # noqa: PTH208 - by descriptor; of an earlier start without the user, say
                    os.chown(name, who.uid, who.gid, dir_fd=fd, follow_symlinks=False)
                os.fchown(fd, who.uid, who.gid)
        finally:
            os.close(fd)


def _prepare(folder: Path) -> str | None:
    """Make the folder if need be; return why it cannot be used, or None."""
    try:
        make_private(folder)
        found = folder.lstat()
    except OSError as error:
        return error.strerror or str(error)
    if not stat.S_ISDIR(found.st_mode):
        return "not a folder"
    if found.st_uid != os.geteuid():
        return "belongs to another user"
    if found.st_mode & 0o022:
        return "others can write to it; chmod 700"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "not writable"
    return None


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Yield a name for a socket's path that is short enough for the kernel.

    Deep folders exceed it; Linux then takes a path through a descriptor of the folder.
    """
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
