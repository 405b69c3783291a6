"""When a worker ends, and why."""

import pytest

from queued.daemon.worker.lifecycle import HAND_BACK_TIME, NEVER, PATIENCE, Lifecycle, Phase


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def entered():
    return []


@pytest.fixture
def life(clock, entered):
    return Lifecycle(30.0, entered.append, clock)


def test_it_begins_serving_and_never_ends_by_itself(life):
    assert life.phase is Phase.SERVING
    life.tick(1e9)
    assert life.phase is Phase.SERVING
    assert not life.ending


def test_phases_only_move_forward_and_each_is_entered_once(life, entered):
    life.hand_back("orphaned")
    life.quiet()
    life.leave("max_jobs")
    life.hand_back("drained")
    assert entered == [Phase.HANDING_BACK]


def test_quiet_does_not_end_it(life, entered):
    life.quiet()
    assert not life.ending
    assert entered == [Phase.QUIET]


def test_the_first_reason_stays(life):
    life.leave("max_jobs")
    life.terminate()
    life.quit()
    assert life.reason == "max_jobs"


def test_leaving_by_itself_takes_as_long_as_it_takes(life):
    life.leave("max_jobs")
    life.tick(1e9)
    assert life.phase is Phase.LEAVING


def test_terminated_it_has_its_grace_and_hands_back_after(life, clock):
    life.terminate()
    life.tick(clock.now + 29.9)
    assert life.phase is Phase.LEAVING
    life.tick(clock.now + 30.0)
    assert life.phase is Phase.HANDING_BACK
    assert life.reason == "drained"


def test_a_signal_gives_a_grace_also_to_one_that_leaves_already(life, clock):
    life.leave("max_time")
    life.terminate()
    life.tick(clock.now + 30.0)
    assert life.phase is Phase.HANDING_BACK


def test_the_second_sigterm_hands_back_at_once(life):
    life.terminate()
    life.terminate()
    assert life.phase is Phase.HANDING_BACK


def test_handing_back_has_an_end(life, clock):
    assert life.abandon_at == life.give_up_at == NEVER
    life.quit()
    assert life.abandon_at == clock.now + PATIENCE
    assert life.give_up_at == clock.now + HAND_BACK_TIME
    clock.now += 2
    life.quit()
    assert life.give_up_at == 100.0 + HAND_BACK_TIME


def test_it_knows_whether_it_was_told(life):
    life.leave("max_jobs")
    assert not life.told
    life.quit()
    assert life.told
