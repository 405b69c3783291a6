"""Which errors a job is tried again for: what ``retry_on`` and ``give_up_on`` of its class say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Errors = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class Retrying:
    """The errors, subclasses included, that decide whether there is a further try.

    ``give_up_on`` wins over ``retry_on``; without the latter everything else is tried again.
    """

    retry_on: Errors | None = None
    give_up_on: Errors = ()

    def refusal(self, error: type[BaseException]) -> str | None:
        """Say which setting forbids a further try after such an error; None: it is worth one."""
        if self.give_up_on and issubclass(error, self.give_up_on):
            return "give_up_on"
        if self.retry_on is not None and not issubclass(error, self.retry_on):
            return "retry_on"
        return None

    @classmethod
    def of(cls, job: Any) -> Retrying:
        """Return what a class says."""
        retry_on = getattr(job, "retry_on", None)
        give_up_on = getattr(job, "give_up_on", None)
        if retry_on is None and give_up_on is None:
            return ALWAYS
        return cls(
            None if retry_on is None else error_classes(retry_on),
            () if give_up_on is None else error_classes(give_up_on),
        )


ALWAYS = Retrying()


def error_classes(value: Any) -> Errors:
    """Return one class of exceptions, or a tuple or list of them, as a tuple.

    :raises ValueError: it is none of these.
    """
    classes = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not classes:
        raise ValueError(
            "expected at least one class of exceptions; max_tries = 1 is for no further try at all"
        )
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            hint = "; write the class, not an instance" if isinstance(one, BaseException) else ""
            raise ValueError(  # noqa: TRY004 - one error type
                f"expected a class of exceptions such as ConnectionError, or a tuple of them, got"
                f" {one!r}{hint}"
            )
    return classes


def shadowed(retry_on: Any, give_up_on: Any) -> str:
    """Return the name of a class in ``retry_on`` for which jobs are given up all the same."""
    if retry_on is None or give_up_on is None:
        return ""
    given_up = error_classes(give_up_on)
    return next((one.__name__ for one in error_classes(retry_on) if issubclass(one, given_up)), "")
