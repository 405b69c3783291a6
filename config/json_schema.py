"""The JSON Schema of queue.yaml, for editors: completion, descriptions, and errors while typing."""

from __future__ import annotations

import json
from typing import Any

from queued.config.schema import Config
from queued.config.types import REFERENCE_SCHEMA

_SCALARS = {"integer", "number", "boolean"}
_MAY_BE_EMPTY = ("log", "defaults", "imports")


def json_schema() -> dict[str, Any]:
    """Return the schema as plain data."""
    schema = Config.model_json_schema(mode="validation")
    _tidy(schema)
    top = schema["properties"]
    for key in _MAY_BE_EMPTY:
        top[key] = _or(top[key], {"type": "null"})
    top["http"] = _or(top["http"], {"enum": [False, "none"]})
    settings = schema["$defs"]["QueueConfig"]["properties"]
    settings["env"] = _or(settings["env"], {"type": "null"})
    queue = {"anyOf": [{"$ref": "#/$defs/QueueConfig"}, {"type": "null"}]}
    top["queues"]["additionalProperties"] = queue
    top["queues"]["propertyNames"] = {"pattern": r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$"}
    schema["patternProperties"] = {"^x-": {"description": "Yours: for anchors."}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "queue.yaml of queued",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def json_schema_text() -> str:
    """Return the schema as ``queued schema`` prints it and the repository keeps it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidy(node: Any) -> None:
    """Drop generated titles, and let a reference stand for each scalar, throughout."""
    if isinstance(node, list):
        for item in node:
            _tidy(item)
    if not isinstance(node, dict):
        return
    for name, definition in node.get("properties", {}).items():
        definition.pop("title", None)
        if definition.get("type") in _SCALARS or "enum" in definition:
            node["properties"][name] = _or(definition, REFERENCE_SCHEMA)
    for value in list(node.values()):
        _tidy(value)


def _or(definition: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a definition that also takes ``other``; description and default stay outside."""
    outside = {key: value for key, value in definition.items() if key in {"description", "default"}}
    inside = {key: value for key, value in definition.items() if key not in outside}
    choices = inside["anyOf"] if set(inside) == {"anyOf"} else [inside]
    return {"anyOf": [*choices, other], **outside}
