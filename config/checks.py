"""What types cannot say: settings that contradict each other, and settings that are doubtful.

Each check gets what the file itself sets (``given``) and what came of it, so that a message never
blames a line for a built-in default.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from urllib.parse import urlsplit

from queued.config.problems import KeyPath, Problem, show
from queued.config.schema import Config, QueueConfig
from queued.units import format_duration, format_size

LONG_TIMEOUT = 600.0
"""Seconds; the guide to good jobs says not to go beyond."""
SMALL_MEMORY = 64 << 20
"""Bytes; about what an idle worker with its imports holds."""
SHORT_TOKEN = 16
LEASE = 30.0
"""Seconds; what a worker that is stuck has before its jobs are taken from it."""


def contradictions(config: Config) -> Iterator[Problem]:
    """Yield the combinations that cannot work."""
    http = config.http
    if http and not http.is_loopback and http.token is None:
        message = (
            f"{show(str(http.listen))} is open to other machines: add http.token, or listen on "
            "127.0.0.1"
        )
        yield Problem(("http", "listen"), message)
    if config.webhook is not None and config.webhook.url is None:
        yield Problem(("webhook",), "url is missing: where are alerts to be posted?")
    for name, one in config.schedule.items():
        if (one.cron is None) == (one.every is None):
            both = "cron and every are two answers" if one.cron else "cron or every is missing"
            yield Problem(("schedule", name), f"{both}: when is it to run?")
        if one.every is not None and "timezone" in one.model_fields_set:
            yield Problem(("schedule", name, "timezone"), "has no effect: every has no clock")
    for path, queue in _queues(config):
        if queue.polling and queue.sleep == 0:
            message = "polling with sleep 0 would never rest; give sleep at least 100ms"
            yield Problem((*path, "polling"), message)


def warnings(config: Config, given: Config) -> Iterator[Problem]:
    """Yield what works but is probably not meant. ``given`` has no defaults merged in."""
    http = config.http
    if http and http.token is not None and len(http.token) < SHORT_TOKEN:
        yield Problem(("http", "token"), f"is shorter than {SHORT_TOKEN} characters: easy to guess")
    if config.webhook is not None and _is_in_clear(config.webhook.url):
        message = "http:// to another machine: everybody on the way can read it; use https://"
        yield Problem(("webhook",), message)
    if config.user is not None and not _exists(config.user.partition(":")[0]):
        yield Problem(("user",), "there is no such user on this machine: nothing will start")
    if config.shutdown_grace == 0:
        yield Problem(
            ("shutdown_grace",), "0: whatever runs is cut off at each stop, and run again"
        )
    for name, one in config.schedule.items():
        if one.queue not in config.queues:
            message = f"no pool here serves the queue {one.queue}: its jobs wait for another host"
            key = ("queue",) if "queue" in one.model_fields_set else ()
            yield Problem(("schedule", name, *key), message)
    if not config.imports:
        yield Problem(("imports",), "no modules: the workers will know no job")
    yield from _of_settings(("defaults",), given.defaults, given.defaults)
    for name, queue in given.queues.items():
        yield from _of_settings(("queues", name), queue, config.queues[name])


def _of_settings(path: KeyPath, given: QueueConfig, merged: QueueConfig) -> Iterator[Problem]:
    is_set = given.model_fields_set
    if "timeout" in is_set and given.timeout == 0:
        yield Problem((*path, "timeout"), "none: a job that hangs holds its slot for ever")
    elif "timeout" in is_set and given.timeout > LONG_TIMEOUT:
        long = format_duration(given.timeout)
        message = f"{long} is over 10m; smaller jobs are retried and deployed more easily"
        yield Problem((*path, "timeout"), message)
    yield from _of_effect(path, given, merged)
    if "max_wait" in is_set and given.max_wait:
        yield from _of_objective((*path, "max_wait"), given.max_wait, merged)
    if "max_memory" in is_set and given.max_memory and given.max_memory < SMALL_MEMORY:
        size = format_size(given.max_memory)
        message = f"{size} is about what an idle worker holds: it may be replaced after each job"
        yield Problem((*path, "max_memory"), message)
    if "max_time" in is_set and given.max_time and given.max_time < 1:
        yield Problem((*path, "max_time"), "is under 1s: workers are replaced all the time")


def _of_effect(path: KeyPath, given: QueueConfig, merged: QueueConfig) -> Iterator[Problem]:
    is_set = given.model_fields_set
    if "retry_after" in is_set and given.backoff is not None:
        yield Problem((*path, "retry_after"), "has no effect: backoff wins over it")
    for key in ("retry_after", "backoff"):
        if key in is_set and getattr(given, key) and merged.max_tries == 1:
            yield Problem((*path, key), "has no effect: max_tries is 1")
    if "kill_grace" in is_set and merged.timeout == 0:
        yield Problem((*path, "kill_grace"), "has no effect: there is no timeout")
    elif "kill_grace" in is_set and given.kill_grace > LEASE:
        message = (
            f"is over {format_duration(LEASE)}: under `queued work` the other jobs of a worker that"
            " hangs are run elsewhere before it ends"
        )
        yield Problem((*path, "kill_grace"), message)
    if "slow_after" in is_set and given.slow_after and 0 < merged.timeout <= given.slow_after:
        message = f"has no effect: timeout ends a run after {format_duration(merged.timeout)}"
        yield Problem((*path, "slow_after"), message)


def _of_objective(path: KeyPath, max_wait: float, merged: QueueConfig) -> Iterator[Problem]:
    if merged.processes == 0:
        yield Problem(path, "cannot be kept: processes is 0, and nothing is run")
    elif merged.polling and merged.sleep > max_wait:
        sleep = format_duration(merged.sleep)
        yield Problem(path, f"cannot be kept: polling looks for jobs every {sleep} (sleep)")
    elif merged.processes == merged.concurrency == 1 and merged.timeout > max_wait:
        longest = format_duration(merged.timeout)
        message = (
            f"one job at a time, each up to {longest} (timeout): the next one may wait as long"
        )
        yield Problem(path, message)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _is_in_clear(url: str | None) -> bool:
    parts = urlsplit(url or "")
    return parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}


def _queues(config: Config) -> Iterator[tuple[KeyPath, QueueConfig]]:
    for name, queue in config.queues.items():
        yield ("queues", name), queue
