"""Anti-pattern a: calls that block the event loop, and with it every other job of the worker."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from queued.jobs.checks.calls import Call, calls
from queued.jobs.checks.rule import Level, Note, Place, Rule
from queued.jobs.checks.subject import Subject

_ANY = r"(?:\(\))?(?:\..+)?"
"""What is done with a class, or with an instance of it."""
_THREAD = "await asyncio.to_thread(...), or make handle a plain def"
_SLEEP = r"time\.sleep"
_INPUT = r"builtins\.input"
_VERBS = "(?:get|post|put|patch|delete|head|options|request|stream)"
_HTTP = (
    rf"requests(?:\.api)?\.{_VERBS}|requests(?:\.sessions)?\.[Ss]ession{_ANY}"
    r"|urllib\.request\.(?:urlopen|urlretrieve)|urllib3\.(?:request|PoolManager.*)"
    rf"|http\.client\.HTTPS?Connection{_ANY}"
    rf"|httpx(?:\._api)?\.{_VERBS}|httpx(?:\._client)?\.Client{_ANY}"
)
_PROCESS = (
    r"subprocess\.(?:run|call|check_call|check_output|getoutput|getstatusoutput)"
    r"|(?:os|posix)\.(?:system|popen|wait|waitpid|wait3|wait4|spawn\w+)"
)
_FILE = (
    r"(?:builtins|io|_io|codecs|gzip|bz2|lzma|zipfile|tarfile)\.(?:open|ZipFile)"
    r"|pathlib\.Path\(\)\.(?:open|(?:read|write)_(?:text|bytes))"
    r"|shutil\.(?:copy|copy2|copyfile|copytree|move|rmtree|make_archive|unpack_archive)"
    r"|(?:pandas|polars)\.(?:read_\w+|scan_\w+)"
)
_DATABASE = (
    rf"sqlite3(?:\.dbapi2)?\.connect{_ANY}|_sqlite3\.connect{_ANY}"
    rf"|(?:psycopg2|pymysql|MySQLdb|mysql\.connector|cx_Oracle|pyodbc)\.connect{_ANY}"
    rf"|psycopg\.(?:connect|(?:connection\.)?Connection\.connect){_ANY}"
    rf"|psycopg2\.pool\.\w+{_ANY}|pymongo\.MongoClient{_ANY}"
    rf"|redis(?:\.client)?\.(?:Redis|StrictRedis)(?:\.from_url)?{_ANY}"
    rf"|redis(?:\.utils)?\.from_url{_ANY}|redis(?:\.cluster)?\.RedisCluster{_ANY}"
)
_NETWORK = (
    rf"smtplib\.(?:SMTP|SMTP_SSL){_ANY}|imaplib\.IMAP4(?:_SSL)?{_ANY}|ftplib\.FTP(?:_TLS)?{_ANY}"
    rf"|(?:socket|_socket)\.(?:create_connection|getaddrinfo|gethostby\w+){_ANY}"
    rf"|paramiko(?:\.client)?\.SSHClient{_ANY}|boto3\.(?:client|resource){_ANY}"
)
_DRIVER = "the driver's async twin (aiosqlite, psycopg.AsyncConnection, aiomysql, redis.asyncio)"
_TABLE = [
    (re.compile(pattern), fix)
    for pattern, fix in (
        (_SLEEP, "await asyncio.sleep(...)"),
        (_INPUT, "give the job a field: no worker has a keyboard"),
        (_HTTP, f"an async client such as httpx.AsyncClient; or {_THREAD}"),
        (_PROCESS, f"await asyncio.create_subprocess_exec(...); or {_THREAD}"),
        (_FILE, _THREAD),
        (_DATABASE, f"{_DRIVER}; or {_THREAD}"),
        (_NETWORK, f"an async library (aiosmtplib, asyncssh, aioboto3); or {_THREAD}"),
    )
]
_FILE_METHODS = frozenset(("read_text", "read_bytes", "write_text", "write_bytes"))
"""Of pathlib, whatever the path is called; awaited they are those of an async library."""


def _look(subject: Subject) -> Iterator[Note]:
    entries = [
        (part, method)
        for part, method in subject.methods()
        if isinstance(method, ast.AsyncFunctionDef)
    ]
    lines = set()
    for call in calls(subject, entries):
        blocked = None if call.awaited else _blocks(call)
        line = call.scope.module, call.node.lineno
        if blocked is not None and line not in lines:  # one for connect().execute()
            lines.add(line)
            name, fix = blocked
            reason = (
                f"{call.scope.label} calls {name}, and every other job of the worker waits with it"
            )
            yield Note(reason, fix, Place.of(call.scope.module, call.node))


def _blocks(call: Call) -> tuple[str, str] | None:
    """Return what blocks, and what to write instead."""
    for name in call.names:
        for pattern, fix in _TABLE:
            if pattern.fullmatch(name):
                return name.removeprefix("builtins.").replace("().", "."), fix
    is_file = isinstance(call.node.func, ast.Attribute) and call.node.func.attr in _FILE_METHODS
    if is_file and not call.inside and not call.names:
        return f"{ast.unparse(call.node.func)}()", _THREAD
    return None


BLOCKING_CALL = Rule(
    "blocking-call",
    Level.WARNING,
    "a",
    "does not block the event loop",
    _look,
    reads_source=True,
)
