"""Statistics of measured times: quantiles, bootstrap intervals, and a test for drift.

Times are skewed and have outliers, so everything here is about medians and ranks; nothing assumes a normal
distribution. Random numbers come from a seed, so that a summary made twice from the same records is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.float64]

RESAMPLES = 2_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that holds the true value with 95 % confidence."""

    value: float
    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Whether the two intervals share a value: then the runs do not show which is larger."""
        return self.low <= other.high and other.low <= self.high

    def to_json(self) -> dict[str, float]:
        """Four significant digits: more than any of these measurements has."""
        return {"value": rounded(self.value), "low": rounded(self.low), "high": rounded(self.high)}


@dataclass(frozen=True)
class Trend:
    """Whether a series over time rises or falls, beyond what chance explains."""

    slope: float
    """Theil-Sen: the median slope between any two points, in units of the values a unit of time."""
    p_value: float
    """Mann-Kendall, two-sided: how likely so monotonic a series is when there is no trend."""
    relative_change: float
    """What the slope makes of the median from the first point to the last; 0.05 is five per cent more."""

    @property
    def drifts(self) -> bool:
        """A trend that is both improbable by chance (p < 0.01) and large enough to matter (over 5 %)."""
        return self.p_value < 0.01 and abs(self.relative_change) > 0.05


def rounded(value: float) -> float:
    """The value with four significant digits."""
    return float(f"{value:.4g}")


def quantile(values: Values, q: float) -> float:
    """A quantile, linear between order statistics (Hyndman and Fan's type 7, the default of NumPy and R).

    Raises:
        ValueError: there are no values.
    """
    if len(values) == 0:
        raise ValueError("no values: a quantile needs at least one")
    return float(np.quantile(np.asarray(values, dtype=np.float64), q))


def median(values: Values) -> float:
    """The middle value."""
    return quantile(values, 0.5)


def interquartile_mean(values: Values) -> float:
    """The mean of the middle half: robust as a median, and those of parts nearly add up to that of a sum."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    cut = len(ordered) // 4
    return float(np.mean(ordered[cut : len(ordered) - cut]))


def median_interval(values: Values, clusters: Sequence[int] | None = None, *, seed: int = 0) -> Interval:
    """The median with its percentile bootstrap interval (Efron and Tibshirani, 1993, chapter 13).

    Args:
        values: the measurements.
        clusters: which visit each was taken in. Measurements taken one after the other are alike, so whole
            visits are drawn rather than single measurements. None: each measurement is drawn by itself.
        seed: of the resampling.
    """
    estimates = _resampled_medians(values, clusters, seed)
    return _interval(median(values), estimates)


def ratio_interval(
    numerator: Values,
    denominator: Values,
    numerator_clusters: Sequence[int] | None = None,
    denominator_clusters: Sequence[int] | None = None,
    *,
    seed: int = 0,
) -> Interval:
    """The ratio of two medians with its bootstrap interval; both samples are resampled."""
    above = _resampled_medians(numerator, numerator_clusters, seed)
    below = _resampled_medians(denominator, denominator_clusters, seed + 1)
    return _interval(median(numerator) / median(denominator), above / below)


def trend(times: Values, values: Values) -> Trend:
    """Test a series for drift: Mann-Kendall with the correction for ties, and the Theil-Sen slope.

    Raises:
        ValueError: fewer than four points, of which no trend can be told.
    """
    at = np.asarray(times, dtype=np.float64)
    y = np.asarray(values, dtype=np.float64)
    count = len(y)
    if count < 4 or len(at) != count:
        raise ValueError(f"a trend needs at least four points, each with its time; found {count}")
    first, second = np.triu_indices(count, k=1)
    differences = y[second] - y[first]
    statistic = float(np.sum(np.sign(differences)))
    _, ties = np.unique(y, return_counts=True)
    variance = (
        count * (count - 1) * (2 * count + 5) - float(np.sum(ties * (ties - 1) * (2 * ties + 5)))
    ) / 18
    slope = float(np.median(differences / (at[second] - at[first])))
    middle = float(np.median(y))
    change = slope * float(at[-1] - at[0]) / middle if middle else 0.0
    if variance == 0:
        return Trend(slope, 1.0, change)
    score = (statistic - math.copysign(1, statistic)) / math.sqrt(variance) if statistic else 0.0
    return Trend(slope, math.erfc(abs(score) / math.sqrt(2)), change)


def _interval(value: float, estimates: NDArray[np.float64]) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _resampled_medians(values: Values, clusters: Sequence[int] | None, seed: int) -> NDArray[np.float64]:
    data = np.asarray(values, dtype=np.float64)
    if len(data) == 0:
        raise ValueError("no values: an interval needs at least one")
    random = np.random.default_rng(seed)
    rows = _rows(data, clusters)
    drawn = random.integers(0, len(rows), size=(RESAMPLES, len(rows)))
    resampled = rows[drawn].reshape(RESAMPLES, -1)
    # Far slower with gaps, and most samples have none.
    middle = np.nanmedian if np.isnan(rows).any() else np.median
    medians: NDArray[np.float64] = middle(resampled, axis=1)
    return medians


def _rows(data: NDArray[np.float64], clusters: Sequence[int] | None) -> NDArray[np.float64]:
    """A row for each cluster, filled up with NaN; a row for each value where there are too few clusters."""
    names = sorted(set(clusters)) if clusters is not None else []
    if clusters is None or len(names) < 5:
        # Fewer than five visits say nothing about the spread between visits.
        return data.reshape(-1, 1)
    members = [data[np.asarray(clusters) == name] for name in names]
    rows = np.full((len(members), max(map(len, members))), np.nan)
    for row, values in zip(rows, members, strict=True):
        row[: len(values)] = values
    return rows
