"""The monitor: what needs the back-end and is not running jobs, and the daemon's HTTP.

It samples the queues, renews the leases of the workers that the master says live, buries those that
are gone, reaps lost hosts, and shows all of it. If it dies, jobs go on and the master makes another
one, which is told again of every burial that is not done.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any

import structlog

from queued.daemon import logs
from queued.daemon.channel import Channel
from queued.daemon.duty import every, for_each, insist
from queued.daemon.metrics import Metrics, Snapshot
from queued.daemon.monitor.alerts.alarm import LOOK_EVERY, Alarm
from queued.daemon.monitor.alerts.readings import Readings
from queued.daemon.monitor.backend_id import backend_id
from queued.daemon.monitor.collector import FleetCollector, Sample
from queued.daemon.monitor.fleet import Fleet
from queued.daemon.monitor.grave import Grave
from queued.daemon.monitor.janitor import REAP_EVERY, RENEW_EVERY, SAMPLE_EVERY, Janitor
from queued.daemon.monitor.overview import overview
from queued.daemon.monitor.pruner import PRUNE_EVERY, Pruner
from queued.daemon.monitor.recent import Recent
from queued.daemon.monitor.scheduler import LOOK_EVERY as TICK_EVERY
from queued.daemon.monitor.scheduler import Scheduler
from queued.daemon.monitor.unserved import LOOK_EVERY as LOOK_AROUND_EVERY
from queued.daemon.monitor.unserved import unserved
from queued.daemon.spec import MonitorSpec
from queued.drivers import driver_for
from queued.errors import DriverUnavailable
from queued.web.app import allowed_hosts, create_app
from queued.web.overview import Overview
from queued.web.server import serve

log = structlog.get_logger()

REPORT_EVERY = 1.0
CLOSING_TIME = 1.0
LAST_BURIALS = 3.0
"""Seconds that the burials it knows of get when the monitor is told to end."""


class Monitor:
    """One life of the monitor."""

    def __init__(self, spec: MonitorSpec, channel: Channel, listener: socket.socket | None) -> None:
        self._spec = spec
        self._channel = channel
        self._listener = listener
        self._metrics = Metrics()
        self._driver = driver_for(spec.url)
        self._janitor = Janitor(self._driver, self._metrics, spec.queues, lease=spec.lease)
        self._fleet = Fleet()
        self._recent = Recent(spec.note_every)
        self._rates: Mapping[str, Mapping[str, Any]] = {}
        """What each queue did lately, as the master is told."""
        self._unserved: Mapping[str, int] = {}
        """How many jobs wait, by queue, where nobody serves that."""
        backend = backend_id(spec.url, socket.gethostname())
        reach = self._janitor.reach
        self._collector = FleetCollector(self._fleet, reach, spec.queues, backend)
        self._scheduler = Scheduler(self._driver, reach, spec.schedules)
        self._collector.scheduler = self._scheduler
        self._pruner = Pruner(self._driver, reach, spec.queues)
        readings = Readings(spec.queues, self._fleet, self._recent, reach)
        self._alarm = Alarm(spec, readings, lambda: self._collector.sample)
        self._graves: dict[str, Grave] = {}
        self._to_reap: set[str] = set()
        """Owners of whose burial something is broken, which waiting does not mend."""
        self._to_bury = asyncio.Event()
        self._introduced = asyncio.Event()
        """The master has said for the first time who lives."""
        self._buried = asyncio.Event()
        """Jobs were settled: among them may be suspects, which the master must hear of at once."""
        self._stop = asyncio.Event()
        self._reports = 0
        self._reported: Snapshot = {}

    @property
    def _ours(self) -> str:
        """What the names of this master's owners begin with."""
        return f"{self._spec.install}-{self._spec.boot}-"

    @property
    def _queues(self) -> list[str]:
        return list(self._fleet.pools if self._fleet.known else self._spec.queues)

    async def run(self) -> None:
        """Do every duty until told to end, then the burials that are left."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_reader(self._channel.fileno(), self._listen)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._serve())
                duties = group.create_task(self._duties())
                await self._stop.wait()
                while not duties.done():  # a library may swallow one cancellation
                    duties.cancel()
                    await asyncio.wait({duties}, timeout=0.5)
                await self._finish()
        finally:
            loop.remove_reader(self._channel.fileno())
            await self._close()

    async def _duties(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(every(REPORT_EVERY, self._report))
            group.create_task(every(self._spec.note_every, self._note))
            group.create_task(every(LOOK_EVERY, self._alarm.look))
            if self._alarm.webhook is not None:
                group.create_task(insist(self._alarm.webhook.run))
            self._channel.send({"type": "ready"})
            await insist(self._open)
            for duty in (
                every(SAMPLE_EVERY, self._sample, wake=self._buried),
                every(RENEW_EVERY, self._renew, wake=self._introduced),
                every(RENEW_EVERY, self._bury, wake=self._to_bury),
                every(REAP_EVERY, self._reap),
                every(TICK_EVERY, self._scheduler.turn),
                every(PRUNE_EVERY, self._pruner.turn),
                every(LOOK_AROUND_EVERY, self._look_around),
                insist(self._bury_predecessors),
            ):
                group.create_task(duty)

    async def _finish(self) -> None:
        """Bury whom we know to be dead, and let the master have our last counts."""
        if self._channel.closed:
            return
        try:
            async with asyncio.timeout(LAST_BURIALS):
                if self._janitor.reach.up:
                    await self._bury()
        except (TimeoutError, DriverUnavailable):
            pass
        if self._graves:  # the next monitor is told again; else their leases run out
            log.warning("burials.left", owners=list(self._graves))
        await self._report()

    # the master

    def _listen(self) -> None:
        introduced = self._fleet.known
        for data in self._channel.receive_raw():
            try:
                frame = json.loads(data)
            except (ValueError, RecursionError) as error:  # relayed as the child wrote it
                log.warning("frame.broken", error=str(error))
                continue
            if frame["type"] == "gone":
                if frame["owner"] not in self._graves:
                    self._graves[frame["owner"]] = Grave.from_frame(frame)
                    self._to_bury.set()
            else:
                self._fleet.hear(frame)
        if self._fleet.known and not introduced:
            self._introduced.set()
        if self._channel.closed:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._stop.set()

    async def _report(self) -> None:
        """Send our own counts to the master, which keeps them should we die.

        Shown is what it has: what waits to be written would be lost with us.
        """
        logs.sum_up()
        self._channel.flush()
        if not self._channel.pending:
            self._fleet.own = self._reported
        self._reports += 1
        counts = self._metrics.snapshot()
        frame = {"type": "snapshot", "seq": self._reports, "data": counts}
        if self._channel.send(frame, droppable=True):
            self._reported = counts
            if not self._channel.pending:
                self._fleet.own = counts
        unadmitted = self._fleet.unadmitted()
        if any(unadmitted.values()):
            self._channel.send({"type": "begin", "data": unadmitted}, droppable=True)

    async def _note(self) -> None:
        """Keep the counts of this moment, and work out what each queue did lately."""
        if not self._fleet.complete:
            return
        self._recent.note(self._fleet, time.monotonic())
        self._rates = {
            queue: {name: asdict(rates) for name, rates in windows.items()}
            for queue, windows in self._recent.frame().items()
        }

    # the back-end

    async def _open(self) -> None:
        with self._janitor.reach.watch("open"):
            await self._driver.open()

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSING_TIME):
                await self._driver.close()
        except TimeoutError:
            log.warning("backend.close_timed_out")

    async def _sample(self) -> None:
        """Sample every queue, tell the master, promote and forward where there is something."""
        try:
            stats = await self._janitor.sample(self._queues)
        except DriverUnavailable:
            self._tell_sample(up=False)
            raise
        self._collector.sample = Sample(time.time(), stats)
        self._tell_sample(up=True)
        suspects = [queue for queue, one in stats.items() if one.suspects and not one.paused]
        if suspects:
            self._channel.send({"type": "suspects", "queues": suspects}, droppable=True)
        scheduled = [queue for queue, one in stats.items() if one.scheduled]
        posted = [queue for queue, one in stats.items() if one.outbox]
        promote, forward = self._janitor.promote, self._janitor.forward
        await for_each([(promote, scheduled), (forward, posted)], lambda one: one[0](one[1]))

    def _tell_sample(self, *, up: bool) -> None:
        sample = self._collector.sample
        queues = {queue: asdict(one) for queue, one in sample.queues.items()}
        frame = {
            "type": "sample",
            "at": sample.at,
            "driver_up": up,
            "driver_error": self._janitor.reach.error,
            "queues": queues,
            "recent": self._rates,
            "unserved": self._unserved,
        }
        self._channel.send(frame, droppable=True)

    async def _look_around(self) -> None:
        self._unserved = await unserved(self._driver, {*self._queues, *self._spec.queues})

    async def _renew(self) -> None:
        await self._janitor.renew(
            {
                queue: [owner for owner in owners if owner not in self._graves]
                for queue, owners in self._fleet.owners.items()
            }
        )

    async def _bury(self) -> None:
        while self._graves:
            owner, grave = next(iter(self._graves.items()))
            try:
                settled = await self._janitor.bury(
                    grave.queue, owner, grave.sentences, grave.dossier
                )
            except BaseException as error:
                self._graves[owner] = self._graves.pop(owner)  # the others' turn comes first
                if isinstance(error, Exception) and not isinstance(error, DriverUnavailable):
                    self._to_reap.add(owner)
                raise
            del self._graves[owner]
            self._to_reap.discard(owner)
            self._channel.send({"type": "settled", "owner": owner})
            if settled:
                self._buried.set()

    async def _bury_predecessors(self) -> None:
        await self._janitor.bury_predecessors(
            self._spec.queues, self._spec.install, self._spec.boot
        )

    async def _reap(self) -> None:
        living = None
        if self._fleet.known:
            to_bury = self._graves.keys() - self._to_reap
            living = {*chain.from_iterable(self._fleet.owners.values()), *to_bury}
        await self._janitor.reap(self._queues, self._ours, living)

    # HTTP

    async def _serve(self) -> None:
        if self._listener is None:
            return
        token = self._spec.http_token
        hosts = allowed_hosts(self._spec.http_listen or "", token)
        app = create_app(
            self._collector.freeze, self._unready, self._overview, token=token, hosts=hosts
        )
        await serve(app, self._listener, self._stop)

    def _overview(self) -> Overview:
        sample, reach = self._collector.sample, self._janitor.reach
        return overview(
            self._spec.url,
            self._fleet,
            sample,
            reach,
            queues=self._spec.queues,
            recent=self._rates,
            unserved=self._unserved,
        )

    def _unready(self) -> list[str]:
        return list(self._overview().unready())
