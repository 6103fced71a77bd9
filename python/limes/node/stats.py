"""The data plane's counters, as its :meth:`stats` gives them."""

from __future__ import annotations

import json
from typing import TypedDict

from limes import _native


class NodeStats(TypedDict):
    """Counters of the node as a whole."""

    connections_open: int
    connections_accepted: int
    connections_refused: int
    requests: int
    unrouted: int
    """Requests that named no function."""
    functions: int
    loaded: int
    invocations: int
    """Running or waiting now."""
    draining: bool
    uptime_seconds: float


class Histogram(TypedDict):
    """Durations, as Prometheus knows histograms."""

    buckets: list[tuple[float, int]]
    """Upper bound in seconds, and how many were at or below it; the bucket above all is `count`."""
    sum: float
    """Seconds."""
    count: int


class FunctionStats(TypedDict):
    """Counters of one function, all its revisions together."""

    revision: int
    requests: dict[str, int]
    """By outcome: ``ok``, or the kind of error. What never happened is left out."""
    running: int
    queued: int
    loaded: bool
    tier: str | None
    """Whose code the next request runs: ``baseline`` or ``optimized``; None: it is not loaded."""
    cold_loads: int
    """How often a request had to load it."""
    duration: Histogram
    phases_ns: dict[str, int]
    """Nanoseconds spent in each phase."""
    bytes_in: int
    bytes_out: int


class Stats(TypedDict):
    """What a node and its functions did since the start."""

    node: NodeStats
    functions: dict[str, FunctionStats]


def read(node: _native.Node) -> Stats:
    """The counters now."""
    stats: Stats = json.loads(node.stats())
    return stats
