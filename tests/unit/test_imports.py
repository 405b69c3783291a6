"""Loading the user's modules: from the right place, with errors that name the user's lines."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from queued.errors import ImportFailed
from queued.jobs import imports, registry

numbers = itertools.count()

JOB = """
from queued import Job
class Send{n}(Job):
    to: str
    async def handle(self): ...
"""

Write = Callable[[str, str], None]


@pytest.fixture
def app() -> str:
    """Return the name of a package that no other test has imported."""
    return f"app{next(numbers)}"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path, app: str) -> Write:
    """Write a file of the app; ``{app}`` and ``{n}`` stand for its name."""

    def write_file(name: str, text: str) -> None:
        file = tmp_path / app / name
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(dedent(text).replace("{app}", app).replace("{n}", app))

    return write_file


def failure(names: list[str], folder: Path) -> str:
    with pytest.raises(ImportFailed) as caught:
        imports.load(names, folder)
    return str(caught.value)


def test_a_module_is_found_beside_queue_yaml(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", JOB)

    assert imports.load([f"{app}.jobs"], tmp_path) == []
    assert f"{app}.jobs.Send{app}" in registry.registered()
    assert sys.path[0] == str(tmp_path)


def test_the_folder_comes_first_and_once(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", JOB)
    other = tmp_path / "other"
    (other / app).mkdir(parents=True)
    (other / app / "jobs.py").write_text("raise RuntimeError('the wrong one')")
    sys.path[:0] = [str(other), str(tmp_path)]

    imports.load([f"{app}.jobs"], tmp_path)
    imports.load([f"{app}.jobs"], tmp_path)

    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[0] == str(tmp_path)


def test_a_package_is_loaded_with_all_its_modules(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs/mail.py", JOB)
    write("jobs/deep/er/report.py", "")
    write("jobs/deep/__init__.py", "")
    write("jobs/__main__.py", "raise SystemExit('never run')")
    write("elsewhere.py", "raise RuntimeError('never imported')")
    write("__init__.py", "")

    assert imports.load([f"{app}.jobs"], tmp_path) == []
    assert f"{app}.jobs.mail" in sys.modules
    assert f"{app}.jobs.deep.er.report" in sys.modules


def test_codecs_are_built_before_anything_is_forked(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", JOB)
    imports.load([f"{app}.jobs"], tmp_path)

    assert registry.lookup(f"{app}.jobs.Send{app}").__queued__.codec is not None


def test_an_error_names_the_users_own_line(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", "import json\n\njson.loads('{')\n")

    said = failure([f"{app}.jobs"], tmp_path)

    assert said.startswith(f"{app}/jobs.py:3: JSONDecodeError: ")
    assert said.endswith(f"(imported as {app}.jobs)")
    assert "\n" not in said


def test_an_error_in_a_module_that_the_users_imports(
    tmp_path: Path, app: str, write: Write
) -> None:
    write("jobs.py", "from {app} import settings\n")
    write("settings.py", "x = 1\ny = x / 0\n")

    assert failure([f"{app}.jobs"], tmp_path) == (
        f"{app}/settings.py:2: ZeroDivisionError: division by zero (imported as {app}.jobs)"
    )


def test_a_syntax_error_names_its_line(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", "x = 1\ndef broken(:\n")

    said = failure([f"{app}.jobs"], tmp_path)
    assert said.startswith(f"{app}/jobs.py:2: SyntaxError: ")
    assert said.count("jobs.py") == 1


def test_a_name_that_cannot_be_imported(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", "\nfrom {app}.models import Userr\n")
    write("models.py", "User = 1\n")

    said = failure([f"{app}.jobs"], tmp_path)
    assert said.startswith(f"{app}/jobs.py:2: ImportError: cannot import name 'Userr'")


def test_a_library_that_is_not_installed(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", "import not_installed_anywhere\n")

    assert failure([f"{app}.jobs"], tmp_path).startswith(
        f"{app}/jobs.py:1: ModuleNotFoundError: No module named 'not_installed_anywhere'"
    )


def test_a_module_that_ends_the_program(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", "import sys\nsys.exit('done')\n")

    said = failure([f"{app}.jobs"], tmp_path)
    assert said.startswith(f"{app}/jobs.py:2: the module ends the program when it is imported")
    assert "SystemExit('done')" in said


def test_an_error_in_a_file_outside_of_the_folder(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", "raise ValueError('x')\n")
    elsewhere = tmp_path / "etc"
    elsewhere.mkdir()
    sys.path.append(str(tmp_path))

    assert failure([f"{app}.jobs"], elsewhere).startswith(f"{tmp_path}/{app}/jobs.py:1: ValueError")


def test_a_class_that_cannot_be_defined(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", "from queued import Job\n\nclass Odd(Job):\n    queue: str = 'emails'\n")

    said = failure([f"{app}.jobs"], tmp_path)
    assert said.startswith(f"{app}/jobs.py:3: JobDefinitionError: Odd.queue is a setting")


def test_a_class_whose_annotations_do_not_exist(tmp_path: Path, app: str, write: Write) -> None:
    write(
        "jobs.py",
        """
        from __future__ import annotations
        from queued import Job

        class Odd(Job):
            name = "odd.{n}"
            at: Moment
            async def handle(self): ...
        """,
    )

    said = failure([f"{app}.jobs"], tmp_path)
    registry._classes.pop(f"odd.{app}")
    assert said.startswith(f'{app}/jobs.py:5: Odd: an annotation names "Moment"')


def test_a_missing_module_suggests_a_near_one(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", JOB)

    hint = f'did you mean "{app}.jobs"? ({tmp_path} and sys.path were searched)'
    assert failure([f"{app}.jbos"], tmp_path) == f'no module "{app}.jbos"; {hint}'
    assert f'did you mean "{app}"?' in failure([f"{app}x.jobs"], tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("app/jobs.py", '; write "app.jobs"'),
        ("./app/jobs", '; write "app.jobs"'),
        ("app.jobs.py", ""),
        (".jobs", '; write "jobs"'),
        ("", ""),
        ("two words", ""),
    ],
)
def test_what_is_no_name_of_a_module(tmp_path: Path, name: str, hint: str) -> None:
    said = failure([name], tmp_path)

    assert "no module" in said or "is no name of a module" in said
    assert said.endswith(hint) or not hint


def test_all_failures_are_told_at_once(tmp_path: Path, app: str, write: Write) -> None:
    write("one.py", "raise ValueError(1)\n")
    write("two.py", "raise ValueError(2)\n")
    write("three.py", JOB)

    said = failure([app], tmp_path).splitlines()
    assert [line.partition(":")[0] for line in said] == [f"{app}/one.py", f"{app}/two.py"]


def test_a_module_that_starts_threads_is_named(tmp_path: Path, app: str, write: Write) -> None:
    write(
        "jobs.py",
        JOB
        + dedent("""
        import threading
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait, name="poller", daemon=True)
        thread.start()
        """),
    )

    [warning] = imports.load([f"{app}.jobs"], tmp_path)
    sys.modules[f"{app}.jobs"].stop.set()
    sys.modules[f"{app}.jobs"].thread.join()
    assert warning.startswith(f"{app}.jobs starts threads when it is imported (poller)")


def test_imports_without_any_job_are_worth_a_warning(
    tmp_path: Path, app: str, write: Write
) -> None:
    write("jobs.py", "x = 1\n")

    assert imports.load([f"{app}.jobs"], tmp_path) == [f"no Job class is defined in {app}.jobs"]
    assert imports.load([], tmp_path) == []


def test_an_interrupt_is_no_failure_of_the_module(tmp_path: Path, app: str, write: Write) -> None:
    write("jobs.py", "raise KeyboardInterrupt\n")

    with pytest.raises(KeyboardInterrupt):
        imports.load([f"{app}.jobs"], tmp_path)


def test_a_function_is_looked_for_in_its_module_alone(
    tmp_path: Path, app: str, write: Write
) -> None:
    write("jobs.py", JOB)
    write("telemetry/__init__.py", "def setup(): return 7")
    write("telemetry/beside.py", "raise SystemExit")

    assert imports.load([f"{app}.jobs", f"{app}.telemetry:setup"], tmp_path) == []
    assert imports.function(f"{app}.telemetry:setup")() == 7


def test_a_function_that_is_missing_is_named(tmp_path: Path, app: str, write: Write) -> None:
    write("telemetry.py", "setup = 1\ndef set_up(): ...")

    said = failure([f"{app}.telemetry:setup"], tmp_path)
    assert said == f'{app}.telemetry has no function "setup"; did you mean "set_up"?'


def test_a_function_whose_module_is_missing_is_told_like_any_module(
    tmp_path: Path, app: str, write: Write
) -> None:
    write("jobs.py", JOB)

    said = failure([f"{app}.telemetry:setup"], tmp_path)
    assert said.startswith(f'no module "{app}.telemetry"')
