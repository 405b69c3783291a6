"""Where findings point, how comments ignore them, and classes whose source nobody can read."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from queued import Job
from queued.jobs import registry
from queued.jobs.checks.review import review
from queued.jobs.checks.rules import RULES
from tests.unit.checking import POOL, Checker, checker, of, rules

check = pytest.fixture(checker)


def test_a_row_for_each_class_and_a_result_for_each_rule(check: Checker) -> None:
    found = check("""
        class SendInvoice(Job):
            async def handle(self): ...
        class PayInvoice(Job):
            async def handle(self): ...
        """)
    assert [row.line for row in found.rows] == [5, 3]
    for row in found.rows:
        assert [one.rule for one in row.findings] == [rule.id for rule in RULES]
        levels = {one.rule: one.level for one in row.findings}
        assert levels.pop("no-failed") == "warning"
        assert set(levels.values()) == {"pass"}


@pytest.mark.parametrize(
    "source",
    [
        "class Job1(Job):  # queued: ignore[vague-name, no-failed]\n    password: str",
        "class Job1(  # queued: ignore[no-failed, vague-name]\n  Job,\n):\n  password: str",
        "@Job.register  # queued: ignore[no-failed,vague-name]\nclass Job1(Job):\n  password: str",
    ],
)
def test_ignored_at_the_class(check: Checker, source: str) -> None:
    found = check(source)
    assert rules(found) == {"secret-field"}
    levels = [one.level for one in found.rows[0].findings]
    assert levels.count("ignored") == 2


def test_ignored_in_the_line(check: Checker) -> None:
    found = check("""
        import time
        class SendInvoice(Job):
            password: str  # queued: ignore[secret-field]
            async def failed(self, exception): ...
            async def handle(self):
                time.sleep(
                    1
                )  # queued: ignore[blocking-call] nothing else runs here
                time.sleep(2)
        """)
    assert [(one.rule, one.line) for one in found.findings()] == [("blocking-call", 11)]


def test_ignored_at_the_base_in_which_it_stands(check: Checker) -> None:
    source = """
        import time
        class Patient(Job):  # queued: ignore[blocking-call]
            async def failed(self, exception): ...
            async def wait(self): time.sleep(1)
        class SendInvoice(Patient):
            async def handle(self): {}
        """
    assert not rules(check(source.format("...")))
    assert rules(check(source.format("time.sleep(1)"))) == {"blocking-call"}


def test_what_a_base_does_is_told_once(check: Checker) -> None:
    found = check("""
        class Base(Job):
            password: str
            async def failed(self, exception): ...
        class SendInvoice(Base): ...
        class PayInvoice(Base): ...
        """)
    assert all(row.broken for row in found.rows)
    assert len({one.line for one in of(found, "secret-field")}) == 1


def test_comments_that_ignore_nothing(check: Checker) -> None:
    found = check("""
        class SendInvoice(Job):  # queued: ignore[no-faild]
            async def failed(self, exception): ...
            text: str = "# queued: ignore"
            more: str  # queued: ignore
        """)
    assert [(one.rule, one.line) for one in found.findings()] == [
        ("bad-ignore", 3),
        ("bad-ignore", 6),
    ]
    assert 'did you mean "no-failed"?' in found.findings()[0].reason


def test_of_two_classes_of_one_name_the_last_is_meant(check: Checker) -> None:
    found = check("""
        class SendInvoice(Job):
            password: str
        class SendInvoice(Job):
            async def failed(self, exception): ...
        if True:
            class PayInvoice(Job):
                async def failed(self, exception): ...
        """)
    assert not rules(found)
    assert [row.line for row in found.rows] == [8, 5]


def test_a_class_in_a_function(check: Checker) -> None:
    found = check("""
        def make():
            class SendInvoice(Job):
                name = "send"
                password: str
                async def failed(self, exception): ...
        make()
        """)
    assert [(one.rule, one.line) for one in found.findings()] == [("secret-field", 6)]


def test_a_class_without_a_source() -> None:
    namespace: dict[str, object] = {"__name__": "typed_in", "Job": Job}
    exec("class Job1(Job):\n  password: str\n  async def handle(self): ...", namespace)
    made = type("Made", (Job,), {"__module__": "nowhere", "handle": lambda self: None})
    found = review({"a": namespace["Job1"], "b": made}, {"a": POOL, "b": POOL})  # type: ignore[dict-item]
    typed_in, from_type = found.rows
    assert {one.rule for one in typed_in.broken} == {"vague-name", "secret-field", "no-failed"}
    unknown = {rule.id for rule in RULES if rule.reads_source}
    assert {one.rule for one in from_type.findings if one.level == "unknown"} == unknown
    assert (typed_in.file, typed_in.line) == (None, None)


def test_a_class_in_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as file:
        source = "import time\nfrom queued import Job\nclass SendInvoice(Job):\n"
        file.writestr("zipped_jobs.py", f"{source}    async def handle(self): time.sleep(1)\n")
    monkeypatch.syspath_prepend(archive)
    import zipped_jobs

    found = review({"a": zipped_jobs.SendInvoice}, {"a": POOL})
    sys.modules.pop("zipped_jobs")
    assert [(one.rule, one.line) for one in found.findings()] == [
        ("no-failed", 3),
        ("blocking-call", 4),
    ]


def test_a_module_that_changed_since_it_was_imported(check: Checker) -> None:
    """The rules read what is there; they do not fail if it is no Python any more."""
    from queued.jobs.checks import source

    found = check("class SendInvoice(Job):\n    async def failed(self, exception): ...\n")
    [row] = found.rows
    Path(row.file or "").write_text("def f(:\n")
    source._read.cache_clear()
    [again] = review({row.name: registry.lookup(row.name)}, {row.name: POOL}).rows
    assert not again.broken
    assert "unknown" in {one.level for one in again.findings}


def test_nothing_of_a_class_is_called(check: Checker) -> None:
    check("""
        class Trap(type(Job)):
            pass
        class SendInvoice(Job):
            amount: int = 1
            @property
            def total(self): raise AssertionError
            def __init__(self): raise AssertionError
            async def handle(self): raise AssertionError
            async def failed(self, exception): raise AssertionError
            def validate(self): raise AssertionError
        """)
