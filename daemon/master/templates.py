"""The generations of the user's code: the template in service, and the one that may follow it.

A restart *proposes* a new template. When its imports have worked, workers of the pools that are
rolled over are forked from it; when all of them run it is *accepted*, else *rejected*, and the old
one has never been away. A template that dies is made anew; the workers live on.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable

import structlog

from queued.daemon.channel import Frame
from queued.daemon.master.deaths import Exit
from queued.daemon.master.restart import RestartPolicy
from queued.daemon.master.template import InPlace, Template
from queued.daemon.master.template_process import Code, Programs

log = structlog.get_logger()

Factory = Callable[..., Template | InPlace]

BREATHER = 1.0
"""Seconds until the next try, when the system has no process or descriptor to spare."""


class Templates:
    """At most two templates that count, and those that are still ending.

    :param subreaper: False: there is none, and workers import for themselves.
    :param hear: called with a template and each frame of it.
    :param died: called with a template that ended without being told to, and how.
    """

    def __init__(
        self,
        programs: Programs,
        selector: selectors.BaseSelector,
        hear: Callable[[Template | InPlace, Frame], None],
        died: Callable[[Template | InPlace, Exit], None],
        *,
        subreaper: bool,
    ) -> None:
        self.current: Template | InPlace | None = None
        self.candidate: Template | InPlace | None = None
        self._programs = programs
        self._selector = selector
        self._hear = hear
        self._died = died
        self._factory: Factory = Template if subreaper else InPlace
        self._ending: list[Template | InPlace] = []
        self._generations = 0
        self._in_service = 0
        """The generation of ``current``, also of one that takes its place."""
        self._again_at = 0.0
        self._policy = RestartPolicy(gives_up=False)
        self._code: Code | None = None
        """What is in service; None: nothing should be."""

    @property
    def _all(self) -> list[Template | InPlace]:
        known = [self.current, self.candidate, *self._ending]
        return [template for template in known if template is not None]

    @property
    def pids(self) -> set[int]:
        return {template.pid for template in self._all if template.pid is not None}

    @property
    def pending(self) -> bool:
        """Whether a fork is under way whose pid is not known yet."""
        return any(template.pending for template in self._all)

    def for_code(self, generation: int) -> Template | InPlace | None:
        """Return the template to fork workers of a generation from; None: it is not ready."""
        candidate = self.candidate
        if candidate is not None and candidate.generation == generation:
            return candidate if candidate.ready else None
        return self.current if self.current is not None and self.current.ready else None

    @property
    def newest(self) -> int:
        """The newest generation that there is: what a pool that is new starts with."""
        return self._in_service if self.candidate is None else self.candidate.generation

    # generations

    def open(self, code: Code, now: float) -> None:
        """Start the first template."""
        self._code = code
        self._generations = self._in_service = 1
        self._renew(now)

    def propose(self, code: Code, now: float) -> int:
        """Start the template of a new generation; return its number.

        :raises OSError: there is no process to be had.
        """
        assert self.candidate is None
        self.candidate = self._make(code, self._generations + 1, now)
        self._generations += 1
        return self._generations

    def accept(self) -> None:
        """Put the candidate in service."""
        assert self.candidate is not None
        if self.current is not None:
            self._end(self.current)
        self.current, self.candidate = self.candidate, None
        self._code = self.current.code
        self._in_service = self.current.generation
        self._policy.reset()

    def reject(self) -> None:
        """End the candidate."""
        if self.candidate is not None:
            self._end(self.candidate)
            self.candidate = None

    def close(self) -> None:
        """End all of them, at once; children whose pid is not known are lost sight of."""
        self._code = None
        self.reject()
        if self.current is not None:
            self._end(self.current)
            self.current = None

    # the loop

    def tick(self, now: float) -> None:
        for template in self._all:
            if isinstance(template, InPlace):
                self._read(template)
                continue
            template.flush()
            if hung := template.hangs(now):
                template.hung = hung
                log.error("template.hangs", pid=template.pid, error=hung)
                template.kill()
        if self.current is None and self._code is not None and now >= self._again_at:
            self._renew(now)

    def _renew(self, now: float) -> None:
        assert self._code is not None
        try:
            self.current = self._make(self._code, self._in_service, now)
        except OSError as error:
            self._again_at = now + BREATHER
            hint = f"tried again in {BREATHER:g} s"
            log.error("template.not_forked", error=str(error), next=hint)  # noqa: TRY400

    def exited(self, exit_: Exit, now: float) -> bool:
        """Take note of a process that has ended; return whether it was a template."""
        template = next((one for one in self._all if one.pid == exit_.pid), None)
        if template is None:
            return False
        self._read(template)
        template.pid = None
        wanted = template not in self._ending
        self._forget(template)
        if not wanted:
            return True
        if template is self.candidate:
            self.candidate = None
        else:
            self.current = None
            succession = self._policy.died(lived=now - template.started, settled=0, began=1)
            self._again_at = now + succession.delay
        self._died(template, exit_)
        return True

    def _make(self, code: Code, generation: int, now: float) -> Template | InPlace:
        template = self._factory(code, generation, self._programs, now=now)
        log.debug("template.started", pid=template.pid, generation=generation)
        if isinstance(template, Template):
            self._selector.register(template, selectors.EVENT_READ, lambda _: self._read(template))
        return template

    def _read(self, template: Template | InPlace) -> None:
        for frame in template.receive():
            self._hear(template, frame)

    def _end(self, template: Template | InPlace) -> None:
        template.kill()
        self._ending.append(template)
        if template.pid is None:
            self._forget(template)

    def _forget(self, template: Template | InPlace) -> None:
        if template in self._ending:
            self._ending.remove(template)
        if isinstance(template, Template):
            self._selector.unregister(template)
        template.close()
