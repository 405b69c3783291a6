"""``@job``: a function as a short form of a Job class.

    @job(queue="emails", max_tries=3)
    async def send_email(to: str, subject: str = "Hello") -> None: ...

    await dispatch(send_email(to="a@b.c"))

Behind it stands a class like any other: its fields are the function's parameters.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypedDict, TypeVar, overload

from queued.errors import JobDefinitionError
from queued.jobs.definition import RESERVED
from queued.jobs.job import Job
from queued.jobs.settings import SETTINGS
from queued.jobs.text import nearest

if TYPE_CHECKING:
    from typing import Unpack

P = ParamSpec("P")
R = TypeVar("R")

_HOOKS = ("failed", "validate")
_PLAIN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Settings(TypedDict, total=False):
    """What ``@job`` takes: the settings of a class, and its hooks as functions of the job."""

    queue: str
    max_tries: int
    timeout: float | str
    retry_after: float | str
    backoff: Any
    retry_on: Any
    give_up_on: Any
    retry_backoff_enabled: bool
    retry_backoff_max_delay: float
    retry_backoff_jitter: float
    max_payload: int | str
    encrypt: bool
    name: str
    unique_key: Any
    unique_for: float | str
    failed: Callable[[Any, Exception], Any]
    validate: Callable[[Any], Any]


class JobFunction(Generic[P, R]):
    """A function that makes jobs when it is called; ``function`` is the one that does the work."""

    def __init__(self, function: Callable[P, R], job_class: type[Job]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        """As it was written: tests call it."""
        self.job_class = job_class
        """The class of its jobs."""
        self._signature = inspect.signature(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Return a job that will call the function with these arguments.

        :raises TypeError: they do not fit its parameters.
        """
        if args:
            kwargs = self._signature.bind_partial(*args, **kwargs).arguments  # type: ignore[assignment]
        return self.job_class(**kwargs)

    def __repr__(self) -> str:
        return f"<job function {self.job_class.__queued__.name}>"


@overload
def job(function: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(**settings: Unpack[Settings]) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def job(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Make a function the work of a job, whose fields are its parameters.

    :param settings: those of a Job class, and ``failed``: a function of the job (its arguments are
        attributes) and the exception, called after the last try; ``validate``: one of the job,
        called when it is dispatched.
    :raises JobDefinitionError: it cannot work; the message says what to write instead.
    """
    if function is None:
        return lambda function: _made(function, settings)
    if not inspect.isroutine(function):
        said = type(function).__name__
        raise JobDefinitionError(
            f'@job goes above a function, or takes settings by name: @job(queue="emails");'
            f" got a {said}"
        )
    return _made(function, settings)


def _made(function: Callable[..., Any], settings: dict[str, Any]) -> JobFunction[..., Any]:
    where = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function):
        raise JobDefinitionError(f"@job goes above a plain function, and {where} is none")
    for name in settings:
        if name not in SETTINGS and name not in _HOOKS:
            known = (*SETTINGS, *_HOOKS)
            raise JobDefinitionError(f'@job of {where}: no setting "{name}"{nearest(name, known)}')
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise JobDefinitionError(f"{where} has a yield in it, so that calling it would run nothing")
    namespace = {
        "__module__": function.__module__,
        "__qualname__": where,
        "__doc__": function.__doc__,
        "__function__": function,
        "__annotations__": _fields(function, where),
        **_defaults(function),
        **settings,
        "handle": _handle(function),
    }
    return JobFunction(function, type(function.__name__, (Job,), namespace))


def _fields(function: Callable[..., Any], where: str) -> dict[str, Any]:
    """Return the annotations of a function's parameters."""
    annotations = inspect.get_annotations(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in _PLAIN:
            raise JobDefinitionError(
                f"{where}({parameter}): a job's arguments are stored by name; name each one"
            )
        if name in {"self", "cls"}:
            raise JobDefinitionError(
                f"{where} is a method, which has nothing to be called on when the job runs: put"
                " @job above a function of the module, or write a Job class"
            )
        if name in RESERVED or name.startswith("_"):
            kind = "a setting" if name in SETTINGS else "reserved"
            kind = "private" if name.startswith("_") else kind
            raise JobDefinitionError(
                f'{where}({name}): the name "{name}" is {kind} in jobs; give the parameter another'
            )
    parameters = inspect.signature(function).parameters
    return {name: annotations.get(name, Any) for name in parameters}


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _handle(function: Callable[..., Any]) -> Callable[[Job], Any]:
    names = tuple(inspect.signature(function).parameters)

    def arguments(job: Job) -> dict[str, Any]:
        values = vars(job)
        return {name: values[name] for name in names}

    if inspect.iscoroutinefunction(function):

        async def handle_async(self: Job) -> None:
            await function(**arguments(self))

        return handle_async

    def handle(self: Job) -> Any:
        return function(**arguments(self))

    return handle
