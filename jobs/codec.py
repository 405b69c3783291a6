"""What stands between a job's attributes and JSON: one codec for each class, by pydantic.

Built when the first job of a class is encoded or decoded (or by ``payload.prepare``), because only
then the names in its annotations are sure to exist, and so that a producer which dispatches nothing
never loads pydantic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from queued.errors import CorruptPayload, InvalidJob
from queued.jobs.annotations import field_types, is_exact, is_loose, schemas
from queued.jobs.definition import RESERVED, SET_BY_QUEUED
from queued.jobs.text import error_text, nearest, one_line

if TYPE_CHECKING:
    from queued.jobs.job import Job

MAX_DEPTH = 100
_EXACT_UP_TO = 4_000
"""Bytes of a body that may be of an exact schema: an integer of more than 4,300 digits is written
and cannot be read."""
_MAX_PROBLEMS = 10
_MANY_PROBLEMS = 1_000
_SKIPPED = frozenset((*SET_BY_QUEUED, "queue"))  # a job may carry these itself; they are no payload
_PLAIN = frozenset((str, int, float, bool, type(None)))


class Codec:
    """Validates, writes and reads the fields of one Job class.

    What is written is read back and compared, unless the schema is such that nothing can differ.
    """

    def __init__(self, cls: type[Job]) -> None:
        definition = cls.__queued__
        self._class = cls
        self._kind = cls.__name__
        self._definition = definition
        self._typed = definition.typed
        self._names = frozenset(definition.fields)
        self._validate_job = getattr(cls, "validate", None)
        hints = field_types(cls)
        # Like attributes without annotation, these hold whatever JSON can.
        self._loose = frozenset(name for name, hint in hints.items() if is_loose(hint))
        adapter, serializer = schemas(cls, hints)
        self._exact = self._typed and self._validate_job is None and is_exact(adapter)
        self._validate_python = adapter.validator.validate_python
        self._validate_json = adapter.validator.validate_json
        self._to_json = serializer.to_json
        self._secret = bool(cls.encrypt)
        self.header = b""
        """The first line of payloads; empty until a job is dispatched for the first time."""
        self.write: Callable[[Job], bytes] = self.dump
        """Makes the body of payloads: ``dump``, or what encrypts it."""
        self.limit = 0
        """Bytes; a payload up to that size is small enough wherever it goes."""

    def dump(self, job: Job) -> bytes:
        """Return a job's fields as JSON, of which ``load`` is sure to make the same job.

        :raises InvalidJob: a value does not fit; the message names each field, and shows no value.
        """
        values = job.__dict__
        if not self._typed or values.keys() != self._names:
            values = self._public(job)
        try:
            valid = self._validate_python(values, by_alias=True, by_name=True)
        except ValidationError as error:
            raise InvalidJob(self._problems(error)) from None  # the cause would show values
        if self._validate_job is not None:
            valid = self._validated_by_user(job, valid)
        if self._loose or not self._typed:
            self._check_plain(valid)
        try:
            body = self._to_json(valid, by_alias=True, round_trip=True, warnings=False)
        except Exception as error:  # noqa: BLE001 - whatever a serialiser of the user's raises
            raise InvalidJob(self._unwritable(valid, error)) from None
        if self._exact and len(body) <= _EXACT_UP_TO:
            return body
        try:
            back = self._validate_json(body, by_alias=True, by_name=True)
        except ValidationError as error:
            problems = self._problems(error)
            raise InvalidJob(f"{problems} when read back from what would be stored") from None
        if not _equal(valid, back):
            self._check_same(valid, back)
        return body

    def load(self, body: bytes) -> Job:
        """Make a fresh job of what ``dump`` wrote. A RouteMQ-style ``__init__`` may raise its own.

        :raises CorruptPayload: it does not fit the class.
        """
        try:
            values: dict[str, Any] = self._validate_json(body, by_alias=True, by_name=True)
        except ValidationError as error:
            raise CorruptPayload(self._problems(error)) from None
        except Exception as error:  # noqa: BLE001 - whatever a validator of the user's raises
            raise CorruptPayload(f"{self._kind} cannot be read: {self._text(error)}") from None
        if not self._typed:
            return self._load_attributes(values)
        if len(values) != len(self._names):
            self._fill(values)
        job = self._class.__new__(self._class)
        if self._definition.private:
            values.update(self._definition.fresh_private())
        job.__dict__ = values
        return job

    def values(self, body: bytes) -> dict[str, Any]:
        """Return the fields that ``load`` would make of a body, and no job of them.

        :raises ValidationError: it does not fit the class.
        """
        values: dict[str, Any] = self._validate_json(body, by_alias=True, by_name=True)
        return values

    def _load_attributes(self, values: dict[str, Any]) -> Job:
        for name in values:
            if name in RESERVED or name.startswith("_"):
                shown = one_line(name, 80)
                raise CorruptPayload(f"{self._kind}.{shown}: not an attribute that is stored")
        job = self._class()
        if self._definition.private:  # in case that its __init__ does not call ours
            job.__dict__ = {**self._definition.fresh_private(), **job.__dict__}
        job.__dict__.update(values)
        return job

    def _fill(self, values: dict[str, Any]) -> None:
        """Add the defaults of fields that were added since the job was dispatched."""
        for name in self._names - values.keys():
            default = self._definition.default(name)
            if default is not MISSING:
                values[name] = default

    def _public(self, job: Job) -> dict[str, Any]:
        values = {}
        for name, value in job.__dict__.items():
            if name.startswith("_") or name in _SKIPPED:
                continue
            if isinstance(getattr(self._class, name, None), cached_property):
                continue
            if name in RESERVED:
                hint = (
                    "is set in the class, for all of its jobs" if name != "name" else "is reserved"
                )
                raise InvalidJob(f"{self._kind}.{name} {hint}; give the attribute another name")
            values[name] = value
        return values

    def _validated_by_user(self, job: Job, valid: dict[str, Any]) -> dict[str, Any]:
        """Call ``validate`` on a copy that holds the values as the worker will see them."""
        copy = self._class.__new__(self._class)
        copy.__dict__ = {**job.__dict__, **valid}
        try:
            cast("Any", copy).validate()
        except ValueError as error:
            said = one_line(str(error)) or type(error).__name__
            raise InvalidJob(f"{self._kind}: {said}") from error
        return self._public(copy)

    def _check_plain(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if type(value) in _PLAIN or (name in self._names and name not in self._loose):
                continue
            problem = _not_plain(value, 0)
            if problem is not None:
                raise InvalidJob(
                    f"{self._kind}.{name}: {problem} cannot be stored as it is; give the attribute"
                    f" a type in the class ({name}: ...), or store text or an id"
                )

    def _check_same(self, valid: dict[str, Any], back: dict[str, Any]) -> None:
        for name in self._names - self._loose:
            if name in valid and _changes(valid[name], back.get(name)):
                raise InvalidJob(
                    f"{self._kind}.{name}: the worker would not get this"
                    f" {type(valid[name]).__name__}, since JSON has no such type and the field does"
                    " not say enough: give it one exact type, or a serializer of pydantic"
                )

    def _unwritable(self, values: dict[str, Any], error: Exception) -> str:
        where = self._kind
        for name, value in values.items():
            try:
                self._to_json({name: value}, by_alias=True, round_trip=True, warnings=False)
            except Exception as own:  # noqa: BLE001 - as above
                where, error = f"{self._kind}.{name}", own
                break
        return f"{where}: cannot be written as JSON: {self._text(error, 200)}"

    def _text(self, error: Exception, limit: int = 500) -> str:
        """Return an error's text; it may show values, so that of a class that encrypts has none."""
        return type(error).__name__ if self._secret else error_text(error, limit)

    def _problems(self, error: ValidationError) -> str:
        count = error.error_count()
        if count > _MANY_PROBLEMS:  # to list them takes seconds, and a worker has one loop
            return f"{self._kind}: {count} values do not fit its fields"
        found = error.errors(include_url=False, include_context=False)
        lines = [self._problem(problem) for problem in found[:_MAX_PROBLEMS]]
        if len(found) > _MAX_PROBLEMS:
            lines.append(f"and {len(found) - _MAX_PROBLEMS} more")
        return "; ".join(lines)

    def _problem(self, problem: Any) -> str:
        location, kind = problem["loc"], problem["type"]
        if self._secret:  # keys of a dict, tags and what validators say may be values
            known = [name for name in location[:1] if name in self._names]
            where = ".".join([self._kind, *known])
            return f"{where}: does not fit ({kind}; more is not told of a class that encrypts)"
        where = self._kind + "".join(
            f"[{part}]" if isinstance(part, int) else f".{one_line(part, 80)}" for part in location
        )
        if kind == "extra_forbidden" and len(location) == 1:
            return f"{where}: no such field{nearest(location[0], self._names)}"
        said = one_line(problem["msg"], 300)
        if kind in {"missing", "json_invalid"} or not location:
            return f"{where}: {said}"
        return f"{where}: {said} (got {type(problem['input']).__name__})"


def _not_plain(value: Any, depth: int) -> str | None:
    """Say what in a value JSON cannot hold without changing its type; None: nothing."""
    if value is None or isinstance(value, str | int | float):
        return None
    if depth > MAX_DEPTH:
        return f"data nested more than {MAX_DEPTH} deep"
    inner: Iterable[Any]
    if isinstance(value, list | tuple):
        inner = value
    elif isinstance(value, dict):
        odd = next((key for key in value if not isinstance(key, str)), "")
        if not isinstance(odd, str):
            return f"a dict with a key of type {type(odd).__name__}"
        inner = value.values()
    else:
        return f"a value of type {type(value).__name__}"
    return next(filter(None, (_not_plain(each, depth + 1) for each in inner)), None)


def _changes(value: Any, back: Any) -> bool:
    """Say whether what was read back is another value; not so where nothing can tell, as of NaN."""
    if _equal(value, back) or not _equal(value, value):
        return False
    if type(value) is not type(back):
        return True
    if isinstance(value, dict):
        return value.keys() != back.keys() or any(
            _changes(inner, back[key]) for key, inner in value.items()
        )
    if isinstance(value, list | tuple):
        return len(value) != len(back) or any(map(_changes, value, back))
    equality: Any = type(value).__eq__
    if equality is object.__eq__:  # it equals nothing but itself
        return False
    return not hasattr(value, "__dict__") or _changes(vars(value), vars(back))


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - such as an array's, of which no one truth can be told
        return False
