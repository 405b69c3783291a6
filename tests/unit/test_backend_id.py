"""The name of a back-end in the metrics."""

from __future__ import annotations

import pytest

from queued.daemon.monitor.backend_id import backend_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://u:p@host", "rediss://host:6379/0?ssl_ca_certs=x"),
        ("redis+sentinel://u:p@a,b:26379/jobs", "rediss+sentinel://b,A/jobs/0?sentinel_password=x"),
        ("redis+sentinel://a/jobs/3", "redis+sentinel://a/jobs?db=3"),
        ("redis+cluster://u:p@a,b", "redis+cluster://b:6379,a/0"),
    ],
)
def test_however_it_is_reached_it_is_the_same_on_every_host(one: str, other: str) -> None:
    assert backend_id(one, "here") == backend_id(other, "there")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis+sentinel://a/jobs", "redis+sentinel://a/others"),
        ("redis+sentinel://a/jobs", "redis+sentinel://a/jobs/1"),
        ("redis+sentinel://a/jobs", "redis+cluster://a"),
        ("redis://a", "redis://a?prefix=mine"),
    ],
)
def test_others_have_other_names(one: str, other: str) -> None:
    assert backend_id(one, "here") != backend_id(other, "here")


def test_what_only_a_host_itself_reaches_is_another_one_on_each() -> None:
    url = "redis+sentinel://localhost,127.0.0.1:26380/jobs"
    assert backend_id(url, "here") != backend_id(url, "there")
