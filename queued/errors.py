"""Every error that queued raises, in one tree.

A message says what went wrong, where, and what to do next; no message carries a secret. The two
signals that a job raises on purpose, ``Retry`` and ``Fail``, live beside the outcomes in
``queued.jobs.outcome``: they are no errors.
"""

from __future__ import annotations

from collections.abc import Sequence


class QueuedError(Exception):
    """The root: ``except QueuedError`` catches whatever queued itself reports."""


class ConfigError(QueuedError):
    """queue.yaml, the environment or a flag is wrong. ``problems`` holds one line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ImportFailed(QueuedError):
    """A module of ``imports`` could not be loaded; the message names the user's own line."""


class JobDefinitionError(QueuedError, TypeError):
    """A Job class is made wrong: a reserved field, a taken name, an unusable constructor."""


class InvalidJob(QueuedError, ValueError):
    """A job's values do not fit its fields; the message names each field. Nothing was enqueued."""


class PayloadTooLarge(InvalidJob):
    """The encoded job is over ``max_payload``. Nothing was enqueued."""


class CorruptPayload(QueuedError):
    """Stored bytes are no envelope of ours, or do not fit the class. The bytes are kept."""

    reason = "corrupt_payload"


class EncryptionError(QueuedError):
    """A job cannot be encrypted or decrypted: no key, none that fits, or no library for it.

    ``reason`` is ``no_key`` or ``wrong_key``. A worker keeps the bytes: with the right key the job
    can be tried again.
    """

    def __init__(self, message: str, reason: str = "no_key") -> None:
        self.reason = reason
        super().__init__(message)


class BadSignature(QueuedError):
    """A payload has no signature, or none that any of our keys made. It is not read any further."""

    reason = "bad_signature"


class UnknownJob(QueuedError):
    """A payload names a class that no module of ``imports`` registered. The bytes are kept."""

    reason = "unknown_job"


class JobTimeout(QueuedError, TimeoutError):
    """A job ran longer than its ``timeout`` and was cancelled, or its worker killed."""


class JobCrashed(QueuedError):
    """The process that ran the job died while it ran."""


class DriverError(QueuedError):
    """The root of what a back-end reports."""


class DriverUnavailable(DriverError):
    """The back-end cannot be reached, or refuses writes for now.

    ``ids`` names the jobs whose fate is unknown: they may or may not have been enqueued. To push
    them again under the same ids is safe.
    """

    def __init__(self, message: str, ids: Sequence[str] = ()) -> None:
        self.ids = tuple(ids)
        super().__init__(message)


class QueueUnavailable(DriverUnavailable):
    """One queue cannot be used for now: it is locked, or refuses us. The back-end answers."""


class OwnerLost(DriverError):
    """The owner was retired (its lease ran out, or its process died): it may not reserve."""


class ControlError(QueuedError):
    """The daemon does not answer on its control socket, or refused the command."""


class AlreadyRunning(QueuedError):
    """Another master holds the lock of the same configuration."""
