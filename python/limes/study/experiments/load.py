"""Load: arrivals at rising rates, until the node cannot keep up."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limes.study.arrivals import poisson
from limes.study.experiments.client import Client, check_reachable
from limes.study.experiments.node import Node, node, settings_of
from limes.study.statistics import quantile, rounded
from limes.study.verdict import milliseconds
from limes.study.workloads import Workload

CONNECTIONS = 128
STEP_SECONDS = {"ci": 0.7, "quick": 3.0, "full": 30.0}
FIRST_RATE = 10.0
GROWTH = {"ci": 3.0, "quick": 1.6, "full": 1.4}
KEPT_UP = 0.95
"""Of the offered requests, the part that must be answered in time for a rate to count as carried."""
STALL_MS = 100.0
"""And the 99th percentile may not pass this, or five times that of the lowest rate, whichever is more."""


@dataclass(frozen=True)
class Load:
    """Open-loop load on a node, with latency from when each request was meant to be sent."""

    form: str
    workload: Workload
    name: str = "load"
    title: str = "Load"
    question: str = (
        "How many requests a second does a node carry, each in a fresh instance, and what happens to "
        "latency on the way there?"
    )

    def run(self, work: Path) -> dict[str, Any]:
        """Raise the rate until the node does not keep up."""
        with node(work / "load") as started:
            started.deploy(self.workload, settings_of(self.workload, "wasm", CONNECTIONS))
            rows = list(self._steps(started))
        carried = [row for row in rows if row["kept_up"]]
        return {
            "title": self.title,
            "question": self.question,
            "finding": _finding(self.workload.name, rows, carried),
            "rows": rows,
            "knee_rps": carried[-1]["offered_rps"] if carried else None,
            "figure": {
                "x": "offered_rps",
                "x_label": "offered, requests a second",
                "x_log": True,
                "panels": [
                    {
                        "y": ["p50_ms", "p99_ms"],
                        "label": "Latency from the intended arrival (ms)",
                        "log": True,
                    },
                    {"y": ["achieved_rps"], "label": "Answered, requests a second", "log": True},
                ],
            },
        }

    def _steps(self, started: Node) -> Iterator[dict[str, Any]]:
        seconds = STEP_SECONDS[self.form]
        with Client(started.address, CONNECTIONS, started.message(self.workload.call)) as client:
            check_reachable(client.open_loop([0.0] * CONNECTIONS), f"{self.workload.name} under load")
            lowest_p99 = None
            for step in itertools.count():
                rate = FIRST_RATE * GROWTH[self.form] ** step
                row = _step(client, started, rate, seconds, step)
                lowest_p99 = lowest_p99 if lowest_p99 is not None else row["p99_ms"]
                row["kept_up"] = bool(
                    row["achieved_rps"] >= KEPT_UP * row["sent_rps"]
                    and row["failed"] == 0
                    and row["p99_ms"] <= max(STALL_MS, 5 * lowest_p99)
                )
                yield row
                if not row["kept_up"]:
                    return


def _step(client: Client, started: Node, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    schedule = poisson(rate, seconds, seed) or [0.0]
    before = started.cpu_seconds()
    answers = client.open_loop(schedule)
    used = started.cpu_seconds() - before
    latencies = [latency * 1e3 for latency in answers.latencies] or [float("inf")]
    in_time = sum(
        1
        for meant, latency in zip(answers.meant, answers.latencies, strict=True)
        if meant + latency <= seconds + 0.1
    )
    return {
        "offered_rps": rounded(rate),
        "sent_rps": rounded(len(schedule) / seconds),
        "achieved_rps": rounded(in_time / seconds),
        "p50_ms": rounded(quantile(latencies, 0.5)),
        "p99_ms": rounded(quantile(latencies, 0.99)),
        "max_ms": rounded(max(latencies)),
        "failed": answers.refused + answers.lost,
        "client_late_p99_ms": rounded(quantile(answers.late, 0.99) * 1e3),
        "node_cores": rounded(used / answers.seconds),
    }


def _finding(name: str, rows: list[dict[str, Any]], carried: list[dict[str, Any]]) -> str:
    if not carried:
        return f"{name}: not even {rows[0]['offered_rps']:g} requests a second were carried."
    last, broke = carried[-1], rows[-1]
    cores = len(os.sched_getaffinity(0))
    late = broke["client_late_p99_ms"] > 0.1 * broke["p99_ms"] or broke["node_cores"] < 0.5 * cores
    whose = (
        f" There the node used {broke['node_cores']:.2g} of {cores} cores: the client, which shares them, "
        "was the limit."
        if late
        else ""
    )
    return (
        f"{name}: up to {last['offered_rps']:.0f} requests a second are carried (median "
        f"{milliseconds(last['p50_ms'])}, 99 % within {milliseconds(last['p99_ms'])}); at "
        f"{broke['offered_rps']:.0f} it is too much (99 % within {milliseconds(broke['p99_ms'])}).{whose}"
    )
