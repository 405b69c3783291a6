"""What holds for every test: on CI nothing may skip."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# A suite that a shell started in the background, or under nohup, would hand ignored signals down.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# How long an example takes says more about the machine than about what is tested.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Keep together what shares a fixture of its module: each process would make one of its own.

    All else goes one by one to whoever is idle (``--dist loadgroup``), so that nobody is left with
    the slow ones.
    """
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        if any(found[-1].scope == "module" for found in fixtures):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skipped test a failed one where QUEUED_TEST_ALL says that everything is installed."""
    report = yield
    _be_printable(report)
    if report.skipped and os.environ.get("QUEUED_TEST_ALL") == "1":
        report.outcome = "failed"
    return report


def _be_printable(report: pytest.TestReport) -> None:
    """Let texts with lone surrogates reach the process that collects the results."""
    if isinstance(report.longrepr, str) or report.failed:
        text = str(report.longrepr)
        if text != _plain(text):
            report.longrepr = _plain(text)
    report.sections = [(name, _plain(content)) for name, content in report.sections]


def _plain(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
