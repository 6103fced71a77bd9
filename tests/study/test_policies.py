"""Idle policies, on arrivals few enough to follow by hand."""

import pytest

from limes.study.arrivals import DAY, poisson
from limes.study.policies import Costs, Fixed, Histogram, NoKeepAlive, Outcome, Policy, Pool, replay, standard

COSTS = Costs(cold_seconds=1.0, execute_seconds=2.0, memory_mib=10.0)


def counted(outcome: Outcome) -> tuple[int, int, float]:
    return outcome.calls, outcome.cold, outcome.memory_mib_seconds


def test_without_keep_alive_every_call_starts_cold_and_nothing_is_held() -> None:
    assert counted(replay([0, 10, 20], NoKeepAlive(), COSTS)) == (3, 3, 0.0)


def test_a_call_within_the_time_finds_the_instance() -> None:
    # At 0: cold, busy to 3, kept to 13. At 10: found after 7 s, busy to 12, kept to 22, dropped. At 30: cold.
    outcome = replay([0, 10, 30], Fixed(10), COSTS, until=30)
    assert counted(outcome) == (3, 2, (7 + 10) * 10.0)
    assert outcome.cold_rate == pytest.approx(2 / 3)
    assert outcome.mean_memory_mib == pytest.approx(170 / 30)


def test_calls_at_once_need_an_instance_each() -> None:
    # Both start cold; both instances are kept, and both calls at 10 find one.
    assert counted(replay([0, 0, 10, 10], Fixed(100), COSTS, until=10)) == (4, 2, 2 * 7 * 10.0)


def test_a_busy_instance_is_not_free() -> None:
    assert replay([0, 2.9], Fixed(100), COSTS).cold == 2
    assert replay([0, 3.0], Fixed(100), COSTS).cold == 1


def test_a_pool_is_filled_again_after_each_call() -> None:
    # At 0 the one instance is taken, and a new one is there at 1; at 0.5 there is none.
    outcome = replay([0, 0.5, 5], Pool(1), COSTS, until=10)
    assert outcome.cold == 1
    # Held from 1 to 5 and, filled again at 6, to 10.
    assert outcome.memory_mib_seconds == pytest.approx((4 + 4) * 10)


def test_memory_is_counted_to_the_end_and_no_further() -> None:
    assert replay([0], Fixed(1000), COSTS, until=13).memory_mib_seconds == 100.0
    assert replay([0], Pool(2), COSTS, until=10).memory_mib_seconds == pytest.approx((9 + 10) * 10)


def test_a_histogram_learns_when_to_be_ready() -> None:
    # Every 30 minutes: it learns to hold an instance around the next call only.
    times = [index * 1800.0 for index in range(100)]
    learned = replay(times, Histogram(), COSTS)
    kept = replay(times, Fixed(3600), COSTS)
    assert learned.cold == kept.cold == 1
    assert learned.memory_mib_seconds < 0.4 * kept.memory_mib_seconds


def test_a_histogram_falls_back_where_gaps_lie_beyond_it() -> None:
    policy = Histogram(bins=10)
    assert policy.free([]).drop_after == 600.0
    assert policy.free([5000.0] * 30).prewarm_after == 0.0


def test_no_calls_cost_nothing_but_the_pool() -> None:
    assert counted(replay([], Fixed(10), COSTS, until=DAY)) == (0, 0, 0.0)
    assert replay([], NoKeepAlive(), COSTS).cold_rate == 0.0


@pytest.mark.parametrize("index", range(len(standard())))
def test_keeping_longer_never_starts_more(index: int) -> None:
    policy: Policy = standard()[index]
    times = poisson(0.02, DAY / 4, 2)
    outcome = replay(times, policy, COSTS)
    assert outcome.calls == len(times)
    assert outcome.cold <= replay(times, NoKeepAlive(), COSTS).cold
    assert outcome.memory_mib_seconds >= 0
