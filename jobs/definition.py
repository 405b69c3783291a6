"""What a Job class says, found when the class is made: its fields, its settings, its wire name.

No pydantic here: to define a job costs no more than to define a class. What the annotations mean is
read later, by ``queued.jobs.codec``, when the first job of the class is encoded or decoded.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any, ClassVar, get_origin

from queued.errors import JobDefinitionError
from queued.jobs.key_format import check_unique_key
from queued.jobs.settings import SETTINGS, check_settings
from queued.jobs.text import nearest

if TYPE_CHECKING:
    from queued.jobs.codec import Codec

SET_BY_QUEUED = ("job_id", "attempts")
METHODS = ("handle", "failed", "validate", "register")
_TAKES = {"handle": ("self",), "failed": ("self", "exception")}
RESERVED = frozenset((*SETTINGS, *SET_BY_QUEUED, *METHODS))

_CLASS_VAR = re.compile(r"(?:\w+\.)*ClassVar\b")


@dataclass(slots=True)
class Definition:
    """What is known of one Job class."""

    name: str
    """The wire name."""
    typed: bool
    """Its annotated fields are all there is; else public attributes are payload too."""
    fields: dict[str, Any]
    """The fields in order, each with its default, a ``Field`` with a factory, or ``MISSING``."""
    private: dict[str, Any]
    """Annotated private attributes whose defaults are made anew for each instance."""
    required: frozenset[str] = frozenset()
    anew: tuple[str, ...] = ()
    """Fields whose defaults are made anew for each instance."""
    codec: Codec | None = None
    """Built when first needed."""

    def __post_init__(self) -> None:
        self.required = frozenset(n for n, value in self.fields.items() if value is MISSING)
        self.anew = tuple(n for n, value in self.fields.items() if _is_made_anew(value))

    def default(self, field: str) -> Any:
        """Return the default of a field, made anew where it can be changed; or ``MISSING``."""
        return _fresh(self.fields[field])

    def fresh_private(self) -> dict[str, Any]:
        """Return the private attributes that each instance has for itself."""
        return {name: _fresh(value) for name, value in self.private.items()}

    def complete(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return all fields of a new job in order, from keywords and defaults.

        :raises TypeError: keywords are unknown, or (for a typed job) required ones are missing.
        """
        complete = {**self.fields, **values}
        missing: set[str] = set()
        if not self.required <= values.keys():
            missing.update(self.required - values.keys())
        if len(complete) != len(self.fields) or (missing and self.typed):
            raise TypeError(self._misuse(kind, values, missing if self.typed else set()))
        for name in self.anew:
            if name not in values:
                complete[name] = self.default(name)
        for name in missing:
            del complete[name]
        return complete

    def _misuse(self, kind: str, values: dict[str, Any], missing: set[str]) -> str:
        unknown = [name for name in values if name not in self.fields]
        if not self.fields:
            advice = f"annotate it in the class ({unknown[0]}: ...), or set it on the instance"
            return f'{kind}() has no field "{unknown[0]}": {advice}'
        problems = [f'no field "{name}"{nearest(name, self.fields)}' for name in unknown]
        if missing:
            problems.append("missing " + ", ".join(n for n in self.fields if n in missing))
        return f"{kind}(): " + "; ".join(problems)


def define(cls: type, root: type) -> Definition:
    """Read a subclass of ``root`` (Job itself).

    :raises JobDefinitionError: it cannot work; the message says what to write instead.
    """
    fields, private = _fields(cls, root)
    own_init = _own_init(cls, root)
    typed = bool(fields) and own_init is None
    check_settings(cls)
    check_unique_key(cls, fields, typed=typed)
    _check_methods(cls)
    if own_init is not None:
        _check_init(cls, own_init)
    return Definition(
        name=cls.__dict__.get("name") or f"{cls.__module__}.{cls.__qualname__}",
        typed=typed,
        fields=fields,
        private=private,
    )


def _fields(cls: type, root: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Collect annotated attributes, from the oldest base to the class itself."""
    fields: dict[str, Any] = {}
    private: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base in root.__mro__:
            continue
        for name, annotation in inspect.get_annotations(base).items():
            if _is_class_var(annotation):
                fields.pop(name, None)
                continue
            if name in RESERVED:
                raise JobDefinitionError(_reserved(cls, base, name))
            (private if name.startswith("_") else fields)[name] = MISSING
        # @dataclass takes a default_factory off the class that it decorates, and keeps it here
        written = {**base.__dict__.get("__dataclass_fields__", {}), **base.__dict__}
        for found in (fields, private):
            for name in found.keys() & written.keys():
                found[name] = _default(written[name])
    return fields, {name: value for name, value in private.items() if _is_made_anew(value)}


def _is_class_var(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return _CLASS_VAR.match(annotation) is not None
    return annotation is ClassVar or get_origin(annotation) is ClassVar


def _default(value: Any) -> Any:
    if isinstance(value, Field) and value.default_factory is MISSING:
        return value.default
    if inspect.ismemberdescriptor(value):  # what __slots__ leaves
        return MISSING
    return _pydantic_default(value)


def _pydantic_default(value: Any) -> Any:
    """Translate ``pydantic.Field(...)`` and ``PrivateAttr(...)``, if pydantic was ever imported."""
    loaded = sys.modules.get("pydantic.fields")
    if loaded is None or not isinstance(value, loaded.FieldInfo | loaded.ModelPrivateAttr):
        return value
    if value.default_factory is not None:
        return dataclass_field(default_factory=value.default_factory)
    undefined = sys.modules["pydantic_core"].PydanticUndefined
    return MISSING if value.default is undefined else value.default


def _is_made_anew(value: Any) -> bool:
    if value is MISSING:
        return False
    return isinstance(value, Field) or type(value).__hash__ is None


def _fresh(value: Any) -> Any:
    if isinstance(value, Field):
        factory: Callable[[], Any] = value.default_factory  # type: ignore[assignment]
        return factory()
    return copy.deepcopy(value) if _is_made_anew(value) else value


def _own_init(cls: type, root: type) -> Callable[..., None] | None:
    """Return the ``__init__`` that a class or mixin below Job wrote (not ``@dataclass``)."""
    provider = next(base for base in cls.__mro__ if "__init__" in base.__dict__)
    if provider in root.__mro__ or "__dataclass_fields__" in provider.__dict__:
        return None
    init: Callable[..., None] = provider.__dict__["__init__"]
    return init


def _check_init(cls: type, init: Callable[..., None]) -> None:
    parameters = list(inspect.signature(init).parameters.values())[1:]
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]
    if needed:
        raise JobDefinitionError(
            f"{cls.__name__}.__init__ requires {', '.join(needed)}, but a worker makes the job"
            " without arguments: give defaults, or drop __init__ and annotate the fields"
            f" ({needed[0]}: ...)"
        )


def _reserved(cls: type, base: type, name: str) -> str:
    where = f"{cls.__name__}.{name}"
    if name in SET_BY_QUEUED:
        return f"{where} is set by queued when the job runs: give the field another name"
    if name in METHODS:
        return f"{where} is a method of jobs: give the field another name"
    value = base.__dict__.get(name, ...)
    written = "..." if value is ... else repr(value)
    return (
        f"{where} is a setting and no field: write {name} = {written} without the annotation,"
        f" or give the field another name"
    )


def _can_take(method: Any, given: tuple[str, ...]) -> bool:
    if not inspect.isfunction(method):  # a static method, a partial, a mock: who knows
        return True
    try:
        # what a decorator wraps may take more than the decorator itself
        inspect.signature(method, follow_wrapped=False).bind(*given)
    except TypeError:
        return False
    return True


def _check_methods(cls: type) -> None:
    for name, given in _TAKES.items():
        method = getattr(cls, name)
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            raise JobDefinitionError(
                f"{cls.__name__}.{name} has a yield in it, so that calling it would run nothing"
            )
        if not _can_take(inspect.getattr_static(cls, name), given):
            raise JobDefinitionError(
                f"{cls.__name__}.{name} has to take ({', '.join(given)}): what a job works on are"
                " its fields, annotated in the class (user_id: int) and read as self.user_id"
            )
    if inspect.iscoroutinefunction(getattr(cls, "validate", None)):
        raise JobDefinitionError(
            f"{cls.__name__}.validate runs when the job is dispatched: make it a plain function"
        )
