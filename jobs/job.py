"""``Job``: what people subclass."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, ClassVar, TypeVar, dataclass_transform

from queued.jobs import registry
from queued.jobs.definition import Definition, define
from queued.jobs.redaction import HIDDEN, looks_secret
from queued.jobs.text import one_line

JobClass = TypeVar("JobClass", bound="type[Job]")


class _Nothing:
    """What the base ``failed`` returns: an awaitable that may as well be dropped."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


@dataclass_transform(kw_only_default=True, eq_default=False)
class Job:
    """A unit of work. Annotated attributes are its fields, and ``handle`` does it.

    Settings stand in the class without annotations; what is None is left to the queue:

    * ``queue``: where it goes ("default" if nobody says).
    * ``max_tries``: how often it may run, the first run included.
    * ``timeout``: how long a run may take, in seconds or as ``"5m"``; 0 for no limit.
    * ``retry_after``: how long to wait before the next run; or ``backoff``: a number, a list or
      ``{"base": 1, "factor": 2, "cap": "5m", "jitter": 0.1}``.
    * ``retry_on``, ``give_up_on``: for which exceptions there is a further try, and for which none;
      a class, or a tuple of them.
    * ``max_payload``: how large it may be as stored, in bytes or as ``"64KiB"``.
    * ``encrypt``: its fields are encrypted in the back-end, and shown nowhere.
    * ``name``: what payloads call it, else module path and class.
    * ``unique_key``: ``"{user_id}"``, a method, or True for all fields: while one job of a key
      waits or runs, no second one is enqueued in its queue; ``unique_for``: for so long instead.

    The constructor takes the fields as keywords; they are validated when the job is dispatched, and
    then ``validate(self)`` is called if the class has one. A class with an ``__init__`` of its own,
    or without any annotation, has its public attributes as payload. Underscored attributes are no
    payload. Each run gets a fresh instance.
    """

    queue: ClassVar[str | None] = None
    max_tries: ClassVar[int | None] = None
    timeout: ClassVar[float | str | None] = None
    retry_after: ClassVar[float | str | None] = None
    backoff: ClassVar[Any] = None
    retry_on: ClassVar[type[BaseException] | Sequence[type[BaseException]] | None] = None
    give_up_on: ClassVar[type[BaseException] | Sequence[type[BaseException]] | None] = None
    retry_backoff_enabled: ClassVar[bool | None] = None
    retry_backoff_max_delay: ClassVar[float | str | None] = None
    retry_backoff_jitter: ClassVar[float | None] = None
    max_payload: ClassVar[int | str | None] = None
    encrypt: ClassVar[bool | None] = None
    name: ClassVar[str | None] = None
    unique_key: ClassVar[Any] = None
    unique_for: ClassVar[float | str | None] = None

    __queued__: ClassVar[Definition]

    job_id: str | None = None
    """The id, while the job runs: the same over all tries."""
    attempts: int = 0
    """Which run this is: 1 on the first; 0 before."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__queued__ = define(cls, Job)
        registry.register(cls)

    def __init__(self, /, *args: Any, **values: Any) -> None:
        definition = type(self).__queued__
        if args:
            field = next(iter(definition.fields), "field")
            kind = type(self).__name__
            raise TypeError(f"{kind}() takes keywords only, such as {kind}({field}=...)")
        if definition.fields or values:
            self.__dict__.update(definition.complete(type(self).__name__, values))
        if definition.private:
            self.__dict__.update(definition.fresh_private())

    def handle(self) -> Any:
        """Do the work: ``async def``, or a plain ``def`` that is run in a thread."""
        raise NotImplementedError(f"{type(self).__name__} has no handle()")

    def failed(self, exception: Exception) -> Any:  # noqa: ARG002 - for those who override it
        """Clean up after the last try has failed: ``async def`` or plain ``def``."""
        return _Nothing()

    @classmethod
    def register(cls, job_class: JobClass | None = None) -> JobClass | type[Job]:
        """Register a class, as RouteMQ asks for; subclassing has done it already."""
        target = job_class if job_class is not None else cls
        if target is not Job:
            registry.register(target)
        return target

    def __repr__(self) -> str:
        encrypt = type(self).encrypt
        shown = (
            f"{name}={HIDDEN if encrypt or looks_secret(name) else one_line(repr(value), 80)}"
            for name, value in self.__dict__.items()
            if not name.startswith("_")
        )
        return f"{type(self).__name__}({', '.join(shown)})"


Job.__queued__ = define(Job, Job)


def has_failed_hook(cls: type[Job]) -> bool:
    """Say whether a class has a ``failed`` of its own."""
    return cls.failed is not Job.failed
