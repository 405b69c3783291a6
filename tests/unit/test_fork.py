"""Fresh processes: what they have, what they have not, and that they end with their parent.

Each test forks a parent of its own, since a parent must die, or reap, or be a subreaper.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from queued.daemon.master import signals
from queued.daemon.master.fork import INTERNAL_ERROR, become_subreaper, fork, fork_for
from tests.process.harness import is_alive, until


def in_a_process(main: Callable[[], bool]) -> None:
    """Run a test in a process of its own; it fails if ``main`` is not true."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if main() else 1
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_exit_code_is_mains():
    assert exit_code(fork(lambda: 7)) == 7


FAILS = """
import os
from queued.daemon.master.fork import fork
def fail(): raise ValueError("oh")
print("the parent saw", os.waitstatus_to_exitcode(os.waitpid(fork(fail), 0)[1]))
"""


def test_an_exception_ends_the_child_only():
    run = subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True, check=True)
    assert run.stdout == f"the parent saw {INTERNAL_ERROR}\n"
    assert "ValueError: oh" in run.stderr


def test_sys_exit_is_an_exit():
    def leave(code: object) -> int:
        raise SystemExit(code)

    assert exit_code(fork(lambda: leave(3))) == 3
    assert exit_code(fork(lambda: leave(None))) == 0
    assert exit_code(fork(lambda: leave("why"))) == 1


def test_only_what_is_kept_stays_open():
    kept, other = os.memfd_create("kept"), os.memfd_create("other")

    def look() -> int:
        os.fstat(kept)
        try:
            os.fstat(other)
        except OSError:
            return 0
        return 1

    assert exit_code(fork(look, keep=[kept])) == 0
    os.close(kept)
    os.close(other)


def test_it_leads_a_group_of_its_own_and_reads_nothing():
    assert exit_code(fork(lambda: os.getpgid(0) != os.getpid())) == 0
    assert exit_code(fork(lambda: len(os.read(0, 1)))) == 0


def test_signals_are_as_in_a_fresh_process():
    """The parent's handlers write to a pipe that the child shares."""
    pipe = signals.SignalPipe()
    try:
        pid = fork(lambda: signal.pause() or 0)
        os.kill(pid, signal.SIGTERM)
        assert exit_code(pid) == -signal.SIGTERM
        assert [n for n in pipe.receive() if n != signal.SIGCHLD] == []
        assert exit_code(fork(lambda: len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))) == 0
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: signal.SIGHUP in pipe.receive(), "the parent's own signal")
    finally:
        pipe.close()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_it_ends_with_its_parent():
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        child = fork(lambda: time.sleep(60) or 0, keep=[write])
        os.write(write, b"%d" % child)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    os.waitpid(parent, 0)
    child = int(os.read(read, 32))
    os.close(read)
    until(lambda: not is_alive(child), "the child to end", seconds=10)


def test_a_child_that_the_users_code_ends_at_the_fork_is_told():
    def parent() -> bool:
        os.register_at_fork(after_in_child=lambda: os._exit(3))
        try:
            fork_for(os.getpid(), lambda: 0)
        except ChildProcessError as error:
            return "ended at once" in str(error)
        return False

    in_a_process(parent)


def test_a_child_of_the_grandparent():
    """Forked in one process, it is the child of the one above, and outlives the one between."""

    def master() -> bool:
        assert become_subreaper()
        me = os.getpid()
        read, write = os.pipe()

        def template() -> int:
            pid = fork_for(me, lambda: 5 if os.getppid() == me else 6)
            os.write(write, b"%d" % pid)
            return 0

        between = fork(template, keep=[write])
        os.close(write)
        worker = int(os.read(read, 32))
        return {exit_code(between), exit_code(worker)} == {0, 5}

    in_a_process(master)


def test_what_is_the_templates_business_is_closed():
    ours, theirs = socket.socketpair()

    def master() -> bool:
        become_subreaper()
        me = os.getpid()

        def look() -> int:
            try:
                os.fstat(theirs.fileno())
            except OSError:
                os.fstat(ours.fileno())
                return 0
            return 1

        pid = fork_for(me, look, close=[theirs.fileno()])
        return exit_code(pid) == 0

    in_a_process(master)
    ours.close()
    theirs.close()


def test_nobody_is_born_to_a_parent_that_is_gone():
    """The parent that was named is not above: the child does not run at all."""
    read, write = os.pipe()

    def master() -> bool:
        become_subreaper()
        nobody = os.fork()
        if nobody == 0:
            os._exit(0)
        os.waitpid(nobody, 0)
        from queued.daemon.master import fork as module

        module.ADOPTION_TIMEOUT = 0.1
        pid = fork_for(nobody, lambda: os.write(write, b"ran"))
        return exit_code(pid) == 0

    in_a_process(master)
    os.close(write)
    assert os.read(read, 8) == b""
    os.close(read)
