"""What ``unique_key`` may be in a Job class, and which fields it is made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Any

from queued.errors import JobDefinitionError
from queued.jobs.text import nearest


def fields_of(template: str) -> Iterator[str]:
    """Yield the fields that a key such as ``"{user_id}"`` is made of.

    :raises ValueError: it is no format.
    """
    for _, expression, _, _ in Formatter().parse(template):
        if expression is not None:
            yield expression.partition(".")[0].partition("[")[0]


def check_unique_key(cls: type, fields: Mapping[str, Any], *, typed: bool) -> None:
    """Look at a class's ``unique_key``.

    :param typed: the class has no other attributes than ``fields``.
    :raises JobDefinitionError: it cannot work; the message says what was expected.
    """
    key = getattr(cls, "unique_key", None)
    if key is None and getattr(cls, "unique_for", None) is None:
        return
    try:
        _check(key, fields, typed=typed)
    except ValueError as error:
        raise JobDefinitionError(f"{cls.__name__}.unique_key: {error}") from None


def _check(key: Any, fields: Mapping[str, Any], *, typed: bool) -> None:
    if key is None:
        raise ValueError('unique_for goes with one: "{user_id}" of fields, or True for all')
    if key is True:
        return
    if inspect.isfunction(key):
        _check_method(key)
        return
    if not isinstance(key, str) or not key:
        raise ValueError(
            'expected a text with fields in it such as "{user_id}", True for all fields, or a'
            f" method: def unique_key(self) -> str; got {key!r}"
        )
    try:
        named = list(fields_of(key))
    except ValueError as error:
        raise ValueError(f'expected a text such as "{{user_id}}", got {key!r}: {error}') from None
    for name in named:
        if not name.isidentifier() or (typed and name not in fields):
            raise ValueError(f'{key!r} names no field "{name}"{nearest(name, fields)}')


def _check_method(method: Any) -> None:
    if inspect.iscoroutinefunction(method):
        raise ValueError("it runs when the job is dispatched: make it a plain function")
    try:
        inspect.signature(method, follow_wrapped=False).bind("self")
    except TypeError:
        raise ValueError("it has to take (self)") from None
