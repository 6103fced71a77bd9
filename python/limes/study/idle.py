"""Idle policies compared over a day: the rows of the experiment and of `limes study policies`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limes.study.arrivals import DAY, generated, read_azure_2021
from limes.study.policies import Costs, Outcome, replay, standard

PATTERNS = ("poisson:0.01", "bursty:0.01", "diurnal:0.01")
"""Some 860 calls a day each: rare enough that keeping an instance is a question."""


def of_patterns(patterns: Sequence[str] | None, costs: Costs, seed: int) -> list[dict[str, Any]]:
    """A row for each pattern and policy.

    Raises:
        InvalidArgument: a pattern is none.
    """
    rows = []
    for pattern in patterns or PATTERNS:
        arrivals = generated(pattern, DAY, seed)
        rows += [_row(pattern, [replay(arrivals, policy, costs, DAY)], DAY) for policy in standard()]
    return rows


def of_trace(path: Path, costs: Costs) -> list[dict[str, Any]]:
    """A row for each policy, over all functions of a trace together; each function has instances of its own.

    Raises:
        LimesIOError: the file cannot be read.
        InvalidArgument: it is in another format.
    """
    functions = read_azure_2021(path)
    end = max(times[-1] for times in functions.values())
    # A policy may learn, so each function gets fresh ones.
    replayed = [[replay(times, policy, costs, end) for policy in standard()] for times in functions.values()]
    return [_row(path.name, outcomes, end) for outcomes in zip(*replayed, strict=True)]


def _row(series: str, outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    calls = sum(outcome.calls for outcome in outcomes)
    cold = sum(outcome.cold for outcome in outcomes)
    held = sum(outcome.memory_mib_seconds for outcome in outcomes)
    return {
        "series": series,
        "policy": outcomes[0].policy,
        "calls": calls,
        "cold_percent": float(f"{100 * cold / calls if calls else 0:.4g}"),
        "memory_mib": float(f"{held / seconds if seconds else 0:.4g}"),
    }
