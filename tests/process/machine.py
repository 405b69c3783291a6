"""A machine that systemd has booted: the real service manager runs the units as they are shipped.

It is a container of the test's own, which root makes with ``unshare``. Process 1 is this machine's
systemd; the root is a view of this machine's, and what is written there is gone afterwards; the
network is shared, so that a server of the test's is "another host".
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

from tests.process.harness import PATIENCE, until
from tests.tools import required

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "systemd"
NEEDED = (ROOT, Path(sys.prefix), Path(sys.base_prefix))
UNSEEN = ("/root", "/home", "/tmp", "/var/tmp")
HIDDEN = [path for path in NEEDED if any(map(path.is_relative_to, UNSEEN))]
"""What ``ProtectHome=yes`` and ``PrivateTmp=yes`` would hide: the unit expects queued in /opt."""
NAMESPACES = ("--mount", "--pid", "--cgroup", "--ipc", "--uts")

ENTER = """
set -e
mount --make-rprivate /
mount -t tmpfs none {hold}
mkdir {hold}/cgroup {hold}/upper {hold}/work {hold}/root
mount -t cgroup2 none {hold}/cgroup
mkdir {hold}/cgroup/{name}
echo $$ > {hold}/cgroup/{name}/cgroup.procs
umount {hold}/cgroup
exec unshare {namespaces} --fork --kill-child sh -c {boot}
"""
BOOT = """
set -e
cd {hold}
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work none root
cd root
mount -t proc none proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro none sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 none run
mount -t tmpfs -o mode=1777 none tmp
mount -t tmpfs -o mode=755 none dev
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 none dev/shm
mount -t devpts -o newinstance,ptmxmode=666 none dev/pts
ln -s pts/ptmx dev/ptmx
for node in null zero full random urandom tty; do
    : > dev/$node
    mount --bind /dev/$node dev/$node
done
{pass_through}
rm -rf usr/lib/systemd/system/*.wants etc/systemd/system etc/queued var/lib/queued opt/queued
mkdir -p etc/systemd/system etc/queued opt/queued/bin
ln -s {queued} opt/queued/bin/queued
cp {units}/*.service etc/systemd/system/
printf '[Unit]\\nRequires=systemd-journald.service\\n' > etc/systemd/system/test.target
grep -q ^queued: etc/passwd ||
    useradd --prefix "$PWD" --system --user-group --home-dir /var/lib/queued queued
: > etc/machine-id
mkdir outside
pivot_root . outside # and no chroot, in which nobody may make a user namespace
umount --lazy outside
mount --make-rshared / # as credentials are mounted aside and have to show here
exec env -i container=other PATH="$PATH" \\
    /lib/systemd/systemd --system --log-target=journal --unit=test.target
"""


@functools.cache
def why_not() -> str:
    """Return why no machine can be booted here; nothing if one can."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    try_ = "mount -t tmpfs none /mnt && mount -t cgroup2 none /mnt"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "--fork", "sh", "-c", try_],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no namespaces of our own here: {tried.stderr.strip()}" if tried.returncode else ""


class Machine:
    """One that has booted, until ``clean_up``."""

    def __init__(self, folder: Path) -> None:
        required("systemd-analyze")  # of the package that has systemd itself
        self._name = f"queued-test-{uuid.uuid4().hex[:12]}"
        self._hold = folder / "hold"
        self._hold.mkdir()
        self._page: tuple[str, ...] = ()
        self._log = (folder / "machine.log").open("wb")
        self._outer = subprocess.Popen(
            ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c", self._script()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._init = until(self._find_init, "process 1")
        until(lambda: self.systemctl("is-active", "test.target", check=False) == "active", "boot")
        if HIDDEN:
            shown = f"ProtectHome=tmpfs\nBindReadOnlyPaths={' '.join(map(str, HIDDEN))}"
            self.drop_in("queued", shown, "home")
            self.drop_in("queued@", shown, "home")

    def _script(self) -> str:
        quoted = shlex.quote(str(self._hold))
        boot = BOOT.format(
            hold=quoted,
            pass_through="\n".join(_pass_through(path) for path in NEEDED),
            queued=shlex.quote(str(Path(sys.executable).with_name("queued"))),
            units=shlex.quote(str(UNITS)),
        )
        return ENTER.format(
            hold=quoted, name=self._name, namespaces=" ".join(NAMESPACES), boot=shlex.quote(boot)
        )

    def _find_init(self) -> int | None:
        """Return the pid, as seen from here, of the machine's process 1 once it is systemd."""
        if self._outer.poll() is not None:
            log = Path(self._log.name).read_text()
            raise AssertionError(f"the machine did not boot: {log}")
        pid: int | None = self._outer.pid
        for _ in range(2):
            pid = _child(pid) if pid else None
        if pid is None:
            return None
        with contextlib.suppress(OSError):
            return pid if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd" else None
        return None

    def run(
        self, *command: str | Path, check: bool = True, user: str = "root", text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine; ``text`` is what it reads."""
        enter = ["nsenter", f"--target={self._init}", *NAMESPACES, "--root", "--wdns=/"]
        clean = ["env", "-i", "PATH=/opt/queued/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
        if user != "root":
            clean[-1] = "HOME=/var/lib/queued"
            enter += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        done = subprocess.run(
            [*enter, *clean, *command],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE,
        )
        if check:
            journal = self.journal() if done.returncode and command[0] != "journalctl" else ""
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{journal}"
        return done

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.run("systemctl", *words, check=check).stdout.strip()

    def property(self, name: str, unit: str = "queued") -> str:
        return self.systemctl("show", "--value", "--property", name, unit)

    def journal(self) -> str:
        """Return what the units have logged since ``turn_the_page``, and systemd about them."""
        self._sync_journal()
        return self.run("journalctl", "--output=cat", "--unit=queued*", *self._page).stdout

    def turn_the_page(self) -> None:
        self._sync_journal()
        last = self.run("journalctl", "--lines=0", "--show-cursor").stdout
        self._page = (f"--after-cursor={last.partition('cursor: ')[2].strip()}",)

    def _sync_journal(self) -> None:
        """Wait until all that was logged before is there to be read."""
        self.run("journalctl", "--sync")

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, text=text)

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def drop_in(self, unit: str, settings: str, name: str = "test") -> None:
        """Change a unit as ``systemctl edit`` does."""
        path = f"/etc/systemd/system/{unit}.service.d/{name}.conf"
        self.write(path, f"[Service]\n{settings}\n")
        self.systemctl("daemon-reload")

    def clean_up(self) -> None:
        self._outer.kill()
        self._outer.wait(PATIENCE)
        self._log.close()
        for group in _control_groups(self._name):
            until(lambda group=group: _is_gone(group), f"{group} to be empty")


def _pass_through(path: Path) -> str:
    """Return commands that let everybody come to ``path``, which may be on another file system."""
    quoted = shlex.quote(f".{path}")
    covered = path.is_relative_to("/tmp")  # the machine has its own
    if covered or path.stat().st_dev != Path("/").stat().st_dev:
        return f"mkdir -p {quoted}\nmount --bind {shlex.quote(str(path))} {quoted}"
    closed = [one for one in (path, *path.parents) if not one.stat().st_mode & 0o001]
    return "\n".join(f"chmod o+x {shlex.quote(f'.{one}')}" for one in closed)


def _child(pid: int) -> int | None:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            stat = (entry / "stat").read_text() if entry.name.isdigit() else ""
            if stat and int(stat.rpartition(")")[2].split()[1]) == pid:
                return int(entry.name)
    return None


def _control_groups(name: str) -> list[Path]:
    """Return the machine's control group and those below, the deepest first."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) / name for mount in mounts if mount[2] == "cgroup2"]
    found = [folder for root in roots for folder in (root, *root.rglob("*")) if folder.is_dir()]
    return sorted(found, key=lambda folder: len(folder.parts), reverse=True)


def _is_gone(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
