"""Who takes part, with the versions of issue 4's table."""

from __future__ import annotations

from dataclasses import dataclass

HIREDIS = "redis[hiredis]"
UVLOOP = "uvloop"


@dataclass(frozen=True, slots=True)
class System:
    """A job queue with its back-end. Its adapter, ``peers/<adapter>.py``, says what was chosen."""

    name: str
    adapter: str
    guarantee: str
    requirements: tuple[str, ...] = ()
    """What is installed into the venv of its adapter; none: it runs in this one."""
    package: str = ""
    """The distribution whose version is reported; empty: the adapter's name."""
    imports: str = ""
    """What a producer imports."""
    backend: str = "redis"
    styles: tuple[str, ...] = ()
    """Its producers: ``async``, ``sync``."""
    jobs: tuple[str, ...] = ("noop", "stamp")

    @property
    def peer(self) -> bool:
        return self.adapter != "queued"

    @property
    def distribution(self) -> str:
        return self.package or self.adapter


ASYNC = ("noop", "stamp", "sleep")
THREADS = ("noop", "stamp", "plain")
TASKIQ = ("taskiq==0.13.0", "taskiq-redis==1.2.4", HIREDIS, UVLOOP)
HUEY = ("huey==3.5.4", HIREDIS)

QUEUED = System(
    "queued", "queued", "at least once", imports="queued", styles=("async", "sync"),
    jobs=("noop", "stamp", "sleep", "plain"),
)  # fmt: skip
QUEUED_SQLITE = System(
    "queued-sqlite", "queued", "at least once", imports="queued", backend="sqlite",
    styles=("async", "sync"), jobs=("noop",),
)  # fmt: skip
PEERS = (
    System("huey", "huey", "at most once", HUEY, imports="huey", styles=("sync",), jobs=THREADS),
    System(
        "huey-sqlite", "huey", "at most once", HUEY, imports="huey", backend="sqlite",
        styles=("sync",), jobs=("noop",),
    ),
    System(
        "taskiq-streams", "taskiq", "at least once", TASKIQ, imports="taskiq_redis",
        styles=("async",), jobs=ASYNC,
    ),
    System(
        "taskiq-list", "taskiq", "at most once", TASKIQ, imports="taskiq_redis",
        styles=("async",), jobs=ASYNC,
    ),
    System(
        "saq", "saq", "sweeper", ("saq[redis,hiredis]==0.26.4", "typing_extensions", UVLOOP),
        imports="saq", styles=("async",), jobs=ASYNC,
    ),
    System(
        "dramatiq", "dramatiq", "heartbeat", ("dramatiq[redis]==2.2.1", HIREDIS),
        imports="dramatiq.brokers.redis", styles=("sync",), jobs=THREADS,
    ),
    System(
        "celery", "celery", "visibility timeout", ("celery[redis]==5.7.0", HIREDIS),
        imports="celery", styles=("sync",),
    ),
    System(
        "streaq", "streaq", "at least once", ("streaq==7.2.0", UVLOOP), imports="streaq",
        styles=("async",), jobs=ASYNC,
    ),
    System(
        "arq", "arq", "at least once", ("arq==0.28.0", UVLOOP), imports="arq",
        styles=("async",), jobs=ASYNC,
    ),
    System("rq", "rq", "", ("rq==3.0.0", HIREDIS), imports="rq", styles=("sync",)),
)  # fmt: skip
NAMES = {system.name: system for system in PEERS}
QUICK = ("huey", "taskiq-streams")
"""The peers of a quick run, unless others are named."""


def chosen(peers: tuple[str, ...]) -> list[System]:
    """Return queued and the named peers; ``taskiq`` means both of its brokers, ``huey`` too.

    :raises KeyError: no peer has that name.
    """
    found: list[System] = []
    for name in peers:
        some = [one for one in PEERS if name == one.name]
        # A peer's name stands for all of its back-ends; one of them alone has a dash in it.
        some += [one for one in PEERS if one not in some and one.adapter == name]
        if not some:
            raise KeyError(name)
        found += [one for one in some if one not in found]
    return [QUEUED, QUEUED_SQLITE, *found]
