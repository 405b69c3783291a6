"""What jobs fork, where a whole worker is not needed to see it."""

import subprocess
import sys
import textwrap

from queued.drivers.sql import sqlite_file


def run(code: str) -> str:
    """Return what ``code`` prints, in a process that may fork as it likes."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, timeout=60
    )
    return done.stdout.decode() + done.stderr.decode()


def test_a_process_that_a_plain_function_starts_ends_well():
    said = run("""
        import asyncio
        import multiprocessing

        from queued.daemon.worker import offspring
        from queued.daemon.worker.threads import Threads

        def handle():
            process = multiprocessing.get_context("fork").Process(target=int)
            process.start()
            process.join()
            return process.exitcode

        async def main():
            offspring.disinherit(asyncio.get_running_loop(), None)
            threads = Threads(1)
            print(await threads.call(handle))
            threads.close()

        asyncio.run(main())
    """)
    assert said == "(0, None)\n"


def test_a_child_may_be_told_twice_that_it_is_one():
    sqlite_file._before_fork()
    sqlite_file._after_fork()
    sqlite_file._after_fork()
    assert not sqlite_file._forking.locked()
