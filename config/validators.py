"""What single values of queue.yaml have to be; the messages say what was expected."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from queued.config.document import Expanded
from queued.config.types import parse_address
from queued.drivers.base import QUEUE_PATTERN
from queued.jobs.settings import WIRE_NAME
from queued.jobs.timetable import check_cron, zone

USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*(:[A-Za-z_][A-Za-z0-9_.-]*)?")
SCHEDULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def module(name: Any) -> Any:
    if not isinstance(name, str) or MODULE.fullmatch(name):
        return name
    guess = name.removesuffix(".py").strip("./").replace("/", ".").replace("-", "_")
    is_near = MODULE.fullmatch(guess) and not isinstance(name, Expanded)
    hint = f'; did you mean "{guess}"?' if is_near else ""
    raise ValueError(f"expected a module or package such as app.jobs, got {name!r}{hint}")


def function(name: Any) -> Any:
    if isinstance(name, str) and not (MODULE.fullmatch(name) and "." in name):
        raise ValueError(f"expected a function such as app.telemetry.setup, got {name!r}")
    return name


def user(name: Any) -> Any:
    if isinstance(name, str) and not USER.fullmatch(name):
        raise ValueError(f"expected the name of a user, or user:group, got {name!r}")
    return name


def address(text: Any) -> Any:
    if isinstance(text, str):
        host, _ = parse_address(text)
        if host != "localhost":
            _refuse_name(host)
    return text


def _refuse_name(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        hint = "127.0.0.1 or localhost for this machine alone, 0.0.0.0 for all of its addresses"
        message = f"expected an IP address, not a name that has to be looked up: {host!r}; {hint}"
        raise ValueError(message) from None


def variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"expected the name of an environment variable, got {name!r}")
    return name


def variable_value(value: str) -> str:
    if "\0" in value:
        raise ValueError("an environment variable cannot hold a null byte")
    return value


def queue_name(name: str) -> str:
    if not QUEUE_PATTERN.fullmatch(name):
        allowed = "letters, digits and _ . : -, up to 64, the first a letter or digit"
        raise ValueError(f"no name for a queue: {allowed}")
    return name


def schedule_name(name: str) -> str:
    if not SCHEDULE.fullmatch(name):
        allowed = "letters, digits and _ . -, up to 40, the first a letter or digit"
        raise ValueError(f"no name for a schedule: {allowed}")
    return name


def job_name(name: Any) -> Any:
    if isinstance(name, str) and not WIRE_NAME.fullmatch(name):
        raise ValueError(f"expected the name of a job such as app.jobs.Cleanup, got {name!r}")
    return name


def cron(expression: str) -> str:
    check_cron(expression)
    return expression


def time_zone(name: str) -> str:
    zone(name)
    return name


def plain_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return arguments as the payload will have them."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError):
        hint = "put dates and the like in quotes"
        message = f"expected texts, numbers, true, false, lists and mappings; {hint}"
        raise ValueError(message) from None
    return plain


def nothing_is_empty(value: Any) -> Any:
    """Let a key stand alone, its body commented out."""
    return {} if value is None else value


def http_off(value: Any) -> Any:
    off = value is False or (isinstance(value, str) and value.lower() in {"false", "none", "off"})
    return None if off else value
