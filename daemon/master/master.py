"""The master: one thread, one selector loop, and nothing in it that waits.

It reads queue.yaml, binds the HTTP listener, forks the template and the monitor, has the template
fork the workers, and keeps it all as it should be. It has no connection to the back-end, serves no
HTTP and runs none of the user's code, so nothing that a job, an import or a network does can stop
it. What takes time is a state with a deadline, looked at in every turn of the loop.
"""

from __future__ import annotations

import faulthandler
import os
import secrets
import selectors
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

import structlog

from queued.config.load import LoadedConfig, load
from queued.daemon import logs, titles
from queued.daemon.master import privileges, strays
from queued.daemon.master.autoscaler import Autoscaler
from queued.daemon.master.changes import Changes
from queued.daemon.master.child import MONITOR_GRACE, Child, Stop, drain, hand_back, kill
from queued.daemon.master.commands import Commands
from queued.daemon.master.control import ControlServer
from queued.daemon.master.deaths import Ending, Exit
from queued.daemon.master.fork import become_subreaper
from queued.daemon.master.listen import address, listen
from queued.daemon.master.notify import Notifier
from queued.daemon.master.plan import Plan, plan
from queued.daemon.master.report import one_line
from queued.daemon.master.resources import open_standard_descriptors
from queued.daemon.master.runtime import Runtime, provide
from queued.daemon.master.signals import SignalPipe, has_terminal
from queued.daemon.master.summary import announce
from queued.daemon.master.template import InPlace, Template
from queued.daemon.master.template_process import Programs
from queued.daemon.master.workforce import Workforce
from queued.daemon.programs import Installed
from queued.errors import ConfigError, ImportFailed

log = structlog.get_logger()

TURN = 0.1
"""Seconds that the loop sleeps at most; whatever happens wakes it at once."""
BURIAL_TIME = 3.0
"""Seconds that the monitor gets to settle what dead workers held, when the daemon ends."""
STOP_MARGIN = 15.0
"""Seconds beyond the grace that an end may take, for the service manager's patience."""
HOW = (
    "running jobs may finish within shutdown_grace; a second signal hands them back",
    "running jobs are handed back; a third signal kills",
    "everything is killed",
)


def run(
    loaded: LoadedConfig,
    *,
    programs: Programs | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Run the daemon in this process until it is told to stop; return the exit code.

    :param programs: what children run; queued's own, if not said.
    :raises AlreadyRunning: another master serves the same file.
    :raises ImportFailed: the user's code cannot be imported; the message names the line.
    :raises QueuedError: the HTTP address cannot be bound, or there is no folder for the socket.
    """
    open_standard_descriptors()
    faulthandler.enable(2)  # should the loop hang, the service manager's SIGABRT tells where
    titles.show(f"master {loaded.path}")
    user = privileges.identity(loaded.config.user)
    runtime, install = _occupy(loaded, user, os.environ if environ is None else environ)
    try:
        asked = plan(loaded, install, secrets.token_hex(4), str(runtime.episodes_path))
        logs.configure(asked.log)
        listener = listen(asked.http) if asked.http else None
        privileges.become(user)
        privileges.check_access(loaded, user)
        master = Master(loaded, asked, listener, runtime, programs or Installed())
        try:
            return master.run()
        except ImportFailed:
            raise
        except Exception:
            log.exception("master.broken")
            raise
        finally:
            master.close()
    finally:
        runtime.release()


def _occupy(
    loaded: LoadedConfig, user: privileges.Identity | None, environ: Mapping[str, str]
) -> tuple[Runtime, str]:
    """Take the lock; return the runtime files, which are those of who the daemon will be."""
    if user is not None:
        provide(user, environ)
        environ = user.environ(environ)
    with privileges.acting_as(user):
        runtime = Runtime.for_daemon(loaded.path, environ, user.name if user else None)
        runtime.acquire()
        return runtime, runtime.install_id()


class Master:
    """One life of the daemon."""

    def __init__(
        self,
        loaded: LoadedConfig,
        asked: Plan,
        listener: socket.socket | None,
        runtime: Runtime,
        programs: Programs,
    ) -> None:
        self.loaded = loaded
        self.began = time.monotonic()
        self.up = False
        """Every pool and the monitor have come up once."""
        self.stopping = 0
        """How often it has been told to stop: drain, hand back, kill."""
        self.last_reload: dict[str, Any] | None = None
        self._boot_error = ""
        self._ended = False
        self._workers_gone: float | None = None
        self._reload_again = False
        self._notifier = Notifier()
        self._selector = selectors.DefaultSelector()
        self._on_terminal = has_terminal()
        self._signals = SignalPipe()
        self._selector.register(self._signals, selectors.EVENT_READ, lambda _: None)
        self.workforce = Workforce(
            asked, listener, programs, self._selector, subreaper=become_subreaper()
        )
        self.workforce.births.on_template = self._hear_of_template
        self.workforce.on_death = self._hear_of_death
        self._autoscaler = Autoscaler(self.workforce)
        self.changes = Changes(self.workforce, self._read, self._reloaded)
        self._commands = Commands(self)
        self._control = ControlServer(runtime.socket_path, self._selector, self._commands.table())

    def run(self) -> int:
        """Turn the loop until everything has ended."""
        now = time.monotonic()
        announce(self.loaded, self.workforce.plan, self.http)
        self.workforce.births.templates.open(self.workforce.plan.code, now)
        while not self._ended:
            self._wait()
            now = time.monotonic()
            self._receive_signals(now)
            self.workforce.reap(now)
            self.workforce.tick(now)
            self.workforce.check(now)
            self.changes.tick()
            self._autoscaler.tick(now, hold=self.changes.busy or self.stopping > 0)
            self._control.tick(now)
            self.workforce.publish(now)
            self._come_up()
            self._go_down(now)
            self._notifier.watchdog(now)
            logs.sum_up()
        logs.sum_up(at_once=True)
        if self._boot_error:
            raise ImportFailed(self._boot_error)
        log.info("master.stopped", uptime=f"{time.monotonic() - self.began:.1f} s")
        return 0

    def close(self) -> None:
        """Leave nothing behind: no process, no socket, no handler."""
        self.workforce.end_all()
        strays.end()
        self._commands.stopped()
        self._control.close()
        self._signals.close()
        self._selector.close()
        if self.workforce.births.listener is not None:
            self.workforce.births.listener.close()

    @property
    def http(self) -> str | None:
        """Where HTTP is served: ``host:port`` as bound."""
        listener = self.workforce.births.listener
        return address(listener) if listener is not None else None

    # the loop's steps

    def _wait(self) -> None:
        """Sleep until something happens, and hear what children, templates and clients say."""
        for key, events in self._selector.select(TURN):
            key.data(events)

    def _receive_signals(self, now: float) -> None:
        for number in self._signals.receive():
            match number:
                case signal.SIGTERM | signal.SIGINT:
                    self.stop(now)
                case signal.SIGQUIT:
                    self.stop(now, at_least=2)
                case signal.SIGHUP if self._on_terminal and not has_terminal():
                    self.stop(now)  # somebody closed the window
                case signal.SIGHUP:
                    self._reload_again = True
                case signal.SIGTSTP:
                    self.quiet()
        if self._reload_again and not self.changes.busy and not self.stopping:
            self._reload_again = False
            self.reload()

    def _come_up(self) -> None:
        """Say that the daemon is ready when everything has come up, well or not."""
        if self.up:
            self._notifier.status(one_line(self.workforce.pools.values()))
        elif not self.stopping and self.workforce.has_come_up:
            self.up = True
            self._notifier.ready()
            log.info("daemon.ready", took=f"{time.monotonic() - self.began:.2f} s")

    def _go_down(self, now: float) -> None:
        """Take the next step of the end: the workers, then what they held, then the monitor."""
        force = self.workforce
        if not self.stopping or force.has_workers:
            return
        if self._workers_gone is None:
            self._workers_gone = now
            force.births.templates.close()
        waited = now - self._workers_gone > BURIAL_TIME
        told = not force.briefing.graves or not force.monitors.running
        if told or waited or self.stopping > 2 or self._boot_error:  # noqa: PLR2004
            force.monitors.end(drain(0.0 if self._boot_error else MONITOR_GRACE), now)
        if not force.monitors.living and not force.births.templates.pids:
            self._ended = True

    # what it is told

    def stop(self, now: float, *, at_least: int = 1) -> None:
        """Stop; told again it insists: jobs are handed back, then killed."""
        self.stopping = max(self.stopping + 1, at_least)
        if not self._boot_error:
            log.info("daemon.stopping", how=HOW[min(self.stopping, len(HOW)) - 1])
        self.changes.cancel("the daemon stops")
        self._notifier.stopping(self.workforce.plan.grace + STOP_MARGIN)
        self._notifier.status("stopping")
        self.workforce.end_workers(self._way_to_stop, now)
        if self.stopping > 2:  # noqa: PLR2004
            self.workforce.monitors.end(kill(), now)

    def _way_to_stop(self, child: Child) -> Stop:
        if self.stopping == 1:
            return drain(child.grace)
        return hand_back() if self.stopping == 2 else kill()  # noqa: PLR2004  first, second, third

    def quiet(self) -> None:
        """Start no more jobs; what runs goes on."""
        log.info("daemon.quiet", hint="no more jobs are started; queued restart undoes it")
        self.workforce.be_quiet()

    def reload(self) -> None:
        """Apply queue.yaml by difference, for nobody in particular."""
        self.changes.reload()

    def _read(self) -> tuple[LoadedConfig, Plan]:
        if self.up:
            self._notifier.reloading()
        flag = self.loaded.connection_source == "--connection"
        connection = self.loaded.config.connection if flag else None
        loaded = load(self.loaded.path, connection=connection)
        if loaded.config.user != self.loaded.config.user:
            raise ConfigError([f"{loaded.path}: user: a change of it needs a new start"])
        old = self.workforce.plan.monitor
        return loaded, plan(loaded, old.install, old.boot, old.episodes)

    def _reloaded(self, loaded: LoadedConfig | None, error: str) -> None:
        self.loaded = loaded or self.loaded
        self.last_reload = {"at": time.time(), "ok": not error, "error": error or None}
        if self.up:  # else it is not ready yet
            self._notifier.ready()

    # what it hears

    def _hear_of_template(self, template: Template | InPlace, error: str) -> None:
        if self.changes.imported(template.generation, error) or not error:
            return
        if template.imported:
            log.error("template.died", error=error, next="another one is made")
        elif self.up or self.stopping:
            log.error("template.failed", error=error, next="tried again")
        else:
            self._boot_error = error
            self.stop(time.monotonic(), at_least=3)

    def _hear_of_death(self, child: Child, exit_: Exit, ending: Ending) -> None:
        self.changes.died(child, exit_, ending)
