"""A real browser without a window: what it makes of a page, and what it complains of."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.tools import required

FLAGS = (
    "--headless",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-sync",
    "--enable-logging=stderr",
    "--no-first-run",
)
PATIENCE = 100
"""Seconds that a browser may take on a loaded machine."""


@dataclass(frozen=True)
class Visit:
    dom: str
    console: list[str]
    """Errors and what the page's policy forbade, a line each."""


async def visit(url: str, profile: Path) -> Visit:
    """Load a page once; the browser is gone when this returns.

    :param profile: an empty folder for what the browser stores.
    """
    unconfined = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses one to root
    browser = await asyncio.create_subprocess_exec(
        required("chromium"),
        *FLAGS,
        *unconfined,
        f"--user-data-dir={profile}",
        "--dump-dom",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # its helpers go with it
    )
    try:
        async with asyncio.timeout(PATIENCE):
            dom, log = await browser.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(browser.pid, signal.SIGKILL)
    lines = log.decode(errors="replace").splitlines()
    return Visit(dom.decode(), [line for line in lines if ":CONSOLE" in line])
