"""Loading the user's modules: what ``imports`` names. Errors name the user's own lines."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType, ModuleType

from queued.errors import ImportFailed, JobDefinitionError
from queued.jobs import payload
from queued.jobs.frames import is_ours, module_of
from queued.jobs.job import Job
from queued.jobs.registry import registered
from queued.jobs.text import error_text, nearest, one_line


def load(imports: Sequence[str], folder: Path) -> list[str]:
    """Import modules, and packages with all their modules; then prepare every job's codec.

    :param imports: names of modules and packages; ``module:function``: that module alone, which
        must have such a function.
    :param folder: where queue.yaml is: it comes first on ``sys.path``.
    :returns: warnings, one line each.
    :raises ImportFailed: one line for each that failed, which names the user's own file and line.
    """
    folder = folder.resolve()
    before = registered()
    _put_first(str(folder))
    failures: list[str] = []
    warnings: list[str] = []
    functions = [name for name in imports if ":" in name]
    imports = [name for name in dict.fromkeys(imports) if name not in functions]
    for name in imports:
        _load_tree(name, folder, failures, warnings)
    for name in functions:
        _load_function(name, folder, failures, warnings)
    theirs = [cls for cls in registered().values() if _is_in(cls.__module__, imports)]
    brought = [cls for name, cls in registered().items() if name not in before]
    failures += _unusable({*theirs, *brought}, folder)
    if failures:
        raise ImportFailed("\n".join(failures))
    if imports and not theirs:
        warnings.append(f"no Job class is defined in {', '.join(imports)}")
    return warnings


def function(name: str) -> Callable[[], object]:
    """Return the function that ``module:function`` names; imports its module.

    :raises ImportFailed: the module has no such function.
    """
    module_name, _, attribute = name.partition(":")
    module = importlib.import_module(module_name)
    found: Callable[[], object] | None = getattr(module, attribute, None)
    if not callable(found):
        hint = nearest(attribute, [name for name, value in vars(module).items() if callable(value)])
        raise ImportFailed(f'{module_name} has no function "{attribute}"{hint}')
    return found


def _is_in(module: str, names: Iterable[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _put_first(folder: str) -> None:
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
    importlib.invalidate_caches()


def _load_tree(name: str, folder: Path, failures: list[str], warnings: list[str]) -> None:
    """Import a module and, if it is a package, everything in it."""
    if not all(part.isidentifier() for part in name.split(".")):
        hint = name.removesuffix(".py").strip("./").replace("/", ".")
        hint = f'; write "{hint}"' if hint and hint != name else ""
        failures.append(f'"{one_line(name)}" is no name of a module, such as app.jobs{hint}')
        return
    module = _load(name, folder, failures, warnings)
    for path in getattr(module, "__path__", ()):
        for found in pkgutil.iter_modules([path], f"{name}."):
            if not found.name.endswith(".__main__"):
                _load_tree(found.name, folder, failures, warnings)


def _load_function(name: str, folder: Path, failures: list[str], warnings: list[str]) -> None:
    if _load(name.partition(":")[0], folder, failures, warnings) is None:
        return
    try:
        function(name)
    except ImportFailed as error:
        failures.append(str(error))


def _load(name: str, folder: Path, failures: list[str], warnings: list[str]) -> ModuleType | None:
    threads = set(threading.enumerate())
    try:
        module = importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a module must not end the daemon
        failures.append(_failure(name, error, folder))
        return None
    started = [thread.name for thread in threading.enumerate() if thread not in threads]
    if started:
        warnings.append(
            f"{name} starts threads when it is imported ({one_line(', '.join(started), 200)}):"
            " workers are forked after that and will not have them; start them when first used"
        )
    return module


def _failure(name: str, error: BaseException, folder: Path) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and (name == missing or name.startswith(f"{missing}.")):
        searched = f"{folder} and sys.path were searched"
        return f'no module "{missing}"{_similar(missing, folder)} ({searched})'
    said = error_text(error)
    if isinstance(error, SystemExit):
        said = f"the module ends the program when it is imported: SystemExit({error.code!r})"
    elif isinstance(error, SyntaxError) and error.filename:  # its text repeats the place
        said = one_line(f"{type(error).__name__}: {error.msg}")
    where = _place(name, error, folder)
    return f"{where or name}: {said}" + (f" (imported as {name})" if where else "")


def _place(name: str, error: BaseException, folder: Path) -> str | None:
    """Return ``app/jobs.py:12``: the innermost line of the user's that the error came through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_relative(error.filename, folder)}:{error.lineno or 1}"
    package = name.partition(".")[0]
    users = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if module_of(frame).partition(".")[0] == package or _is_users(frame, folder)
    ]
    return f"{_relative(users[-1][0], folder)}:{users[-1][1]}" if users else None


def _is_users(frame: FrameType, folder: Path) -> bool:
    path = Path(frame.f_code.co_filename)  # or such as <frozen importlib._bootstrap>
    if is_ours(frame) or not path.is_relative_to(folder):
        return False
    # a virtual environment may stand in the user's folder
    return not any(path.is_relative_to(library) for library in _libraries())


def _libraries() -> list[str]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [path for path in paths if path]


def _relative(file: str, folder: Path) -> str:
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file


def _similar(missing: str, folder: Path) -> str:
    """Suggest a module beside the one that is missing."""
    parent, _, leaf = missing.rpartition(".")
    paths = getattr(sys.modules.get(parent), "__path__", []) if parent else [str(folder)]
    siblings = [found.name for found in pkgutil.iter_modules(list(paths))]
    hint = nearest(leaf, siblings)
    return hint.replace('"', f'"{parent}.', 1) if parent else hint


def _unusable(classes: Iterable[type[Job]], folder: Path) -> list[str]:
    """Build the codecs, once and before workers are forked, and say what cannot work."""
    failures = []
    for cls in classes:
        try:
            payload.prepare(cls)
        except JobDefinitionError as error:
            where = _defined_at(cls, folder) or cls.__module__
            failures.append(f"{where}: {one_line(str(error))}")
    return sorted(failures)


def _defined_at(cls: type, folder: Path) -> str | None:
    try:
        return f"{_relative(inspect.getfile(cls), folder)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return None
