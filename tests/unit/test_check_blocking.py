"""The rule blocking-call: what it finds in async code, through aliases, and what it lets be."""

from __future__ import annotations

import pytest

from tests.unit.checking import Checker, checker, of

check = pytest.fixture(checker)

BLOCKING = {
    "time.sleep": ("import time", "time.sleep(1)"),
    "an alias of a function": ("from time import sleep as s", "s(1)"),
    "an alias of a module": ("import time as t", "t.sleep(1)"),
    "an import in the method": ("", "import time as t; t.sleep(1)"),
    "a star": ("from time import *", "sleep(1)"),
    "another name of the module": ("import time\nnap = time.sleep", "nap(1)"),
    "urllib": ("import urllib.request", "urllib.request.urlopen('http://x')"),
    "urlopen": ("from urllib.request import urlopen", "urlopen('http://x')"),
    "http.client": ("import http.client", "http.client.HTTPSConnection('x')"),
    "a connection of the module": (
        "from http.client import HTTPConnection\nlink = HTTPConnection('x')",
        "link.request('GET', '/')",
    ),
    "subprocess.run": ("import subprocess", "subprocess.run(['x'])"),
    "subprocess.check_output": ("from subprocess import check_output", "check_output(['x'])"),
    "os.system": ("import os", "os.system('x')"),
    "open": ("", "open('x')"),
    "open in a with": ("", "with open('x') as file: file.read()"),
    "a path": ("from pathlib import Path", "Path('x').read_text()"),
    "any path": ("", "self.path.write_bytes(b'')"),
    "a path in something awaited": (
        "import asyncio\nfrom pathlib import Path",
        "await asyncio.sleep(int(Path('x').read_text()))",
    ),
    "a function that a decorator changes": (
        "import time\nlogged = lambda work: work\n@logged\ndef nap(): time.sleep(1)",
        "nap()",
    ),
    "shutil": ("import shutil", "shutil.rmtree('x')"),
    "sqlite3": ("import sqlite3", "sqlite3.connect(':memory:')"),
    "a client of redis": ("import redis\nclient = redis.Redis()", "client.get('x')"),
    "redis.from_url": ("from redis import from_url", "from_url('redis://x').ping()"),
    "psycopg": ("import psycopg", "psycopg.connect('x')"),
    "psycopg's class": ("from psycopg import Connection", "Connection.connect('x')"),
    "smtplib": ("import smtplib", "smtplib.SMTP('x')"),
    "names": ("import socket", "socket.getaddrinfo('x', 80)"),
    "input": ("", "input()"),
    "an inner async function": (
        "import time, asyncio",
        "\n        async def one(): time.sleep(1)\n        await asyncio.gather(one(), one())",
    ),
    "an inner function that is called": (
        "import time",
        "\n        def one(): time.sleep(1)\n        one()",
    ),
    "a comprehension": ("import time", "[time.sleep(n) for n in range(3)]"),
}
HARMLESS = {
    "asyncio.sleep": ("import asyncio", "await asyncio.sleep(1)"),
    "to_thread": ("import asyncio, time", "await asyncio.to_thread(time.sleep, 1)"),
    "a lambda for a thread": (
        "import asyncio, time",
        "await asyncio.to_thread(lambda: time.sleep(1))",
    ),
    "a function for an executor": (
        "import asyncio, time\nloop = asyncio",
        "\n        def work(): time.sleep(1)\n        await loop.run_in_executor(None, work)",
    ),
    "a function of the module for a thread": (
        "import asyncio, time\ndef work(): time.sleep(1)",
        "await asyncio.to_thread(work)",
    ),
    "an async path": ("", "await self.path.read_text()"),
    "an async path in something awaited": (
        "import asyncio",
        "await asyncio.gather(self.path.read_text(), self.path.read_text())",
    ),
    "a function that its decorator runs in a thread": (
        "import time\nthread = lambda work: work\n@thread\ndef nap(): time.sleep(1)",
        "await nap()",
    ),
    "redis.asyncio": (
        "import redis.asyncio as redis\nclient = redis.Redis()",
        "await client.get(1)",
    ),
    "a parameter of that name": (
        "import time",
        "\n        def work(time): time.sleep(1)\n        work(self)",
    ),
    "a variable of that name": ("", "open = self.opener; open('x')"),
    "a function of the module of that name": ("def open(path): ...", "open('x')"),
    "another sleep": ("from asyncio import sleep", "await sleep(1)"),
}
CLASS = """
{head}
class SendInvoice(Job):
    path: str = ""
    opener: str = ""
    async def handle(self):
        {line}
"""


@pytest.mark.parametrize(("head", "line"), BLOCKING.values(), ids=BLOCKING)
def test_what_blocks(check: Checker, head: str, line: str) -> None:
    [found] = of(check(CLASS.format(head=head, line=line)), "blocking-call")
    assert found.level == "warning"
    assert found.file
    assert found.fix


@pytest.mark.parametrize(("head", "line"), HARMLESS.values(), ids=HARMLESS)
def test_what_does_not(check: Checker, head: str, line: str) -> None:
    assert not of(check(CLASS.format(head=head, line=line)), "blocking-call")


def test_functions_and_methods_that_are_called_are_followed(check: Checker) -> None:
    found = check("""
        import time
        def wait():
            time.sleep(1)
        async def pause():
            wait()
        class Base(Job):
            async def handle(self):
                await self.prepare()
                await pause()
            def connect(self):
                time.sleep(3)
        class SendInvoice(Base):
            async def prepare(self):
                self.connect()
            async def failed(self, error):
                time.sleep(2)
        """)
    texts = {(one.line, one.reason.partition(" calls ")[0]) for one in of(found, "blocking-call")}
    assert texts == {
        (5, "wait (called by pause (called by Base.handle))"),
        (13, "Base.connect"),
        (18, "SendInvoice.failed"),
    }


def test_a_plain_handle_runs_in_a_thread(check: Checker) -> None:
    found = check("""
        import time
        class SendInvoice(Job):
            def handle(self):
                time.sleep(1)
                self.pause()
            def pause(self):
                time.sleep(1)
        """)
    assert not of(found, "blocking-call")


def test_functions_that_call_each_other(check: Checker) -> None:
    found = check("""
        import time
        def one(): other()
        def other(): one(); time.sleep(1)
        class SendInvoice(Job):
            async def handle(self): one()
        """)
    assert len(of(found, "blocking-call")) == 1
