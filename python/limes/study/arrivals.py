"""When calls come: generated (Poisson, bursty, diurnal) or read from a trace."""

from __future__ import annotations

import csv
import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from limes.errors import InvalidArgument, from_os

DAY = 86_400.0
"""Seconds."""

TRACE_COLUMNS = ("app", "func", "end_timestamp", "duration")


def poisson(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Arrivals that know nothing of each other.

    Args:
        rate: mean arrivals a second.
        seconds: how long.
        seed: of the random numbers; the same seed gives the same arrivals.

    Returns:
        Seconds from the start, rising.
    """
    return list(_until(seconds, _exponential(rate, random.Random(seed))))  # noqa: S311 (no secret)


def bursty(
    rate: float, seconds: float, seed: int = 0, *, burst: float = 20.0, quiet: float = 280.0
) -> list[float]:
    """Bursts with silence between them: an interrupted Poisson process (Kuczura, 1973).

    Args:
        rate: mean arrivals a second over all the time; within a burst it is higher.
        seconds: how long.
        seed: of the random numbers.
        burst: mean length of a burst in seconds, exponentially distributed.
        quiet: mean length of the silence between two.
    """
    draw = random.Random(seed)  # noqa: S311 (no secret)
    within = rate * (burst + quiet) / burst
    arrivals: list[float] = []
    at = draw.expovariate(1 / quiet)
    while at < seconds:
        end = min(seconds, at + draw.expovariate(1 / burst))
        arrivals += [at + offset for offset in _until(end - at, _exponential(within, draw))]
        at = end + draw.expovariate(1 / quiet)
    return arrivals


def diurnal(rate: float, seconds: float, seed: int = 0, *, swing: float = 0.9) -> list[float]:
    """A day's rhythm: Poisson arrivals whose rate follows a sine over 24 hours, lowest at the start.

    Args:
        rate: mean arrivals a second over a whole day.
        seconds: how long.
        seed: of the random numbers.
        swing: how far the rate goes up and down, as a part of the mean; at most 1.
    """
    draw = random.Random(seed)  # noqa: S311 (no secret)
    highest = rate * (1 + swing)

    def now(at: float) -> float:
        return rate * (1 - swing * math.cos(2 * math.pi * at / DAY))

    # Thinning (Lewis and Shedler, 1979): arrivals at the highest rate, each kept with the chance the moment
    # has.
    candidates = _until(seconds, _exponential(highest, draw))
    return [at for at in candidates if draw.random() < now(at) / highest]


GENERATORS: dict[str, Callable[[float, float, int], list[float]]] = {
    "poisson": poisson,
    "bursty": bursty,
    "diurnal": diurnal,
}


def generated(pattern: str, seconds: float = DAY, seed: int = 0) -> list[float]:
    """Arrivals from a pattern such as ``poisson:0.02`` (arrivals a second).

    Raises:
        InvalidArgument: there is no such pattern.
    """
    name, _, rate_text = pattern.partition(":")
    try:
        rate = float(rate_text or "nan")
    except ValueError:
        rate = math.nan
    if name not in GENERATORS or not rate > 0 or math.isinf(rate):
        raise InvalidArgument(
            f"'{pattern}' is no pattern of arrivals; write NAME:RATE with a rate in arrivals a second, such "
            f"as poisson:0.02; the names are {', '.join(GENERATORS)}",
            operation="study policies",
        )
    return GENERATORS[name](rate, seconds, seed)


def read_azure_2021(path: Path) -> dict[str, list[float]]:
    """Arrivals by function from a file in the format of the Azure Functions Invocation Trace 2021.

    That is CSV with the columns ``app, func, end_timestamp, duration``, both times in seconds (Y. Zhang and
    others: «Faster and Cheaper Serverless Computing on Harvested Resources», SOSP 2021). A call arrived when
    it ended less what it took; all are counted from the first one of the file.

    Raises:
        LimesIOError: the file cannot be read.
        InvalidArgument: it is in another format; the message names the line.
    """
    arrivals: defaultdict[str, list[float]] = defaultdict(list)
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            if reader.fieldnames is None or not set(TRACE_COLUMNS) <= set(reader.fieldnames):
                raise InvalidArgument(
                    f"{path}: its first line must name the columns {', '.join(TRACE_COLUMNS)}; found "
                    f"{', '.join(reader.fieldnames or ()) or 'nothing'}",
                    operation="read trace",
                )
            for row in reader:
                at, function = _trace_row(row, path, reader.line_num)
                arrivals[function].append(at)
    except OSError as error:
        raise from_os(error, "read trace", f"cannot read '{path}'") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path}: not UTF-8: {error}", operation="read trace") from None
    if not arrivals:
        raise InvalidArgument(f"{path}: no calls in it, only the first line", operation="read trace")
    first = min(map(min, arrivals.values()))
    return {name: sorted(at - first for at in times) for name, times in arrivals.items()}


def _trace_row(row: dict[str, str], path: Path, line: int) -> tuple[float, str]:
    try:
        at = float(row["end_timestamp"]) - float(row["duration"])
        if not math.isfinite(at):
            raise ValueError("a time is not finite")
        return at, f"{row['app']}/{row['func']}"
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{path}:{line}: not a call: {error}", operation="read trace") from None


def _exponential(rate: float, draw: random.Random) -> Iterator[float]:
    while True:
        yield draw.expovariate(rate)


def _until(seconds: float, gaps: Iterator[float]) -> Iterator[float]:
    return itertools.takewhile(lambda at: at < seconds, itertools.accumulate(gaps))
