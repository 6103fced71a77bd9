"""Generated arrivals have the properties they are named for; traces are read or refused."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from limes.errors import InvalidArgument, LimesIOError
from limes.study.arrivals import DAY, bursty, diurnal, generated, poisson, read_azure_2021


def test_poisson_gaps_are_exponential() -> None:
    times = poisson(2.0, 5000, seed=3)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    gaps = np.diff(times)
    assert scipy.stats.kstest(gaps, "expon", args=(0, 0.5)).pvalue > 0.01


def dispersion(times: list[float], window: float) -> float:
    counts = np.histogram(times, bins=np.arange(0, DAY + window, window))[0]
    return float(counts.var() / counts.mean())


def test_bursts_are_bursts_at_the_same_mean_rate() -> None:
    steady, bursts = poisson(0.1, DAY, 1), bursty(0.1, DAY, 1)
    assert len(bursts) == pytest.approx(len(steady), rel=0.25)
    assert dispersion(steady, 60) < 1.5
    assert dispersion(bursts, 60) > 10


def test_a_day_has_its_rhythm() -> None:
    counts = np.histogram(diurnal(0.5, DAY, 1), bins=24, range=(0, DAY))[0]
    assert counts.sum() == pytest.approx(0.5 * DAY, rel=0.05)
    # The rate is 1.9 times the mean at noon and a tenth of it at midnight.
    assert counts[11:13].mean() == pytest.approx(1.9 * 1800, rel=0.1)
    assert counts[[0, 23]].mean() == pytest.approx(0.1 * 1800, rel=0.25)


@pytest.mark.parametrize("pattern", ["poisson:0.1", "bursty:0.1", "diurnal:0.1"])
def test_arrivals_rise_within_the_time_and_repeat_with_the_seed(pattern: str) -> None:
    times = generated(pattern, 20_000, seed=5)
    assert times
    assert all(0 <= a <= b < 20_000 for a, b in pairwise(times))
    assert generated(pattern, 20_000, seed=5) == times
    assert generated(pattern, 20_000, seed=6) != times


@pytest.mark.parametrize(
    "pattern", ["poisson", "poisson:", "poisson:0", "poisson:-1", "poisson:x", "poisson:inf", "daily:1"]
)
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument, match=r"write NAME:RATE.*poisson, bursty, diurnal"):
        generated(pattern)


def test_a_trace_of_azure_functions_is_read(tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text("app,func,end_timestamp,duration\na,f,10.5,0.5\nb,g,12,1\na,f,11,0.25\na,f,9,1.0\n")
    # In order of arrival, from the first: the last line arrived at 8 s.
    assert read_azure_2021(trace) == {"a/f": [0.0, 2.0, 2.75], "b/g": [3.0]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must name the columns"),
        ("app,func,duration\n", "must name the columns.*found app, func, duration"),
        ("app,func,end_timestamp,duration\n", "no calls in it"),
        ("app,func,end_timestamp,duration\na,f,x,1\n", ":2: not a call"),
        ("app,func,end_timestamp,duration\na,f,1,1\na,f,nan,1\n", ":3: not a call"),
        ("app,func,end_timestamp,duration\na,f,1\n", ":2: not a call"),
    ],
)
def test_another_format_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text(text)
    with pytest.raises(InvalidArgument, match=told):
        read_azure_2021(trace)


def test_a_trace_that_is_not_there_is_an_error_of_limes(tmp_path: Path) -> None:
    with pytest.raises(LimesIOError, match="cannot read"):
        read_azure_2021(tmp_path / "missing")
