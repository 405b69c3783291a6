"""How long a page of metrics is served before the next one is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from queued.web import exposition as module
from queued.web.exposition import Exposition


class Slow(Collector):
    """A page that takes longer to render than it takes until the next one is begun."""

    rendered = 0

    def collect(self) -> Iterator[Metric]:
        time.sleep(0.3)
        Slow.rendered += 1
        yield GaugeMetricFamily("rendered", "Renderings.", value=Slow.rendered)


async def test_a_page_is_served_while_the_next_one_is_rendered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MIN_AGE", 0.1)
    monkeypatch.setattr(module, "MAX_AGE", 0.1)
    exposition = Exposition(Slow)
    first = await exposition.page("")
    while not exposition._under_way:  # noqa: ASYNC110 - a timer sets it
        await asyncio.sleep(0.005)
    assert await exposition.page("") is first
    await asyncio.wait(exposition._under_way.values())
    assert (await exposition.page("")).at > first.at
