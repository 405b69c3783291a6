"""All rules on job classes, in the order of the guide."""

from __future__ import annotations

from queued.jobs.checks.blocking import BLOCKING_CALL
from queued.jobs.checks.design import (
    LONG_TIMEOUT,
    NO_TIMEOUT,
    NOT_IDEMPOTENT,
    UNFOCUSED,
    VAGUE_NAME,
)
from queued.jobs.checks.dispatching import DISPATCH_IN_HANDLE
from queued.jobs.checks.fields import LARGE_PAYLOAD, SECRET_FIELD, UNSERIALISABLE_FIELD
from queued.jobs.checks.hooks import NO_FAILED
from queued.jobs.checks.state import CLASS_STATE, MODULE_STATE

RULES = (
    UNFOCUSED,
    NOT_IDEMPOTENT,
    NO_TIMEOUT,
    LONG_TIMEOUT,
    VAGUE_NAME,
    LARGE_PAYLOAD,
    SECRET_FIELD,
    UNSERIALISABLE_FIELD,
    NO_FAILED,
    BLOCKING_CALL,
    DISPATCH_IN_HANDLE,
    CLASS_STATE,
    MODULE_STATE,
)
