"""Specs cross a fork as JSON and come back equal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from queued.daemon.spec import LimitsSpec, LogSpec, MonitorSpec, OwnerName, QueueSpec, WorkerSpec
from queued.drivers.states import Lane


def test_a_worker_spec_comes_back_equal():
    spec = WorkerSpec(
        owner="o",
        pool="emails",
        index=2,
        generation=7,
        url="sqlite:///q.db",
        lane=Lane.SOLO,
        limits=LimitsSpec(max_tries=3, timeout=60.0, backoff=[1, 5, 10]),
        flags=LimitsSpec(max_tries=1),
        env={"A": "b"},
        log=LogSpec(level="debug"),
    )
    back = WorkerSpec.from_json(spec.to_json())
    assert back == spec
    assert back.solo
    assert back.worker == "emails/solo"


def test_a_monitor_spec_comes_back_equal():
    spec = MonitorSpec(
        install="i", boot="b", url="memory://", queues={"emails": QueueSpec(max_wait=5.0)}
    )
    assert MonitorSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("pool", ["emails", "low-priority", "a.b-c.d"])
def test_an_owner_name_is_taken_apart_again(pool):
    name = OwnerName("0123abcd", "89ef0123", pool, 12, 345)
    assert OwnerName.parse(str(name)) == name
    assert name.worker == f"{pool}/12"


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="unpack"):
        OwnerName.parse("somebody")


def test_the_name_that_people_read():
    spec = WorkerSpec(owner="", pool="emails", index=2, generation=1, url="memory://")
    assert spec.worker == "emails/2"
    assert replace(spec, lane=Lane.SOLO).worker == "emails/solo"
