"""What the monitor is told, and that nothing is lost with a monitor."""

from __future__ import annotations

import json

import pytest

from queued.daemon.channel import encode
from queued.daemon.master import totals as totals_module
from queued.daemon.master.briefing import PUBLISH_AFTER_CHANGE, PUBLISH_EVERY, Briefing
from queued.daemon.master.child import ChildState
from queued.daemon.master.deaths import Exit, Reason, classify
from queued.daemon.master.obituary import grave_of
from queued.daemon.master.pool import Pool
from queued.daemon.master.report import snapshot_frame
from queued.daemon.master.totals import KEPT, Totals
from queued.daemon.monitor.fleet import Fleet
from queued.daemon.spec import MonitorSpec
from queued.daemon.tally import MOST_SERIES, Tally, rows
from tests.unit.children import blueprint, make_child

SPEC = MonitorSpec(install="i", boot="b", url="u")


def counts(n: int) -> bytes:
    data = {"counters": {"attempts_total": [[{"queue": "emails"}, n]]}}
    return encode({"type": "snapshot", "seq": n, "data": data})


class Bench:
    def __init__(self) -> None:
        self.workers = Pool("emails", blueprint(), 2, lambda *_: None)
        self.monitors = Pool("monitor", SPEC, 1, lambda *_: None)
        self.briefing = Briefing(self.monitors, {"emails": self.workers})

    def monitor(self):
        monitor = make_child(state=ChildState.RUNNING, made_from=SPEC)
        monitor.owner = f"monitor-{len(self.monitors.children)}"
        self.monitors.children.append(monitor)
        return monitor

    def worker(self, index: int = 1):
        worker = make_child(state=ChildState.RUNNING, index=index)
        self.workers.children.append(worker)
        return worker


@pytest.fixture
def bench():
    return Bench()


def test_the_fleet(bench):
    monitor, busy, idle = bench.monitor(), bench.worker(1), bench.worker(2)
    busy.board.begin(0, "job", "Job", 1, 100.0, 0.0, 3, 0.0)
    busy.board.beat(101.0)
    busy.rss, idle.rss = 30, 20
    bench.briefing.tell_of_fleet(103.0)
    (frame,) = monitor.their_channel.receive()
    assert frame["owners"] == {"emails": [busy.owner, idle.owner]}
    assert frame["pools"] == {
        "emails": {
            "state": "running",
            "desired": 2,
            "slots": 4,
            "workers": {"busy": 1, "idle": 1},
            "memory": 50,
            "memory_max": 30,
            "heartbeat_age": 3.0,
        }
    }
    assert (frame["config_ok"], frame["reloads"]) == (True, 0)
    assert frame["reported"] == []
    exits = frame["totals"]["emails"]["counters"]["worker_exits_total"]
    assert {row[0]["reason"]: row[1] for row in exits} == dict.fromkeys(Reason, 0)


def test_totals_are_told_once_and_again_to_a_new_monitor(bench):
    monitor, worker = bench.monitor(), bench.worker()
    bench.briefing.tell_of_fleet(100.0)
    bench.briefing.tell_of_fleet(101.0)
    bench.briefing.begin(json.loads(counts(0))["data"])
    bench.briefing.tell_of_fleet(102.0)
    told = [frame["totals"] for frame in monitor.their_channel.receive()]
    assert [sorted(totals) for totals in told] == [["", "emails"], [], ["emails"]]
    assert told[2]["emails"]["counters"]["attempts_total"] == [[{"queue": "emails"}, 0]]

    worker.snapshot = counts(1)
    new = bench.monitor()
    bench.briefing.tell_of_fleet(103.0)
    (frame,) = new.their_channel.receive()
    assert sorted(frame["totals"]) == frame["scopes"] == ["", "emails"]
    assert frame["reported"] == [worker.owner]


def test_totals_that_did_not_get_through_are_told_again(bench):
    monitor = bench.monitor()
    while not monitor.channel.pending:
        monitor.channel.send_raw(bytes(100_000))
    bench.briefing.tell_of_fleet(100.0)
    while monitor.channel.pending:
        monitor.channel.flush()
        assert not any(map(any, monitor.their_channel.receive_raw()))
    monitor.their_channel.receive_raw()
    bench.briefing.tell_of_fleet(101.0)
    (frame,) = monitor.their_channel.receive()
    assert sorted(frame["totals"]) == ["", "emails"]


def test_it_is_told_each_second_and_soon_after_a_change(bench):
    bench.briefing.tell_of_fleet(100.0)
    assert not bench.briefing.is_due(100.0 + PUBLISH_EVERY - 0.1)
    assert bench.briefing.is_due(100.0 + PUBLISH_EVERY)
    bench.briefing.changed()
    assert not bench.briefing.is_due(100.0)
    assert bench.briefing.is_due(100.0 + PUBLISH_AFTER_CHANGE)


def test_a_snapshot_is_passed_on_with_names_and_unparsed(bench):
    monitor, worker = bench.monitor(), bench.worker()
    worker.snapshot = counts(3)
    bench.briefing.relay(worker)
    (frame,) = monitor.their_channel.receive()
    assert frame == {
        "type": "snapshot",
        "child": worker.owner,
        "pool": "emails",
        "seq": 3,
        "data": json.loads(counts(3))["data"],
    }


def test_a_monitor_does_not_hear_itself_but_hears_another(bench):
    old, new = bench.monitor(), bench.monitor()
    old.snapshot = new.snapshot = counts(1)
    assert bench.briefing.listener is new
    bench.briefing.relay(new)
    bench.briefing.relay(old)
    assert [frame["child"] for frame in new.their_channel.receive()] == [old.owner]
    assert old.their_channel.receive() == []


def test_the_counts_of_the_dead_are_summed_up_in_one_step(bench):
    monitor, worker = bench.monitor(), bench.worker()
    bench.briefing.tell_of_fleet(100.0)
    worker.snapshot = counts(3)
    bench.briefing.sum_up(worker, "signal")
    _, frame = monitor.their_channel.receive()
    assert (frame["type"], frame["child"], [*frame["totals"]]) == (
        *("exited", worker.owner),
        ["emails"],
    )
    counters = frame["totals"]["emails"]["counters"]
    assert counters["attempts_total"] == [[{"queue": "emails"}, 3]]
    assert [{"pool": "emails", "reason": "signal"}, 1] in counters["worker_exits_total"]


def test_the_end_of_a_monitor_is_counted_too(bench):
    monitor, new = bench.monitor(), bench.monitor()
    bench.briefing.sum_up(monitor, "oom")
    (frame,) = new.their_channel.receive()
    exits = frame["totals"][""]["counters"]["monitor_exits_total"]
    assert {row[0]["reason"]: row[1] for row in exits if row[1]} == {"oom": 1}


def test_a_new_monitor_is_told_everything(bench):
    worker, dead = bench.worker(), bench.worker(2)
    worker.snapshot, dead.snapshot = counts(5), counts(7)
    exit_ = Exit(1, 9, 0)
    grave = grave_of(dead, exit_, classify(dead, exit_), now=101.0, at=1.0)
    bench.briefing.graves.add(grave)
    bench.briefing.tell_of_fleet(100.0)
    bench.briefing.sum_up(dead, "signal")  # nobody is there to hear
    monitor = bench.monitor()
    bench.briefing.tell_all([worker, monitor], 102.0)
    frames = {frame["type"]: frame for frame in monitor.their_channel.receive()}
    assert set(frames) == {"fleet", "gone", "snapshot"}
    assert frames["fleet"]["totals"]["emails"]["counters"]["attempts_total"] == [
        [{"queue": "emails"}, 7]
    ]
    assert frames["gone"] == grave


def test_without_a_monitor_nothing_is_told(bench):
    worker = bench.worker()
    worker.snapshot = counts(1)
    bench.briefing.relay(worker)
    bench.briefing.tell_of_fleet(100.0)


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b'{"type":"snapshot"}', b'{"data":{"counters":{"a":[7]}}}']
)
def test_a_broken_snapshot_is_left_out_of_the_totals(broken):
    totals = Totals()
    totals.keep(["emails"], 0.0)
    totals.add("emails/1", counts(2))
    before = totals.since(0)
    totals.add("emails/2", broken)
    assert totals.since(0) == before


def test_the_totals_of_a_pool_outlive_it_for_a_while():
    totals = Totals()
    totals.keep(["emails", "low"], 0.0)
    totals.add("emails/1", counts(2))
    totals.keep(["low"], 100.0)
    totals.keep(["low"], 100.0 + KEPT)
    assert totals.scopes == ["", "emails", "low"]
    totals.keep(["low", "emails"], 101.0 + KEPT)  # it is back, and counts on
    totals.add("emails/1", counts(3))
    assert json.loads(totals.since(0))["emails"]["counters"]["attempts_total"][0][1] == 5
    totals.keep(["low"], 2_000.0)
    totals.keep(["low"], 2_001.0 + KEPT)
    assert totals.scopes == ["", "low"]
    totals.add("emails/9", counts(3))
    totals.count_exit("emails", "crash")
    assert totals.scopes == ["", "low"]


def test_labels_that_a_job_makes_up_do_not_fill_the_master():
    totals = Totals()
    totals.keep(["emails"], 0.0)
    totals.add("emails/1", counts(2))
    for n in range(0, 2 * MOST_SERIES, 1_000):
        rows = [[{"queue": "emails", "x": str(n + m)}, 1] for m in range(1_000)]
        data = {"counters": {"attempts_total": rows}}
        totals.add("emails/1", encode({"type": "snapshot", "data": data}))
    totals.add("emails/1", counts(3))
    [first, *more] = json.loads(totals.since(0))["emails"]["counters"]["attempts_total"]
    assert first == [{"queue": "emails"}, 5]
    assert len(more) < MOST_SERIES


def test_totals_of_many_queues_come_in_parts(bench, monkeypatch):
    """A frame has an end: a new monitor must not be told more at once than its channel takes."""
    monkeypatch.setattr(totals_module, "PART", 500)
    monitor = bench.monitor()
    bench.briefing.totals.keep(["emails", "low", "mail"], 0.0)
    fleet = Fleet()
    now, frames = 100.0, 0
    while not fleet.complete:
        bench.briefing.tell_of_fleet(now)
        for frame in monitor.their_channel.receive():
            fleet.hear(frame)
            frames += 1
            assert len(frame["totals"]) == 1
        soon = now + PUBLISH_AFTER_CHANGE
        assert (bench.briefing.is_due(now), bench.briefing.is_due(soon)) == (False, frames < 4)
        now = soon
    assert fleet.view().counts() == _sum(bench.briefing.totals)
    bench.briefing.totals.count_exit("low", "crash")
    bench.briefing.tell_of_fleet(now)
    (frame,) = monitor.their_channel.receive()
    assert [*frame["totals"]] == ["low"]


def _sum(totals):
    tally = Tally()
    for snapshot in json.loads(totals.since(0)).values():
        for kind, name, row in rows(snapshot):
            tally.add(kind, name, *row)
    return tally.snapshot()


@pytest.mark.parametrize(
    "forged",
    [
        b'{"type":"snapshot","type":"gone","owner":"other","child":"other","data":{}}',
        b'{"type":"snapshot","type":"fleet","data":{"type":"gone"}}',
    ],
)
def test_a_job_that_writes_to_its_channel_speaks_for_its_worker_alone(bench, forged):
    worker = bench.worker()
    worker.snapshot = forged
    frame = json.loads(snapshot_frame(worker))
    assert (frame["type"], frame["child"]) == ("snapshot", worker.owner)
