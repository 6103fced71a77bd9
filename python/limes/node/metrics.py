"""The data plane's counters in the Prometheus text format.

Names follow the conventions: base units (seconds, bytes), ``_total`` on what only grows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from limes import _native
from limes.node.stats import FunctionStats, NodeStats, read

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_FUNCTION = ["function"]


class Metrics(Collector):
    """Reads the data plane's counters whenever they are asked for; keeps none of its own."""

    def __init__(self, node: _native.Node, engine: _native.Engine) -> None:
        self._node = node
        self._engine = engine
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The exposition, as Prometheus reads it."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: which families there are follows from what is running."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The families as they are now."""
        stats = read(self._node)
        yield InfoMetricFamily(
            "limes_build",
            "Versions of Limes and of the Wasmtime inside.",
            {"version": _native.__version__, "wasmtime": _native.WASMTIME_VERSION},
        )
        yield from _node_families(stats["node"])
        yield from _cache_families(json.loads(self._engine.cache_info()))
        yield from _function_families(stats["functions"])


def _node_families(node: NodeStats) -> Iterable[Metric]:
    for name, text, value in (
        ("connections", "Connections accepted and served.", node["connections_accepted"]),
        (
            "connections_refused",
            "Connections closed at once, too many being open.",
            node["connections_refused"],
        ),
        ("http_requests", "HTTP requests received.", node["requests"]),
        ("http_requests_unrouted", "HTTP requests that named no function.", node["unrouted"]),
    ):
        yield CounterMetricFamily(f"limes_node_{name}", text, value=value)
    for name, text, level in (
        ("connections_open", "Connections open now.", node["connections_open"]),
        ("functions", "Functions deployed.", node["functions"]),
        ("functions_loaded", "Functions in memory.", node["loaded"]),
        ("invocations", "Invocations running or waiting now.", node["invocations"]),
        ("draining", "Whether the node is shutting down.", node["draining"]),
        ("uptime_seconds", "Seconds since the start.", node["uptime_seconds"]),
    ):
        yield GaugeMetricFamily(f"limes_node_{name}", text, value=float(level))


def _cache_families(cache: Mapping[str, Any]) -> Iterable[Metric]:
    yield GaugeMetricFamily("limes_cache_bytes", "Bytes of machine code in the cache.", value=cache["bytes"])
    yield GaugeMetricFamily("limes_cache_max_bytes", "Bytes the cache may hold.", value=cache["max_bytes"])
    yield GaugeMetricFamily("limes_cache_entries", "Components in the cache.", value=cache["entries"])


def _function_families(functions: Mapping[str, FunctionStats]) -> Iterable[Metric]:
    requests = CounterMetricFamily(
        "limes_requests", "Requests by outcome: ok, or the kind of error.", labels=["function", "outcome"]
    )
    duration = HistogramMetricFamily(
        "limes_request_duration_seconds", "From the accepted request to its end.", labels=_FUNCTION
    )
    phases = CounterMetricFamily(
        "limes_phase_seconds", "Time spent in each phase.", labels=["function", "phase"]
    )
    cold = CounterMetricFamily("limes_cold_loads", "Loads on the way of a request.", labels=_FUNCTION)
    received = CounterMetricFamily("limes_received_bytes", "Bytes of request bodies.", labels=_FUNCTION)
    sent = CounterMetricFamily("limes_sent_bytes", "Bytes of response bodies.", labels=_FUNCTION)
    running = GaugeMetricFamily("limes_running", "Invocations running now.", labels=_FUNCTION)
    queued = GaugeMetricFamily("limes_queued", "Requests waiting for a slot.", labels=_FUNCTION)
    loaded = GaugeMetricFamily("limes_function_loaded", "Whether it is in memory.", labels=_FUNCTION)
    revision = GaugeMetricFamily("limes_function_revision", "The revision served.", labels=_FUNCTION)
    for name, function in functions.items():
        label = [name]
        for outcome, count in function["requests"].items():
            requests.add_metric([*label, outcome], count)
        for phase, nanoseconds in function["phases_ns"].items():
            phases.add_metric([*label, phase], nanoseconds / 1e9)
        histogram = function["duration"]
        buckets = [(f"{le:g}", count) for le, count in histogram["buckets"]]
        duration.add_metric(label, [*buckets, ("+Inf", histogram["count"])], histogram["sum"])
        cold.add_metric(label, function["cold_loads"])
        received.add_metric(label, function["bytes_in"])
        sent.add_metric(label, function["bytes_out"])
        running.add_metric(label, function["running"])
        queued.add_metric(label, function["queued"])
        loaded.add_metric(label, float(function["loaded"]))
        revision.add_metric(label, function["revision"])
    yield from (requests, duration, phases, cold, received, sent, running, queued, loaded, revision)
