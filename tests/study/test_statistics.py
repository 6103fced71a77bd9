"""The statistics, against SciPy and against what is known beforehand."""

import numpy as np
import pytest
import scipy.stats

from limes.study.statistics import (
    Interval,
    interquartile_mean,
    median,
    median_interval,
    quantile,
    ratio_interval,
    rounded,
    trend,
)

RANDOM = np.random.default_rng(7)
SKEWED = RANDOM.lognormal(0, 0.6, 60)


@pytest.mark.parametrize("q", [0.0, 0.05, 0.5, 0.95, 0.99, 1.0])
def test_quantiles_are_those_of_scipy(q: float) -> None:
    # Hyndman and Fan's type 7 is alphap = betap = 1.
    assert quantile(SKEWED, q) == pytest.approx(float(scipy.stats.mstats.mquantiles(SKEWED, [q], 1, 1)[0]))


def test_quantiles_are_the_published_ones() -> None:
    # The example of Hyndman and Fan (1996) worked by hand: 1..10, type 7.
    assert [quantile(range(1, 11), q) for q in (0.25, 0.5, 0.75)] == [3.25, 5.5, 7.75]


def test_the_interquartile_mean_is_that_of_scipy() -> None:
    assert interquartile_mean(SKEWED) == pytest.approx(scipy.stats.trim_mean(SKEWED, 0.25))


def test_interquartile_means_of_parts_near_the_sum_of_the_whole() -> None:
    parts = RANDOM.uniform(1, 2, (200, 3))
    whole = interquartile_mean(parts.sum(axis=1))
    assert sum(interquartile_mean(parts[:, index]) for index in range(3)) == pytest.approx(whole, rel=0.03)


def test_the_bootstrap_interval_is_that_of_scipy() -> None:
    ours = median_interval(SKEWED)
    theirs = scipy.stats.bootstrap(
        (SKEWED,), np.median, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == np.median(SKEWED)
    # Two draws of resamples differ a little; the width is what they must agree about.
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * width)


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    true, held, trials = np.log(2.0), 0, 300
    for trial in range(trials):
        found = median_interval(np.random.default_rng(trial).exponential(1.0, 40), seed=trial)
        held += found.low <= true <= found.high
    assert 0.91 <= held / trials <= 0.985


def test_calls_of_one_visit_are_drawn_together() -> None:
    # Ten visits of twenty calls, alike within a visit: as wide as ten values make it, not two hundred.
    levels = np.random.default_rng(3).normal(10, 1, 10)
    values = np.repeat(levels, 20)
    visits = [visit for visit in range(10) for _ in range(20)]
    clustered = median_interval(values, visits)
    alone = median_interval(values)
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


def test_the_same_values_give_the_same_interval() -> None:
    assert median_interval(SKEWED) == median_interval(list(SKEWED))


def test_visits_of_unequal_length_are_all_used() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    found = median_interval(values, [0, 0, 1, 2, 3, 4, 4, 4])
    assert found.value == median(values)
    assert found.low <= found.value <= found.high


def test_a_ratio_of_medians_has_an_interval() -> None:
    top, bottom = np.random.default_rng(4).normal(20, 1, 100), np.random.default_rng(5).normal(10, 1, 100)
    found = ratio_interval(top, bottom)
    assert found.value == pytest.approx(2.0, rel=0.05)
    assert found.low < 2.0 < found.high


def test_one_value_is_its_own_interval() -> None:
    assert median_interval([4.2]) == Interval(4.2, 4.2, 4.2)


@pytest.mark.parametrize("call", [lambda: quantile([], 0.5), lambda: median_interval([])])
def test_no_values_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match="no values"):
        call()  # type: ignore[operator]


def test_intervals_that_share_a_value_overlap() -> None:
    assert Interval(2, 1, 3).overlaps(Interval(3, 2.5, 4))
    assert not Interval(2, 1, 3).overlaps(Interval(5, 4, 6))


@pytest.mark.parametrize("seed", range(5))
def test_the_slope_is_that_of_scipy(seed: int) -> None:
    y = np.random.default_rng(seed).normal(0, 1, 40) + 0.1 * np.arange(40)
    at = np.arange(40) * 1.5
    assert trend(at, y).slope == pytest.approx(scipy.stats.theilslopes(y, at).slope)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [8, 0])
def test_the_drift_test_is_kendalls(seed: int, digits: int) -> None:
    # With digits=0 there are ties. Mann-Kendall is Kendall's tau against time with the normal approximation;
    # ours has the continuity correction that Kendall (1975) gives, which SciPy leaves out: undo it to
    # compare.
    y = np.round(np.random.default_rng(seed).normal(0, 2, 60) + 0.03 * np.arange(60), digits)
    count = len(y)
    first, second = np.triu_indices(count, 1)
    statistic = np.sign(y[second] - y[first]).sum()
    theirs = scipy.stats.kendalltau(np.arange(count), y, method="asymptotic").pvalue
    corrected = scipy.stats.norm.isf(theirs / 2) * (abs(statistic) - 1) / abs(statistic)
    assert trend(np.arange(count), y).p_value == pytest.approx(2 * scipy.stats.norm.sf(corrected), rel=1e-6)


def test_a_leak_is_a_drift_and_noise_is_none() -> None:
    at = np.arange(30.0)
    noise = np.random.default_rng(2).normal(0, 0.5, 30)
    leak = trend(at, 100 + noise + at)
    assert leak.drifts
    assert leak.relative_change == pytest.approx(29 / 114.5, rel=0.1)
    assert not trend(at, 100 + noise).drifts
    # A trend that is certain and does not matter is no drift either.
    assert not trend(at, 1000 + 0.01 * at).drifts


def test_a_series_that_stands_still_does_not_drift() -> None:
    still = trend(range(10), [5.0] * 10)
    assert (still.p_value, still.relative_change, still.drifts) == (1.0, 0.0, False)


def test_a_trend_of_three_points_is_refused() -> None:
    with pytest.raises(ValueError, match="at least four points"):
        trend([1, 2, 3], [1, 2, 3])


def test_figures_have_four_digits() -> None:
    assert (rounded(0.00123456), rounded(123456.0)) == (0.001235, 123500.0)
