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


def test_a_signal_reaches_a_child_at_once_and_its_worker_never():
    said = run("""
        import asyncio
        import os
        import signal

        # Before any hook of ours, as when somebody is as quick as that.
        os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))

        from queued.daemon.worker import offspring

        def fork():
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                signal.pause()
                os._exit(0)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        async def main():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, print, "the worker ends")
            offspring.disinherit(loop, None)
            print(fork(), await asyncio.to_thread(fork))
            await asyncio.sleep(0.1)
            print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

        asyncio.run(main())
    """)
    assert said == "-15 -15\nset()\n"


def test_a_child_may_be_told_twice_that_it_is_one():
    sqlite_file._before_fork()
    sqlite_file._after_fork()
    sqlite_file._after_fork()
    assert not sqlite_file._forking.locked()
