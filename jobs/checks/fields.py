"""Practices 7 to 9: what a payload should not hold, since it is large, secret or no JSON."""

from __future__ import annotations

import ast
import datetime as dt
import re
from collections import abc
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from queued.errors import JobDefinitionError
from queued.jobs import payload
from queued.jobs.checks.calls import names_of, scope_of
from queued.jobs.checks.payload_fields import Field, declared, undeclared
from queued.jobs.checks.rule import Level, Note, Rule
from queued.jobs.checks.subject import Subject
from queued.jobs.redaction import looks_secret
from queued.jobs.text import one_line
from queued.units import parse_size

_SMALL = 64 << 10
"""Bytes or items: a field that is bounded below is no large one."""
_ABOUT_A_SECRET = re.compile(
    r"_(?:id|ids|name|names|count|at|on|type|kind|path|url|ref|length|size|limit|expiry|ttl)$"
)
"""The id or the age of a secret is none; but a session's id opens the session."""
_SESSION = re.compile(r"session_?(?:id|key)", re.IGNORECASE)
_SHORT_SECRET = re.compile(
    r"(?:^|_)(?:pin|otp|cvv|cvc|card_?number|passcode)(?:$|_)", re.IGNORECASE
)
_HARMLESS = (bool, int, float, dt.datetime, dt.date, dt.timedelta)

_LARGE_NAME = re.compile(
    r"(?:^|_)(?:data|blob|bytes|binary|image|images|photo|video|audio|file_content|content|contents"
    r"|attachment|attachments|dataframe|html|pdf|csv|xml|rows|records|dump|base64)$"
)
_LARGE_TYPES = {
    "pandas": {"DataFrame", "Series"},
    "polars": {"DataFrame", "LazyFrame", "Series"},
    "numpy": {"ndarray"},
    "pyarrow": {"Table", "RecordBatch"},
    "PIL": {"Image"},
    "torch": {"Tensor"},
}
_NO_JSON = {
    abc.Callable: "code cannot be stored",
    abc.Generator: "a generator cannot be stored",
    abc.Iterator: "an iterator cannot be stored",
    abc.AsyncIterator: "an iterator cannot be stored",
    type: "a class cannot be stored",
}
_NO_JSON_CALLS = re.compile(
    r"(?:builtins|io|_io)\.open|(?:_?thread|threading)\.\w+|asyncio(?:\.\w+)?\.\w+|socket\.socket"
    r"|(?:builtins\.)?(?:set|frozenset|bytearray|object|iter|lambda)|subprocess\.Popen"
    r"|(?:sqlite3|_sqlite3|psycopg2?|pymysql)\.connect|redis(?:\.\w+)*\.(?:Redis|from_url)"
    r"|(?:requests|httpx|aiohttp)(?:\.\w+)*\.(?:[Ss]ession|Client|AsyncClient|ClientSession)"
    r"|sqlalchemy(?:\.\w+)*\.(?:create_engine|create_async_engine|Session|AsyncSession)"
    r"|logging\.getLogger|datetime\.(?:datetime|date)\.\w+|uuid\.uuid\d|decimal\.Decimal"
    r"|pathlib\.Path"
)


def _secret(subject: Subject) -> Iterator[Note]:
    if getattr(subject.cls, "encrypt", None):
        return
    for field in [*declared(subject), *undeclared(subject)]:
        if _is_secret(field):
            reason = f"{subject.name}.{field.name} looks like a secret: it is stored as it is, and"
            reason += " whoever can read the queue reads it"
            fix = "store an id and fetch it in handle(), or encrypt = True in the class"
            yield Note(reason, fix, field.place)


def _is_secret(field: Field) -> bool:
    if any(getattr(kind, "__name__", "") in {"SecretStr", "SecretBytes"} for kind in _all(field)):
        return True
    if not looks_secret(field.name):
        return False
    if _SESSION.search(field.name) or _SHORT_SECRET.search(field.name):
        return bool not in _all(field)
    kinds = [kind for kind in _all(field) if isinstance(kind, type) and kind is not type(None)]
    if kinds and all(issubclass(kind, _HARMLESS) for kind in kinds):
        return False
    return _ABOUT_A_SECRET.search(field.name) is None


def _large(subject: Subject) -> Iterator[Note]:
    limit = subject.cls.max_payload
    if limit is not None and parse_size(limit) <= _SMALL:
        return
    for field in declared(subject):
        what = _is_large(field.kind)
        if field.kind is None and _LARGE_NAME.search(field.name):
            what = "by its name is data, of any size,"
        if what:
            reason = f"{subject.name}.{field.name} {what} and is stored with every job"
            fix = "store the data elsewhere and its id or path here; or bound it:"
            fix += ' max_payload = "16KiB" in the class'
            yield Note(reason, fix, field.place)


def _is_large(kind: Any) -> str | None:
    """Say what makes a type large, if anything does."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return None if _is_bounded(arguments[1:]) else _is_large(arguments[0])
    if any(kind is each for each in (bytes, bytearray, memoryview)):
        return f"is {kind.__name__} of any length"
    home = str(getattr(kind, "__module__", "")).partition(".")[0]
    if getattr(kind, "__name__", "") in _LARGE_TYPES.get(home, ()):
        return f"is a {kind.__name__}"
    is_pair = origin is tuple and Ellipsis not in arguments  # or any other number that is fixed
    if _is_list(origin) and not is_pair and any(_is_record(argument) for argument in arguments):
        return "is a list of records, of any length,"
    found = (_is_large(argument) for argument in arguments)
    return next(filter(None, found), None)


def _is_list(origin: Any) -> bool:
    is_collection = isinstance(origin, type) and issubclass(origin, abc.Collection)
    return is_collection and not issubclass(origin, abc.Mapping)


def _is_record(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return _is_record(get_args(kind)[0])
    plain = get_origin(kind) or kind
    if not isinstance(plain, type):
        return any(_is_record(argument) for argument in get_args(kind))
    is_model = hasattr(plain, "model_fields") or hasattr(plain, "__dataclass_fields__")
    is_typed_dict = issubclass(plain, dict)
    return is_model or is_typed_dict or issubclass(plain, abc.Mapping)


def _is_bounded(metadata: tuple[Any, ...]) -> bool:
    for one in metadata:
        inner = [one, *getattr(one, "metadata", ())]
        longest = [getattr(each, "max_length", None) for each in inner]
        if any(isinstance(length, int) and length <= _SMALL for length in longest):
            return True
    return False


def _no_json(subject: Subject) -> Iterator[Note]:
    try:
        payload.prepare(subject.cls)
    except JobDefinitionError as error:
        fix = "store text, a number or an id, and make the object of it in handle()"
        yield Note(one_line(str(error)), fix, None)
        return
    for field in declared(subject):
        why = _has_no_json(field)
        if why:
            reason = f"{subject.name}.{field.name}: {why}, so that the job cannot be dispatched"
            fix = "store text, a number or an id, and make the object of it in handle()"
            yield Note(reason, fix, field.place)


def _has_no_json(field: Field) -> str | None:
    for kind in _all(field):
        why = _NO_JSON.get(kind) if isinstance(kind, type) else None
        if why:
            return why
    if field.kind is not None or field.part is None or field.value is None:
        return None
    if isinstance(field.value, ast.Lambda | ast.Set | ast.SetComp | ast.GeneratorExp):
        return f"a {type(field.value).__name__.lower().removesuffix('comp')} cannot be stored"
    if isinstance(field.value, ast.Call):
        init = next((m for m in field.part.methods() if m.name == "__init__"), None)
        scope = scope_of(field.part.module, init, "__init__") if init else None
        names = names_of(field.value.func, scope) if scope else ()
        if any(_NO_JSON_CALLS.fullmatch(name) for name in names):
            return f"what {ast.unparse(field.value.func)}() makes cannot be stored"
    return None


def _all(field: Field) -> list[Any]:
    """Return every type in the field's: ``list[bytes] | None`` has a list, bytes and None."""
    found: list[Any] = []
    pending = [field.kind]
    while pending:
        kind = pending.pop()
        arguments = get_args(kind)
        if get_origin(kind) is Annotated:
            arguments = arguments[:1]
        found += [get_origin(kind) or kind]
        pending += [argument for argument in arguments if not isinstance(argument, list | str)]
    return found


LARGE_PAYLOAD = Rule("large-payload", Level.WARNING, "7", "carries no large data", _large)
SECRET_FIELD = Rule("secret-field", Level.ERROR, "8", "carries no secret", _secret)
UNSERIALISABLE_FIELD = Rule(
    "unserialisable-field", Level.ERROR, "9", "carries what JSON can hold", _no_json
)
