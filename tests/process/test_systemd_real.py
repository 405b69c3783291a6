"""The unit as systemd itself runs it: sandbox, secrets, readiness, reload, drain, watchdog."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from tests.contract.servers import Server, start_valkey
from tests.process.harness import until
from tests.process.machine import HIDDEN, Machine, why_not

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.xdist_group("systemd"),
]

PASSWORD = "s3cr3t-p4ssw0rd"
TOKEN = "s3cr3t-h7tp-t0ken"
STATE = "/var/lib/queued"
CONFIG = """
connection: redis://:${file:redis-password}@127.0.0.1:PORT/0
imports: [work]
http: {listen: "127.0.0.1:0", token: "${file:http-token}"}
shutdown_grace: 60s
queues:
  default: {nice: 5}
"""
SECRETS = """LoadCredential=redis-password:/etc/queued/credentials/redis-password
LoadCredential=http-token:/etc/queued/credentials/http-token
"""
JOBS = '''
import asyncio
import contextlib
import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import threading
from pathlib import Path

from queued import Job

class Touch(Job):
    path: str
    async def handle(self):
        Path(self.path).touch()

class Slow(Job):
    """Longer than the unit's TimeoutStopSec."""
    async def handle(self):
        Path("slow-began").touch()
        await asyncio.sleep(4)
        Path("slow-ended").touch()

class Endless(Job):
    async def handle(self):
        Path(f"endless-{self.attempts}").touch()
        await asyncio.sleep(3600)

class Crash(Job):
    max_tries = 1
    async def handle(self):
        if not Path("crashed").exists():
            Path("crashed").touch()
            ctypes.string_at(0)

class Forbidden(Job):
    def handle(self):
        os.chroot("/")

def tried(what):
    try:
        return what() or "done"
    except OSError as error:
        return error.strerror
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def output(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

def callback():
    double = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda n: 2 * n)
    return double(21)

def generated_code():
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\\xc3")

def thread():
    said = []
    one = threading.Thread(target=lambda: said.append("ran"))
    one.start()
    one.join()
    return said[0]

def opened(family, kind):
    socket.socket(family, kind).close()

class Probe(Job):
    """What a job may do in the unit's sandbox, and what not; a plain handler, in a thread."""
    def handle(self):
        libc = ctypes.CDLL(None, use_errno=True)
        def call(name, *arguments):
            if getattr(libc, name)(*arguments) < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        found = {
            "write state": tried(lambda: Path("written").write_text("x") and None),
            "write tmp": tried(lambda: Path("/tmp/written").write_text("x") and None),
            "program": tried(lambda: output("sh", "-c", "echo $((6 * 7))")),
            "look up": tried(lambda: socket.getaddrinfo("localhost", 80)[0][1].name),
            "interfaces": tried(lambda: bool(socket.if_nameindex()) and None),
            "tcp": tried(lambda: opened(socket.AF_INET, socket.SOCK_STREAM)),
            "udp6": tried(lambda: opened(socket.AF_INET6, socket.SOCK_DGRAM)),
            "unix": tried(lambda: opened(socket.AF_UNIX, socket.SOCK_STREAM)),
            "thread": tried(thread),
            "callback of C": tried(callback),
            "code made while it runs": tried(generated_code),
            "nice": tried(lambda: -os.nice(0) + os.nice(1)),
            "processors": tried(lambda: os.sched_setaffinity(0, os.sched_getaffinity(0))),
            "limits": tried(lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))),
            "meminfo": tried(lambda: Path("/proc/meminfo").read_text()[:8]),
            "secret": tried(
                lambda: oct(Path(os.environ["CREDENTIALS_DIRECTORY"], "http-token").stat().st_mode)
            ),
            "mode of what it wrote": tried(lambda: oct(Path("written").stat().st_mode)),
            # and not:
            "write elsewhere": tried(lambda: Path("/srv/open/x").touch()),
            "write code": tried(lambda: Path("/opt/queued/x").touch()),
            "read root's secret": tried(
                lambda: Path("/etc/queued/credentials/http-token").read_text()
            ),
            "other processes": tried(lambda: Path("/proc/1/cmdline").read_text()),
            "homes": tried(lambda: str(os.listdir("/home"))),
            "raw socket": tried(lambda: opened(socket.AF_PACKET, socket.SOCK_RAW)),
            "bluetooth": tried(lambda: opened(31, socket.SOCK_RAW)),
            "low port": tried(lambda: socket.socket().bind(("127.0.0.1", 81))),
            "chown": tried(lambda: os.chown("written", 1, 1)),
            "chroot": tried(lambda: os.chroot("/")),
            "mount": tried(lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None)),
            "namespace": tried(lambda: call("unshare", 0x10000000)),
            "setuid bit": tried(lambda: os.chmod("written", 0o4755)),
            "realtime": tried(
                lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            ),
            "kernel setting": tried(lambda: Path("/proc/sys/kernel/hostname").write_text("x")),
            "device": tried(lambda: os.mknod("device", 0o600 | 0o20000, os.makedev(1, 3))),
            "disks": tried(lambda: str([one for one in os.listdir("/dev") if "da" in one])),
        }
        Path("probed").write_text(json.dumps(found))
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_valkey(tmp_path_factory.mktemp("valkey"), "--requirepass", PASSWORD)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.clean_up()


@pytest.fixture
def machine(booted: Machine, server: Server) -> Iterator[Machine]:
    """Yield the machine with a queue.yaml, jobs and secrets, and nothing that runs."""
    redis.Redis.from_url(server.url, password=PASSWORD).flushall()
    booted.write("/etc/queued/queue.yaml", CONFIG.replace("PORT", str(server.port)))
    booted.write("/etc/queued/work.py", JOBS)
    booted.write("/etc/queued/credentials/redis-password", f"{PASSWORD}\n", "0600")
    booted.write("/etc/queued/credentials/http-token", f"{TOKEN}\n", "0600")
    booted.run("install", "-d", "-m", "1777", "/srv/open")
    booted.drop_in("queued", SECRETS)
    booted.turn_the_page()
    yield booted
    booted.systemctl("stop", "queued", "queued@*", check=False)
    booted.systemctl("reset-failed", check=False)
    booted.run("sh", "-c", f"rm -rf /etc/queued/* {STATE}/*")


def dispatch(machine: Machine, job: str, payload: str = "{}", config: str = "queue") -> None:
    """As the daemon's user would, with the secrets that systemd gave the daemon."""
    unit = "queued" if config == "queue" else f"queued@{config}"
    machine.run(
        "env", f"CREDENTIALS_DIRECTORY=/run/credentials/{unit}.service",
        "queued", "dispatch", "-c", f"/etc/queued/{config}.yaml", f"work.{job}", payload,
        user="queued",
    )  # fmt: skip


def until_there(machine: Machine, name: str) -> None:
    until(
        lambda: machine.run("test", "-e", f"{STATE}/{name}", check=False).returncode == 0,
        name,
        every=0.2,
    )


def test_the_sandbox_lets_jobs_work_and_no_more(machine: Machine) -> None:
    machine.systemctl("start", "queued")
    assert machine.property("ActiveState") == "active"
    until(  # it is ready a turn before it says how many run
        lambda: machine.property("StatusText") == "1 of 1 workers run in 1 pool", "its status"
    )
    dispatch(machine, "Probe")
    until_there(machine, "probed")
    found = json.loads(machine.read(f"{STATE}/probed"))
    denied = "Operation not permitted"
    assert found == {
        "write state": "done",
        "write tmp": "done",
        "program": "42",
        "look up": "SOCK_STREAM",
        "interfaces": "done",
        "tcp": "done",
        "udp6": "done",
        "unix": "done",
        "thread": "ran",
        "callback of C": 42,
        "code made while it runs": "done",
        "nice": 1,
        "processors": "done",
        "limits": "done",
        "meminfo": "MemTotal",
        "secret": "0o100400",
        "mode of what it wrote": "0o100600",
        "write elsewhere": "Read-only file system",
        "write code": "Read-only file system",
        "read root's secret": "Permission denied",
        "other processes": "No such file or directory",
        "homes": "[]" if HIDDEN else "Permission denied",
        "raw socket": "Address family not supported by protocol",
        "bluetooth": "Address family not supported by protocol",
        "low port": "Permission denied",
        "chown": denied,
        "chroot": denied,
        "mount": denied,
        "namespace": denied,
        "setuid bit": denied,
        "realtime": denied,
        "kernel setting": "Read-only file system",
        "device": denied,
        "disks": "[]",
    }


@pytest.mark.parametrize("backend", ["redis", "sqlite"])
def test_no_call_is_outside_the_filter(machine: Machine, backend: str) -> None:
    """A call that is not allowed kills whoever makes it here, instead of failing."""
    machine.drop_in("queued", f"{SECRETS}SystemCallErrorNumber=kill")
    if backend == "sqlite":
        config = machine.read("/etc/queued/queue.yaml").splitlines()
        config[1] = f"connection: sqlite:///{STATE}/queued.db"
        machine.write("/etc/queued/queue.yaml", "\n".join(config))
    machine.systemctl("start", "queued")
    dispatch(machine, "Touch", f'{{"path": "{STATE}/touched"}}')
    until_there(machine, "touched")
    dispatch(machine, "Crash")
    until_there(machine, "crashed")
    machine.systemctl("reload", "queued")
    machine.run("queued", "restart", "-c", "/etc/queued/queue.yaml")
    dispatch(machine, "Touch", f'{{"path": "{STATE}/again"}}')
    until_there(machine, "again")
    assert "SIGSYS" not in machine.journal()
    dispatch(machine, "Forbidden")
    until(lambda: "SIGSYS" in machine.journal(), "the kill of who calls what is outside")
    machine.systemctl("stop", "queued")
    assert machine.property("Result") == "success"


def test_secrets_come_from_the_service_manager(machine: Machine) -> None:
    machine.systemctl("start", "queued")
    status = json.loads(
        machine.run("queued", "status", "--json", "-c", "/etc/queued/queue.yaml").stdout
    )
    assert status["state"] == "running"
    assert TOKEN not in machine.journal()
    assert PASSWORD not in machine.journal()


def test_a_reload_says_whether_it_worked(machine: Machine) -> None:
    machine.systemctl("start", "queued")
    good = machine.read("/etc/queued/queue.yaml")
    machine.write("/etc/queued/queue.yaml", good.replace("{nice: 5}", "{processes: 2}"))
    machine.systemctl("reload", "queued")
    until(lambda: machine.property("StatusText").startswith("2 of 2"), "two workers")
    machine.write("/etc/queued/queue.yaml", good.replace("nice", "niece"))
    assert machine.run("systemctl", "reload", "queued", check=False).returncode != 0
    assert machine.property("ActiveState") == "active"
    assert 'queues.default.niece: unknown key; did you mean "nice"?' in machine.journal()


def test_a_file_with_problems_starts_nothing_and_says_all(machine: Machine) -> None:
    machine.drop_in("queued", f"{SECRETS}Restart=no")
    bad = machine.read("/etc/queued/queue.yaml").replace("nice", "niece")
    machine.write("/etc/queued/queue.yaml", bad.replace("file:http-token", "file:no-token"))
    assert machine.run("systemctl", "start", "queued", check=False).returncode != 0
    said = machine.journal()
    assert "/etc/queued/queue.yaml:7: queues.default.niece: unknown key" in said
    place = "/run/credentials/queued.service/no-token"
    assert f"http.token: ${{file:no-token}}: {place}: no such file" in said
    assert "daemon.ready" not in said.rpartition("Starting queued")[2]


def test_a_drain_may_take_longer_than_the_unit_says(machine: Machine) -> None:
    """The daemon asks for shutdown_grace; the job takes four times TimeoutStopSec."""
    machine.drop_in("queued", f"{SECRETS}TimeoutStopSec=1")
    machine.systemctl("start", "queued")
    dispatch(machine, "Slow")
    until_there(machine, "slow-began")
    machine.systemctl("stop", "queued")
    assert machine.property("Result") == "success"
    machine.run("test", "-e", f"{STATE}/slow-ended")


def test_a_unit_that_does_not_wait_is_found(machine: Machine) -> None:
    """`queued check` asks the real systemctl, whether the unit runs or not."""
    command = "queued check --no-practices -c /etc/queued/queue.yaml"
    secrets = ("env", "CREDENTIALS_DIRECTORY=/etc/queued/credentials")
    assert "[stop-timeout]" not in machine.run(*secrets, *command.split(), check=False).stdout
    machine.drop_in("queued", f"{SECRETS}Type=simple\nTimeoutStopSec=20")
    said = machine.run(*secrets, *command.split(), check=False).stdout
    assert "queued.service: systemd kills the daemon 20s after it is told to stop" in said


def test_but_no_longer_than_shutdown_grace(machine: Machine) -> None:
    config = machine.read("/etc/queued/queue.yaml").replace("grace: 60s", "grace: 1s")
    machine.write("/etc/queued/queue.yaml", config)
    machine.systemctl("start", "queued")
    dispatch(machine, "Endless")
    until_there(machine, "endless-1")
    machine.systemctl("stop", "queued")
    assert machine.property("Result") == "success", "it handed the job back and was not killed"
    machine.systemctl("start", "queued")
    until_there(machine, "endless-2")


def test_a_master_that_hangs_is_replaced(machine: Machine) -> None:
    machine.drop_in("queued", f"{SECRETS}WatchdogSec=3\nTimeoutAbortSec=1")
    machine.systemctl("start", "queued")
    before = machine.property("MainPID")
    machine.run("kill", "-STOP", before)
    until(lambda: int(machine.property("NRestarts")) > 0, "a restart", every=0.2)
    until(lambda: machine.property("ActiveState") == "active", "the new one", every=0.2)
    assert machine.property("MainPID") != before
    assert "Watchdog timeout" in machine.journal()


def test_several_daemons_of_one_template(machine: Machine, server: Server) -> None:
    """Each has its own state, secrets and socket; one that stops leaves the others theirs."""
    text = CONFIG.replace("PORT", str(server.port))
    for name in ("mail", "sms"):
        machine.write(f"/etc/queued/{name}.yaml", text.replace("default", name))
        machine.write(f"/etc/queued/credentials/{name}/redis-password", f"{PASSWORD}\n", "0600")
        machine.write(f"/etc/queued/credentials/{name}/http-token", f"{TOKEN}{name}\n", "0600")
    machine.drop_in("queued@", SECRETS.replace("credentials/", "credentials/%i/"))
    machine.systemctl("start", "queued", "queued@mail", "queued@sms")
    for name in ("mail", "sms"):
        machine.run("queued", "status", "-c", f"/etc/queued/{name}.yaml")
        machine.run("queued", "status", "-c", f"/etc/queued/{name}.yaml", user="queued")
    machine.run("systemctl", "stop", "queued", "queued@mail")
    machine.run("test", "-d", f"{STATE}/mail")
    machine.run("queued", "status", "-c", "/etc/queued/sms.yaml")
    machine.systemctl("reload", "queued@sms")
    gone = machine.run("queued", "status", "-c", "/etc/queued/mail.yaml", check=False)
    assert gone.returncode == 3
