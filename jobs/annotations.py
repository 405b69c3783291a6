"""What a Job class's annotations mean to pydantic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NotRequired,
    Required,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import CoreConfig, SchemaSerializer
from typing_extensions import TypedDict  # typing's own does not do for pydantic before 3.12

from queued.errors import JobDefinitionError
from queued.jobs.text import error_text, one_line

if TYPE_CHECKING:
    from queued.jobs.job import Job

_ANYTHING = (Any, object, dict, list, tuple)
_JSON = (str, int, float, bool, type(None), None, ...)

# Types of pydantic's schemas that JSON gives back as they were, and what may be asked of them: only
# what holds for a value also when it is read back. A dict is none: pydantic writes a lone surrogate
# in a key as another character.
_NUMBER = frozenset(("ge", "gt", "le", "lt", "multiple_of"))
_LENGTH = frozenset(("min_length", "max_length"))
_EXACT = {
    "str": _LENGTH | {"pattern"},
    "int": _NUMBER,
    "float": _NUMBER,
    "bool": frozenset(),
    "none": frozenset(),
    "literal": frozenset(("expected",)),
    "nullable": frozenset(("schema",)),
    "list": _LENGTH | {"items_schema"},
}


def field_types(cls: type[Job]) -> dict[str, Any]:
    """Return the types of a class's fields, with constraints that ``pydantic.Field`` adds.

    :raises JobDefinitionError: an annotation cannot be evaluated.
    """
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise JobDefinitionError(
            f'{cls.__name__}: an annotation names "{error.name}", which does not exist when the'
            " program runs; define or import it at the top of the module, not under TYPE_CHECKING"
        ) from error
    except Exception as error:
        raise JobDefinitionError(
            f"{cls.__name__}: an annotation cannot be evaluated: {error_text(error)}"
        ) from error
    return {name: _constrained(cls, name, hints[name]) for name in cls.__queued__.fields}


def schemas(cls: type[Job], types: Mapping[str, Any]) -> tuple[TypeAdapter[Any], SchemaSerializer]:
    """Return what validates, and what writes, a dict of the fields: what an instance holds.

    :raises JobDefinitionError: pydantic knows no JSON for a type.
    """
    definition = cls.__queued__
    items: dict[str, Any] = {}
    for name, kind in types.items():
        required = definition.typed and name in definition.required
        items[name] = Required[kind] if required else NotRequired[kind]
    fields = cast("Any", TypedDict(cls.__name__, items))  # type: ignore[operator]
    fields.__pydantic_config__ = ConfigDict(
        extra="forbid" if definition.typed else "allow",
        val_json_bytes="base64",
        ser_json_bytes="base64",
        ser_json_inf_nan="constants",
    )
    try:
        adapter = TypeAdapter(fields)
    except Exception as error:
        said = one_line(str(error).partition("\n")[0].partition(". ")[0])
        raise JobDefinitionError(
            f"{cls.__name__}: a field has a type that has no JSON: {said}"
        ) from error
    # pydantic keeps the serialisation of a typed dict's configuration to what is nested in it
    own = CoreConfig(ser_json_bytes="base64", ser_json_inf_nan="constants")
    return adapter, SchemaSerializer(adapter.core_schema, own)


def is_exact(adapter: TypeAdapter[Any]) -> bool:
    """Say whether whatever a schema of ``schemas`` lets through comes back from JSON as it was.

    So it is if it consists of a few types of which that is known. What has a validator, an alias
    or a serializer of its own, and any other type, is not taken to be exact.
    """
    fields: Any = adapter.core_schema.get("fields")
    return fields is not None and all(
        field.keys() <= {"type", "schema", "required", "metadata"} and _is_exact(field["schema"])
        for field in fields.values()
    )


def is_loose(kind: Any) -> bool:
    """Say whether a type admits anything at some place, and nothing elsewhere that JSON lacks."""
    leaves = list(_leaves(kind))
    return any(leaf in _ANYTHING for leaf in leaves) and all(
        leaf in _ANYTHING or leaf in _JSON for leaf in leaves
    )


def _constrained(cls: type, name: str, kind: Any) -> Any:
    if kind is ClassVar or get_origin(kind) is ClassVar:
        raise JobDefinitionError(f"{cls.__name__}.{name}: write ClassVar under its own name")
    for base in cls.__mro__:
        written = base.__dict__.get(name)
        if isinstance(written, FieldInfo) and written.metadata:
            return Annotated[kind, *written.metadata]
    return kind


def _is_exact(schema: Any) -> bool:
    kind = schema["type"]
    if kind not in _EXACT or not schema.keys() <= _EXACT[kind] | {"type", "metadata"}:
        return False
    if kind == "literal":
        return {type(value) for value in schema["expected"]} <= set(_JSON)
    inner = schema.get("schema") or schema.get("items_schema")
    return inner is None or _is_exact(inner)


def _leaves(kind: Any) -> Iterator[Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        arguments = arguments[:1]
    if arguments and origin is not Literal:
        for argument in arguments:
            yield from _leaves(argument)
    else:
        yield kind
