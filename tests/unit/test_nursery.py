"""Pids that come late, and deaths that come before them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from queued.daemon.master.deaths import Exit
from queued.daemon.master.nursery import Nursery
from tests.unit.children import make_child


@pytest.fixture
def template():
    return SimpleNamespace(closed=False)


def test_an_answer_finds_its_child(template):
    nursery, child = Nursery(), make_child()
    nursery.expect(7, child, template)
    assert nursery.answered(7) is child
    assert nursery.answered(7) is None
    assert nursery.answered(8) is None


def test_a_death_before_the_pid_is_matched_when_it_is_told(template):
    nursery, child = Nursery(), make_child()
    nursery.expect(7, child, template)
    nursery.found_dead(Exit(4711, 9, 0))
    assert list(nursery.born_dead([child])) == []
    child.pid = 4711
    nursery.answered(7)
    assert list(nursery.born_dead([child])) == [(child, Exit(4711, 9, 0))]
    assert list(nursery.born_dead([child])) == []


def test_strays_are_forgotten_when_nobody_is_expected(template):
    nursery, child = Nursery(), make_child()
    nursery.expect(7, child, template)
    nursery.found_dead(Exit(4711, 9, 0))
    nursery.answered(7)
    list(nursery.born_dead([]))
    child.pid = 4711  # the number may be somebody else's by now
    assert list(nursery.born_dead([child])) == []
    nursery.found_dead(Exit(4711, 9, 0))
    assert list(nursery.born_dead([child])) == []


def test_children_of_a_template_that_is_gone_are_given_up(template):
    nursery, child = Nursery(), make_child()
    nursery.expect(7, child, template)
    assert list(nursery.abandoned()) == []
    template.closed = True
    assert list(nursery.abandoned()) == [child]
    assert list(nursery.abandoned()) == []
