"""A long run: whether throughput, latency, memory or handles drift."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limes.study.experiments.client import Client, check_reachable
from limes.study.experiments.node import Node, node, settings_of
from limes.study.statistics import quantile, rounded, trend
from limes.study.workloads import Workload

CONNECTIONS = 4
WINDOWS = {"ci": (12, 0.5), "quick": (40, 1.5), "full": (60, 60.0)}
"""How many, and the seconds of each: ``full`` is an hour."""
WARM_UP = 2
"""Windows thrown away: what a node takes once is no drift."""
WATCHED = {
    "throughput_rps": "throughput",
    "p99_ms": "99th percentile",
    "memory_mib": "memory",
    "handles": "handles",
}


@dataclass(frozen=True)
class Soak:
    """A node under steady load, looked at window by window."""

    form: str
    workload: Workload
    name: str = "soak"
    title: str = "A long run"
    question: str = "Under steady load, do throughput, latency, memory or open handles drift?"

    def run(self, work: Path) -> dict[str, Any]:
        """Keep a node busy, and test each series for a trend."""
        count, seconds = WINDOWS[self.form]
        with node(work / "soak") as started:
            started.deploy(self.workload, settings_of(self.workload, "wasm", CONNECTIONS))
            with Client(started.address, CONNECTIONS, started.message(self.workload.call)) as client:
                windows = [self._window(client, started, seconds) for _ in range(count + WARM_UP)]
        rows = [{"seconds": rounded(index * seconds), **row} for index, row in enumerate(windows[WARM_UP:])]
        trends = {key: trend([row["seconds"] for row in rows], [row[key] for row in rows]) for key in WATCHED}
        return {
            "title": self.title,
            "question": self.question,
            "finding": _finding(self.workload.name, rows, trends, count * seconds),
            "rows": rows,
            "trends": {
                key: {
                    "p_value": rounded(told.p_value),
                    "change": rounded(told.relative_change),
                    "drifts": told.drifts,
                }
                for key, told in trends.items()
            },
            "figure": {
                "x": "seconds",
                "x_label": "seconds",
                "panels": [{"y": [key], "label": label.capitalize()} for key, label in WATCHED.items()],
            },
        }

    def _window(self, client: Client, started: Node, seconds: float) -> dict[str, Any]:
        answers = client.closed_loop(seconds)
        check_reachable(answers, f"{self.workload.name} in a long run")
        return {
            "throughput_rps": rounded(len(answers.latencies) / answers.seconds),
            "p99_ms": rounded(quantile(answers.latencies, 0.99) * 1e3),
            "memory_mib": rounded(started.memory_mib()),
            "handles": started.handles(),
            "failed": answers.refused + answers.lost,
        }


def _finding(name: str, rows: list[dict[str, Any]], trends: dict[str, Any], seconds: float) -> str:
    drifting = [
        f"{WATCHED[key]} by {told.relative_change:+.0%} (p = {told.p_value:.2g})"
        for key, told in trends.items()
        if told.drifts
    ]
    how_long = f"{seconds / 60:.3g} minutes" if seconds >= 60 else f"{seconds:g} seconds"
    calls = sum(row["throughput_rps"] for row in rows) * seconds / len(rows)
    head = f"{name}, {how_long}, some {calls:,.0f} calls with {sum(row['failed'] for row in rows)} failures: "
    tested = "Mann-Kendall at 1 %, and a change of more than 5 %"
    if drifting:
        return f"{head}drift of {', '.join(drifting)} ({tested})."
    return f"{head}no drift of {', '.join(WATCHED.values())} ({tested})."
