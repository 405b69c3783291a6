"""Job classes: fields, constructors, settings, and what is refused when a class is made."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import pydantic
import pytest

from queued.errors import JobDefinitionError
from queued.jobs import registry
from queued.jobs.job import Job, has_failed_hook


class SendEmail(Job):
    queue = "emails"
    max_tries = 5
    timeout = "30s"

    sent: ClassVar[int] = 0
    to: str
    subject: str = "Hello"
    copies: list[str] = []  # noqa: RUF012 - a field's default, made anew for each job
    _seen: dict[str, int] = {}  # noqa: RUF012

    async def handle(self) -> None: ...


class SendUrgentEmail(SendEmail):
    subject = "Urgent"
    level: int = 1


class Legacy(Job):
    def __init__(self) -> None:
        super().__init__()
        self.user_id = None

    async def handle(self) -> None: ...


def test_the_constructor_takes_fields_as_keywords_and_fills_in_defaults() -> None:
    job = SendEmail(to="a@b.c")

    assert (job.to, job.subject, job.copies) == ("a@b.c", "Hello", [])


def test_before_it_runs_a_job_has_no_id_and_no_attempts() -> None:
    job = SendEmail(to="a@b.c")

    assert job.job_id is None
    assert job.attempts == 0


def test_the_constructor_does_not_validate() -> None:
    assert SendEmail(to=3).to == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"SendEmail\(\): missing to$"),
        (
            {"to": "a", "subjct": "b"},
            r'SendEmail\(\): no field "subjct"; did you mean "subject"\?$',
        ),
        ({"too": "a"}, r'no field "too"; did you mean "to"\?; missing to'),
        ({"to": "a", "_seen": {}}, 'no field "_seen"'),
        ({"to": "a", "sent": 1}, 'no field "sent"'),
        ({"to": "a", "job_id": "x"}, 'no field "job_id"'),
        ({"to": "a", "queue": "x"}, 'no field "queue"'),
    ],
)
def test_unknown_and_missing_fields_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        SendEmail(**values)


def test_positional_arguments_are_refused_with_an_example() -> None:
    with pytest.raises(TypeError, match=r"SendEmail\(\) takes keywords only, such as .*to=\.\.\."):
        SendEmail("a@b.c")  # type: ignore[misc]


def test_a_class_without_fields_says_how_to_get_some() -> None:
    class Score(Job):
        async def handle(self) -> None: ...

    with pytest.raises(TypeError, match=r"annotate it in the class \(user_id: \.\.\.\)"):
        Score(user_id=3)  # type: ignore[call-arg]


def test_mutable_defaults_are_copied_for_each_instance() -> None:
    first, second = SendEmail(to="a"), SendEmail(to="b")
    first.copies.append("x")
    first._seen["x"] = 1

    assert second.copies == []
    assert second._seen == {}
    assert SendEmail(to="c").copies == []


def test_fields_are_inherited_and_a_plain_attribute_changes_a_default() -> None:
    job = SendUrgentEmail(to="a")

    assert (job.to, job.subject, job.level) == ("a", "Urgent", 1)
    assert SendUrgentEmail.queue == "emails"
    assert list(job.__queued__.fields) == ["to", "subject", "copies", "level"]


def test_a_mixin_brings_its_fields() -> None:
    class ForTenant:
        tenant: int

    class Report(ForTenant, Job):
        day: str

    assert vars(Report(tenant=1, day="mon")) == {"tenant": 1, "day": "mon"}  # type: ignore[call-arg]


def test_factories_of_dataclasses_and_pydantic_are_called_for_each_instance() -> None:
    class Report(Job):
        rows: list[int] = dataclasses.field(default_factory=lambda: [1])
        columns: list[int] = pydantic.Field(default_factory=lambda: [2])
        title: str = pydantic.Field("none", max_length=10)
        pages: int = pydantic.Field(gt=0)
        _cache: dict[str, int] = pydantic.PrivateAttr(default_factory=dict)

    first, second = Report(pages=1), Report(pages=2)
    first.rows.append(1)
    first._cache["x"] = 1

    assert (second.rows, second.columns, second.title, second._cache) == ([1], [2], "none", {})
    with pytest.raises(TypeError, match="missing pages"):
        Report()


def test_a_dataclass_can_be_a_job() -> None:
    @dataclasses.dataclass
    class Report(Job):
        day: str
        rows: list[int] = dataclasses.field(default_factory=list)

    class Longer(Report):
        pass

    assert Report("mon").day == "mon"  # type: ignore[misc]
    assert Longer.__queued__.typed
    assert Longer.__queued__.anew == ("rows",)


def test_a_routemq_style_class_needs_no_annotations() -> None:
    job = Legacy()

    assert job.user_id is None
    assert job.job_id is None
    assert not Legacy.__queued__.typed


@pytest.mark.parametrize(
    "name", ["queue", "max_tries", "timeout", "retry_after", "backoff", "name"]
)
def test_an_annotated_setting_is_refused(name: str) -> None:
    with pytest.raises(JobDefinitionError, match=rf"Odd.{name} is a setting .* write {name} = 7 "):
        type("Odd", (Job,), {"__annotations__": {name: int}, name: 7})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("handle", "is a method of jobs"),
        ("failed", "is a method of jobs"),
        ("validate", "is a method of jobs"),
        ("job_id", "is set by queued"),
        ("attempts", "is set by queued"),
        ("name", r"is a setting and no field: write name = \.\.\. without the annotation, or give"),
    ],
)
def test_reserved_names_are_no_fields(name: str, message: str) -> None:
    with pytest.raises(JobDefinitionError, match=rf"Odd\.{name} {message}"):
        type("Odd", (Job,), {"__annotations__": {name: "str"}})


def test_a_setting_may_be_annotated_as_a_class_variable() -> None:
    class Tidy(Job):
        queue: ClassVar[str | None] = "tidy"

    assert Tidy.queue == "tidy"
    assert Tidy.__queued__.fields == {}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("queue", "no spaces"),
        ("queue", ""),
        ("queue", 3),
        ("max_tries", 0),
        ("max_tries", "3"),
        ("max_tries", True),
        ("max_tries", 2.0),
        ("timeout", -1),
        ("timeout", "soon"),
        ("retry_after", float("nan")),
        ("backoff", []),
        ("backoff", {"bse": 1}),
        ("name", "two words"),
        ("name", 4),
    ],
)
def test_settings_are_checked_when_the_class_is_made(setting: str, value: Any) -> None:
    with pytest.raises(JobDefinitionError, match=rf"^Odd\.{setting}: "):
        type("Odd", (Job,), {setting: value})


def test_settings_may_be_text_zero_or_none() -> None:
    class Relaxed(Job):
        timeout = 0
        retry_after = "5m"
        backoff = {"base": 1, "factor": 3, "cap": "5m", "jitter": 0.1}  # noqa: RUF012
        queue = None

    assert Relaxed.timeout == 0


def test_an_init_with_required_arguments_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match=r"Odd\.__init__ requires user_id, but a worker"):

        class Odd(Job):
            def __init__(self, user_id: int, *rest: Any, kind: str = "x", **more: Any) -> None: ...


@pytest.mark.parametrize("kind", ["generator", "asynchronous generator"])
def test_a_handle_that_would_run_nothing_is_refused(kind: str) -> None:
    def generator(_: Any) -> Any:
        yield

    async def asynchronous(_: Any) -> Any:
        yield

    handle = generator if kind == "generator" else asynchronous
    with pytest.raises(JobDefinitionError, match=r"Odd\.handle has a yield"):
        type("Odd", (Job,), {"handle": handle})


async def no_self() -> None: ...
async def one(self: Any, /) -> None: ...
async def two(self: Any, what: Any) -> None: ...
async def any_number(*args: Any, **kwargs: Any) -> None: ...


@functools.wraps(two)
async def wrapped(self: Any) -> None: ...


@pytest.mark.parametrize("handle", [no_self, two])
def test_a_handle_that_a_worker_cannot_call_is_refused(handle: Any) -> None:
    with pytest.raises(JobDefinitionError, match=r"Odd\.handle has to take \(self\): .* fields"):
        type("Odd", (Job,), {"handle": handle})


@pytest.mark.parametrize("failed", [no_self, one])
def test_a_failed_that_a_worker_cannot_call_is_refused(failed: Any) -> None:
    with pytest.raises(JobDefinitionError, match=r"Odd\.failed has to take \(self, exception\)"):
        type("Odd", (Job,), {"failed": failed})


@pytest.mark.parametrize(
    "methods",
    [
        {"handle": one, "failed": two},
        {"handle": any_number, "failed": any_number},
        {"handle": wrapped},
        {"handle": staticmethod(no_self)},
    ],
)
def test_methods_that_a_worker_can_call_are_taken(methods: dict[str, Any]) -> None:
    type("Fine", (Job,), methods)


def test_validate_must_be_a_plain_function() -> None:
    with pytest.raises(JobDefinitionError, match="make it a plain function"):

        class Odd(Job):
            async def validate(self) -> None: ...


def test_repr_shows_fields_but_no_secrets_and_no_control_characters() -> None:
    class Login(Job):
        user: str
        password: str
        api_key: str = "k"
        authorization: str = "Bearer x"
        note: str = "a\nb"

    shown = repr(Login(user="ann", password="hunter2"))

    assert shown == (
        r"Login(user='ann', password=***, api_key=***, authorization=***, note='a\nb')"
    )


def test_repr_cuts_long_values() -> None:
    assert len(repr(SendEmail(to="x" * 10_000))) < 200


def test_the_failed_hook_is_found() -> None:
    class WithHook(Job):
        def failed(self, exception: Exception) -> None: ...

    assert has_failed_hook(WithHook)
    assert not has_failed_hook(Legacy)


async def test_the_base_failed_may_be_awaited_or_not() -> None:
    job = Legacy()
    job.failed(ValueError())

    assert await job.failed(ValueError()) is None


def test_the_wire_name_is_module_and_class_or_as_given() -> None:
    class Named(Job):
        name = "mail.send"

    class Child(Named):
        pass

    assert SendEmail.__queued__.name == f"{__name__}.SendEmail"
    assert Named.__queued__.name == "mail.send"
    assert Child.__queued__.name.endswith("<locals>.Child")
    assert registry.lookup("mail.send") is Named


def test_a_name_that_is_taken_is_refused() -> None:
    type("First", (Job,), {"name": "taken"})

    with pytest.raises(JobDefinitionError, match=r'the name "taken" is taken by .*First'):
        type("Second", (Job,), {"name": "taken"})


def test_the_same_class_made_again_replaces_the_old_one() -> None:
    def make() -> type[Job]:
        class Again(Job):
            name = "again"

        return Again

    make()
    newer = make()

    assert registry.lookup("again") is newer


def test_register_returns_the_class() -> None:
    assert Job.register(Legacy) is Legacy
    assert Legacy.register() is Legacy
    assert registry.registered()[f"{__name__}.Legacy"] is Legacy
