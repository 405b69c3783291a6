"""pydantic's errors as sentences for the people who write queue.yaml."""

from __future__ import annotations

import difflib
import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from queued.config.document import Expanded
from queued.config.problems import MINIMAL, KeyPath, Problem, listed, show
from queued.config.rates import Rate
from queued.config.schema import Config, Http, Keys, Log, QueueConfig, Schedule, Webhook
from queued.config.types import Exponential, Range

_OTHER_NAMES = {
    "workers": "processes",
    "autoscale": "processes",
    "min_processes": "processes",
    "max_processes": "processes",
    "balance": "processes",
    "numprocs": "processes",
    "threads": "concurrency",
    "tries": "max_tries",
    "retries": "max_tries",
    "attempts": "max_tries",
    "delay": "retry_after",
    "interval": "sleep",
    "memory": "max_memory",
    "broker": "connection",
    "redis": "connection",
    "database": "connection",
    "url": "connection",
    "include": "imports",
    "modules": "imports",
    "pools": "queues",
    "supervisors": "queues",
    "metrics": "http",
    "logging": "log",
    "username": "user",
    "uid": "user",
    "alerts": "webhook",
    "failed_ttl": "retain_failed",
    "failure_ttl": "retain_failed",
    "retention": "retain_failed",
    "schedules": "schedule",
    "cronjobs": "schedule",
    "crontab": "schedule",
    "beat_schedule": "schedule",
    "periodic": "schedule",
    "notify": "webhook",
    "notifications": "webhook",
    "slack": "webhook",
    "failure_rate": "max_failure_rate",
    "error_rate": "max_failure_rate",
    "encrypt": "encryption",
    "sign": "signing",
    "keys": "keys_file",
    "max_size": "max_payload",
    "payload_limit": "max_payload",
}
"""What other systems call a key of ours."""

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_BOUNDS = {
    "greater_than_equal": "must be at least {ge}, got {got}",
    "less_than_equal": "must be at most {le}, got {got}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "too_long": "has {actual_length} items, and {max_length} are allowed",
}
_BOOLEAN_HINTS = {
    "yes": "; write true",
    "on": "; write true",
    "no": "; write false",
    "off": "; write false",
}
_EXAMPLES: dict[tuple[str | int, ...], str] = {
    ("queues", 1): MINIMAL,
    ("queues", 2): "{processes: 1}",
    ("defaults", 1): "{processes: 1}",
    ("http", 1): '{listen: "127.0.0.1:9470"}, or false for none',
    ("log", 1): "{level: info}",
    ("schedule", 2): '{cron: "0 3 * * *", job: app.jobs.Cleanup}',
    ("webhook", 1): '{url: "https://..."}',
}
"""What to write where a mapping is expected: by the first key, and how deep it is."""
_SECRET = re.compile(r"connection|token|env|url|secret")


def problems_of(error: ValidationError) -> list[Problem]:
    """Return one problem for each of pydantic's errors."""
    return [_problem(details) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails) -> Problem:
    path: KeyPath = tuple(
        part
        for part in details["loc"]
        if part != "[key]" and not (isinstance(part, str) and re.fullmatch(r"<\w+>", part))
    )
    if details["type"] == "extra_forbidden":
        return Problem(path, _unknown_key(path))
    if details["type"] == "missing":
        hint = f"; the least that works is: {MINIMAL}" if path == ("queues",) else ""
        return Problem(path[:-1], f"{path[-1]} is missing{hint}")
    if details["type"] == "too_short" and path == ("queues",):
        return Problem(path, f"needs at least one queue: {MINIMAL}")
    return Problem(path, _sentence(details, path))


def _sentence(details: ErrorDetails, path: KeyPath) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    given = details["input"]
    is_secret = any(isinstance(part, str) and _SECRET.fullmatch(part) for part in path)
    is_secret = is_secret or path == ("webhook",)  # a URL may stand where a mapping should
    got = _kind(given) if is_secret and not isinstance(given, Expanded) else show(given)
    kind = details["type"]
    if kind == "value_error":
        return str(context["error"])
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {got}{_hint(kind, given, path)}"
    if kind == "literal_error":
        # pydantic has the choices as a text: 'debug', 'info' or 'error'
        names = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"expected {listed(names)}, got {got}{_guess(given, names)}"
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context, got=got)
    return f"{details['msg'][:1].lower()}{details['msg'][1:]}"


def _hint(kind: str, given: object, path: KeyPath) -> str:
    if kind == "bool_type" and isinstance(given, str):
        return _BOOLEAN_HINTS.get(given.lower(), "")
    if kind.startswith(("int", "float")):
        return _number_hint(given)
    if kind == "string_type" and isinstance(given, bool | int | float):
        return "; put it in quotes"
    if kind == "list_type" and path == ("imports",) and isinstance(given, str):
        return f"; write imports: [{given}]"
    if kind in {"dict_type", "model_type"}:
        return _mapping_hint(path)
    return ""


def _unknown_key(path: KeyPath) -> str:
    key = str(path[-1])
    names = list(_model_at(path).model_fields)
    guess = _nearest(key, names)
    if guess:
        return f'unknown key; did you mean "{guess}"?'
    for home, model in (("the top level", Config), ("defaults or a queue", QueueConfig)):
        other = _nearest(key, list(model.model_fields), strict=True)
        if other:
            return f'unknown key here; "{other}" belongs to {home}'
    return f"unknown key; expected {listed(names)}"


def _model_at(path: KeyPath) -> type[BaseModel]:
    if path[-2:-1] == ("backoff",):
        return Exponential
    if path[-2:-1] == ("processes",):
        return Range
    if path[-2:-1] == ("rate_limit",):
        return Rate
    models: dict[Any, type[BaseModel]] = {
        "http": Http,
        "log": Log,
        "webhook": Webhook,
        "encryption": Keys,
        "signing": Keys,
        "defaults": QueueConfig,
        "queues": QueueConfig,
        "schedule": Schedule,
    }
    return models.get(path[0], Config) if len(path) > 1 else Config


def _nearest(key: str, names: list[str], *, strict: bool = False) -> str | None:
    plain = key.lower().replace("-", "_")
    plain = plain if plain in names else _OTHER_NAMES.get(plain, plain)
    if strict:
        return plain if plain in names else None
    matches = difflib.get_close_matches(plain, names, n=1, cutoff=0.6)
    return matches[0] if matches else None


def _guess(given: object, names: list[str]) -> str:
    nearest = _nearest(str(given), names) if not isinstance(given, Expanded) else None
    return f'; did you mean "{nearest}"?' if nearest else ""


def _number_hint(given: object) -> str:
    if not isinstance(given, str) or isinstance(given, Expanded):
        return ""
    if re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", given):
        return "; leave out the quotes"
    if re.fullmatch(r"0[0-9oxXb_][0-9A-Fa-f_]*|[0-9]+(_[0-9]+)+", given):
        return "; write it in plain decimal digits"
    return ""


def _mapping_hint(path: KeyPath) -> str:
    example = _EXAMPLES.get((*path[:1], len(path)))
    return f"; write {example}" if example else ""


def _kind(value: object) -> str:
    match value:
        case bool() | None | dict() | list():
            return show(value)
        case int() | float():
            return "a number"
    return "text"
