"""Secrets stay where they were put: no log, error, title, page, record or answer has them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.servers import Server, free_port, start_valkey
from tests.process.harness import Daemon, until
from tests.unit.commands import Application, application

app = pytest.fixture(application)

PASSWORD = "s3cr3t-p4ssw0rd"
TOKEN = "s3cr3t-h7tp-t0ken"
IN_A_JOB = ("s3cr3t-f1eld", "s3cr3t-k3y", "s3cr3t-url", "s3cr3t-l0g", "s3cr3t-env")
EVERY = (PASSWORD, TOKEN, *IN_A_JOB, "s3cr3t")


def assert_clean(text: str | bytes, what: str) -> None:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    for secret in EVERY:
        assert secret not in shown, f"{what}: {shown}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = start_valkey(tmp_path / "valkey", "--requirepass", PASSWORD)
    yield server
    server.stop()


JOBS = """
import logging, structlog
from queued import Job

class Leaky(Job):
    max_tries = 2
    password: str
    config: dict

    async def handle(self):
        structlog.get_logger().info("connecting", password=self.password, nested=self.config)
        logging.getLogger("app").warning("token=s3cr3t-l0g, Authorization: Bearer s3cr3t-l0g")
        where = "postgresql://app:s3cr3t-url@db/app"
        raise ConnectionError(f"no answer from {where} (password='s3cr3t-l0g')")
"""
CONFIG = f"""
imports: [work]
http: {{listen: "127.0.0.1:0", token: "{TOKEN}"}}
log: {{level: debug, jobs: all}}
queues:
  default: {{env: {{API_KEY: s3cr3t-env}}}}
"""


def test_a_running_daemon_shows_no_secret(
    server: Server,
    daemon: Callable[..., Daemon],
) -> None:
    one = daemon(CONFIG, jobs=JOBS)
    url = server.url.replace("://", f"://:{PASSWORD}@")
    one.start("--connection", url, ready=False)
    until(lambda: "daemon.ready" in one.output(), "the daemon to come up")
    said: dict[str, str | bytes] = {}

    def run(*arguments: str) -> str:
        done = one.run(*arguments, check=False)
        said[shlex.join(arguments)] = done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    fields = {
        "password": IN_A_JOB[0],
        "config": {"api_key": IN_A_JOB[1], "dsn": "redis://:s3cr3t-url@h"},
    }
    asked = ("--connection", url)
    job_id = run("dispatch", "work.Leaky", json.dumps(fields), *asked).split()[0]
    del said[next(iter(said))]  # its name here has what was typed
    until(lambda: "job.failed" in one.output(), "the job to fail")
    for command in (
        "status",
        "status --json",
        "check",
        "reload",
        f"job {job_id}",
        f"job {job_id} --json",
        "failed list",
        f"failed show {job_id}",
        f"failed show {job_id} --json",
    ):
        needs_backend = command.startswith(("job", "failed"))
        done = one.run(*command.split(), *(asked if needs_backend else ()), check=False)
        assert "no job" not in done.stderr
        said[command] = done.stdout + done.stderr
    address = one.address
    for path in ("/", "/metrics", "/readyz", "/healthz", "/static/page.css"):
        with httpx.Client(base_url=address, timeout=10) as client:
            refused = client.get(path)
            given = client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
        probe = path in {"/healthz", "/readyz"}  # they carry no token
        assert (refused.status_code, given.status_code) == (200 if probe else 401, 200)
        for answer in (refused, given):
            said[f"{path} {answer.status_code}"] = f"{answer.headers} {answer.text}"

    titles = {}
    for pid in one.processes():
        for file in ("cmdline", "comm"):
            said[f"{file} of {pid}"] = Path(f"/proc/{pid}/{file}").read_bytes()
        titles[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    assert sorted(titles.values()) == [
        f"queued: master {one.config}"[: len(titles[one.pid])],
        "queued: monitor",
        "queued: template",
        "queued: worker default/1",
    ]
    assert titles[one.pid].startswith("queued: master /")

    assert one.run("stop", check=False).returncode == 0
    said["the log"] = one.output()
    assert "connecting" in one.output()
    assert "app.jobs" not in one.output()
    for what, text in said.items():
        assert_clean(text, what)


WAYS: dict[str, Callable[[Application, str, str, int], list[str]]] = {
    "a flag": lambda _app, _set, url, _port: ["--connection", url],
    "the file": lambda app, _set, url, _port: configured(app, url),
    "a variable of the file": lambda app, _set, url, _port: configured(app, url, "${SECRET}"),
}


def configured(app: Application, url: str, password: str | None = None) -> list[str]:
    shown = url if password is None else url.replace(PASSWORD, password)
    app.configure(f'connection: "{shown}"\nqueues: {{default: }}')
    return []


@pytest.mark.parametrize("way", [*WAYS, "QUEUE_CONNECTION", "REDIS_PASSWORD", "REDIS_URL"])
def test_no_command_shows_the_password(
    way: str,
    server: Server,
    app: Application,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the right one, a wrong one, no server, and a URL that is none."""
    monkeypatch.setenv("SECRET", PASSWORD)
    codes = []
    urls = [
        server.url.replace("://", f"://:{PASSWORD}@"),
        server.url.replace("://", f"://:wrong{PASSWORD}@"),
        f"redis://user:{PASSWORD}@127.0.0.1:{free_port()}/0",
        f"redis://user:{PASSWORD}@127.0.0.1:{server.port}/zero",
        f"redis:/{PASSWORD}",
        f"oracle://{PASSWORD}@host",
        f"redis://{PASSWORD}:x:y@[::1/0",
    ]
    for url in urls:
        arguments: list[str] = []
        match way:
            case "QUEUE_CONNECTION":
                monkeypatch.setenv("QUEUE_CONNECTION", url)
            case "REDIS_URL":
                monkeypatch.setenv("QUEUE_CONNECTION", "redis")
                monkeypatch.setenv("REDIS_URL", url)
            case "REDIS_PASSWORD":
                monkeypatch.setenv("QUEUE_CONNECTION", "redis")
                monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
                closed = url == urls[2]
                monkeypatch.setenv("REDIS_PORT", str(free_port() if closed else server.port))
                monkeypatch.setenv(
                    "REDIS_PASSWORD", PASSWORD if url == urls[0] else f"wrong/{PASSWORD}@:"
                )
            case _:
                arguments = WAYS[way](app, "", url, server.port)
        for command in (["failed", "list"], ["check"], ["work", "--max-time", "0.01"]):
            if command[0] == "work" and url == urls[2]:
                continue  # it waits for the server; the daemon's log is looked at above
            answer = app(*command, *arguments)
            codes.append(answer.code)
            assert_clean(answer.out + answer.err, shlex.join(command))
            assert "Traceback" not in answer.err
    assert codes[0] == 0
    assert {69, 78} & set(codes), codes


def test_a_daemon_that_cannot_log_in_tells_no_password(
    server: Server,
    daemon: Callable[..., Daemon],
) -> None:
    url = server.url.replace("://", "://:${REDIS_PASSWORD}@")
    config = f'connection: "{url}"\nhttp: off\nlog: {{level: debug}}\nqueues: {{default: {{}}}}'
    one = daemon(config, REDIS_PASSWORD=f"wrong-{PASSWORD}")
    one.start(ready=False)
    until(lambda: "backend.unreachable" in one.output(), "the refusal to be logged")
    for command in ("status --json", "failed list"):
        done = one.run(*command.split(), check=False)
        assert_clean(done.stdout + done.stderr, command)
    one.stop()
    assert_clean(one.output(), "the log")
