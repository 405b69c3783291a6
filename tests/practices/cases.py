"""For every part of the guide's Python: what it takes for granted, how it is run, what comes of it.

A new part of the guide, or a practice that queued serves better now, is a new row here.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from tests.practices.blocks import Part

IMPORTS = {
    "from core.queue.queue_manager import queue": "from queued import queue",
    "from core.queue.queue_manager import dispatch": "from queued import dispatch",
    "from core.job import Job": "from queued import Job",
}
"""All that is changed in the guide's code."""
HEAD = """\
import asyncio
import logging
import sys
import time
from pathlib import Path

from queued import Job, dispatch, queue

logger = logging.getLogger(__name__)
QUEUED = Path(sys.executable).with_name("queued")
"""
SEND_EMAIL_JOB = """
class SendEmailJob(Job):
    async def handle(self):
        await send_email(self.to, self.subject, self.body)

    async def failed(self, exception):
        logger.error("%s: %s", self.to, exception)
"""
NOTIFICATION_JOB = """
class SendNotificationJob(Job):
    async def handle(self):
        await send_notification(self.user_id)

    async def failed(self, exception):
        logger.error("%s: %s", self.user_id, exception)

user_ids = [1, 2, 3]
"""


def other_job(name: str) -> str:
    return f"""
class {name}(Job):
    async def handle(self):
        await done("{name}")

    async def failed(self, exception):
        logger.error("%s", exception)
"""


@dataclass(frozen=True)
class Case:
    """How one part is tried."""

    takes: str = ""
    """Names that the part uses and ``world`` gives."""
    before: str = ""
    """Code that stands before it."""
    after: str = ""
    inside: str | None = None
    """The function that the part is the body of: it has an await outside of any."""
    run: str = ""
    """What a program does with it; jobs are then run by a daemon."""
    calls: tuple[tuple[object, ...], ...] = ()
    """What is called in the end."""
    logged: tuple[str, ...] = ()
    """What stands in the daemon's log, as patterns."""
    rules: frozenset[str] = frozenset()
    """What ``queued check`` finds. A good part has none, but for a failed() that it leaves out."""

    def module(self, part: Part) -> str:
        """Return the part as a module."""
        text = part.text
        for old, new in IMPORTS.items():
            text = text.replace(old, new)
        if self.inside:
            text = f"async def {self.inside}():\n{textwrap.indent(text, '    ')}"
        takes = f"from app.world import {self.takes}\n" if self.takes else ""
        return f"{HEAD}{takes}{self.before}\n{text}\n{self.after}"


def job(name: str, **fields: object) -> str:
    """Return a program that dispatches one job, as the guide does."""
    lines = [f"job = {name}()", *(f"job.{field} = {value!r}" for field, value in fields.items())]
    return "\n".join([*lines, "await dispatch(job)"])


def found(*rules: str) -> frozenset[str]:
    return frozenset(rules)


CASES = {
    "1-good": Case(
        takes="send_email",
        run=job("SendWelcomeEmailJob", user_id=7),
        calls=(("send_email", 7, "welcome"),),
    ),
    "1-bad": Case(
        takes="send_email, create_profile, setup_billing, send_sms", rules=found("unfocused")
    ),
    "2-good": Case(
        takes="db",
        run=2 * (job("UpdateUserScoreJob", user_id=1, new_score=30) + "\n"),
        calls=(("execute", 30, 1), ("execute", 30, 1)),
    ),
    "2-bad": Case(takes="db", rules=found("not-idempotent")),
    "3": Case(),
    "4-good": Case(),
    "4-bad": Case(rules=found("vague-name")),
    "5": Case(),
    "6": Case(),
    "7-good": Case(
        takes="fetch_order, process_order",
        run=job("ProcessOrderJob", order_id=5),
        calls=(("fetch_order", 5), ("process_order", {"total": 3})),
    ),
    "7-bad": Case(takes="process_order", rules=found("large-payload")),
    "8-bad": Case(rules=found("secret-field")),
    "8-good": Case(
        takes="get_user_credentials, get_api_token",
        run=job("GoodJob", user_id=9),
        calls=(("get_user_credentials", 9), ("get_api_token",)),
    ),
    "9": Case(
        takes="send_email",
        before=SEND_EMAIL_JOB,
        run="""
for wrong in (("nobody", "s", "b"), ("a@b.c", "", "b"), ("a@b.c", "s", "b" * 10_001)):
    try:
        dispatch_email_job(*wrong)
    except ValueError:
        continue
    raise AssertionError(wrong)
await dispatch(dispatch_email_job("a@b.c", "Hello", "Text"))
""",
        calls=(("send_email", "a@b.c", "Hello", "Text"),),
    ),
    "10": Case(
        takes="cleanup_resources, send_admin_alert, update_status",
        after="""
class ImportFileJob(MyJob):
    max_tries = 2

    async def handle(self):
        raise ValueError("no such file")
""",
        run=job("ImportFileJob", resource_id=3, task_id=4),
        calls=(
            ("cleanup_resources", 3),
            ("send_admin_alert", "Job ImportFileJob failed"),
            ("update_status", 4, "failed"),
        ),
        logged=("Job failed permanently: no such file",),
    ),
    "11": Case(),
    "12": Case(
        takes="do_work",
        run=job("MyJob", data={"rows": 42}),
        calls=(("do_work",),),
        logged=(r"Processing job [\w-]{20,} \(attempt 1\)", "Job completed: 42 rows"),
    ),
    "13": Case(
        takes="send_alert",
        before=other_job("CountedJob"),
        inside="watch",
        run="""
await watch()
await queue.bulk([CountedJob() for _ in range(1001)], queue="default", delay=3600)
await watch()
""",
        calls=(("send_alert", "High queue backlog detected"),),
    ),
    "14": Case(
        takes="do_work",
        run=job("MyJob"),
        calls=(("do_work",),),
        logged=(r"Job completed in 0\.\d\ds",),
    ),
    "15": Case(
        takes="send_alert",
        before="""
from datetime import datetime, timedelta
from sqlalchemy import func, select
from app.failed_jobs import Model, QueueFailedJob

class BrokenImportJob(Job):
    max_tries = 1

    async def handle(self):
        raise ValueError("broken")

    async def failed(self, exception):
        pass
""",
        run="""
await check_failure_rate()
others = (await queue.stats("default")).failed
await queue.bulk([BrokenImportJob() for _ in range(101 - others)])
while (await queue.stats("default")).failed < 101:
    await asyncio.sleep(0.05)
await check_failure_rate()
""",
        calls=(("send_alert", "High failure rate: 101 jobs failed in last hour"),),
    ),
    "16-good": Case(
        takes="send_notification",
        before=NOTIFICATION_JOB,
        inside="notify",
        run="await notify()",
        calls=(("send_notification", 1), ("send_notification", 2), ("send_notification", 3)),
    ),
    "16-bad": Case(
        takes="send_notification",
        before=NOTIFICATION_JOB,
        inside="notify",
        rules=found("dispatch-in-loop"),
    ),
    "20": Case(
        takes="done",
        before="""
async def cleanup_old_failed_jobs(days):
    command = (QUEUED, "failed", "prune", "--older-than", f"{days}d", "--yes")
    prune = await asyncio.create_subprocess_exec(*command)
    await done("pruned", days, await prune.wait())
""",
        run="""
await weekly_cleanup()
await daily_health_check()
""",
        calls=(("done", "pruned", 30, 0),),
    ),
    "a-bad": Case(rules=found("blocking-call")),
    "a-good": Case(
        takes="done",
        after=other_job("QuickJob"),
        # while it sleeps for ten seconds, its neighbours in the same worker go on
        run=job("GoodJob") + "\n" + job("QuickJob"),
        calls=(("done", "QuickJob"),),
    ),
    "b-bad": Case(
        takes="do_work, done", before=other_job("AnotherJob"), rules=found("dispatch-in-handle")
    ),
    "b-good": Case(
        takes="done",
        before=other_job("FirstJob") + other_job("SecondJob"),
        run="await handle_message(None)",
        calls=(("done", "FirstJob"), ("done", "SecondJob")),
    ),
    "c-bad": Case(rules=found("class-state")),
    "c-good": Case(
        takes="done",
        after="""
class CountingJob(GoodJob):
    async def handle(self):
        await super().handle()
        await done("counted", self.counter)
""",
        run=job("CountingJob") + "\n" + job("CountingJob"),
        calls=(("done", "counted", 1), ("done", "counted", 1)),
    ),
}
"""By ``Part.id``."""

NO_MODULE = {
    "17": "test_the_right_driver",
    "21": "test_jobs_in_isolation",
}
"""Python of the guide that is no module of an application, and the test that tries it."""


def name_of(part: Part) -> str:
    """Return the name of a part's module."""
    return "practice_" + re.sub(r"\W", "_", part.id)
