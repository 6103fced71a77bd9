"""Many cold starts at once: from one to a thousand requests in the same moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limes.study.experiments.client import Client, check_reachable
from limes.study.experiments.node import Node, node, settings_of
from limes.study.experiments.sandboxes import in_each
from limes.study.statistics import median, quantile, rounded
from limes.study.verdict import milliseconds
from limes.study.workloads import Workload

AT_ONCE = {
    "ci": (1, 10, 100),
    "quick": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    "full": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
}
REPEATS = {"ci": 2, "quick": 5, "full": 50}
TOO_LONG_MS = 10_000.0
"""A burst that takes longer is the last one: more at once would tell nothing new."""


@dataclass(frozen=True)
class Starts:
    """Requests in the same moment, each of which needs an instance of its own."""

    form: str
    workload: Workload
    name: str = "starts"
    title: str = "Many cold starts at once"
    question: str = (
        "When so many requests come in the same moment, each needing a fresh instance, how long do they wait?"
    )

    def run(self, work: Path) -> dict[str, Any]:
        """Send bursts of each size to a node, for each sandbox that works here."""
        rows, missing = in_each(lambda sandbox: self._of(sandbox, work / sandbox))
        return {
            "title": self.title,
            "question": self.question,
            "finding": _finding(self.workload.name, rows, missing),
            "rows": rows,
            "figure": {
                "x": "at_once",
                "x_label": "requests at once",
                "x_log": True,
                "panels": [
                    {"y": ["first_ms"], "label": "First answer (ms)", "log": True},
                    {"y": ["p50_ms"], "label": "Median answer (ms)", "log": True},
                    {"y": ["last_ms"], "label": "Last answer (ms)", "log": True},
                ],
            },
        }

    def _of(self, sandbox: str, home: Path) -> list[dict[str, Any]]:
        most = max(AT_ONCE[self.form])
        with node(home) as started:
            started.deploy(self.workload, settings_of(self.workload, sandbox, most))
            rows: list[dict[str, Any]] = []
            for count in AT_ONCE[self.form]:
                rows.append(self._burst(started, sandbox, count))
                if rows[-1]["failed"] or rows[-1]["last_ms"] > TOO_LONG_MS:
                    break
            return rows

    def _burst(self, started: Node, sandbox: str, count: int) -> dict[str, Any]:
        bursts, failed = [], 0
        with Client(started.address, count, started.message(self.workload.call)) as client:
            # The first burst finds cold caches, of the processor and of the node's pool.
            for index in range(REPEATS[self.form] + 1):
                answers = client.open_loop([0.0] * count)
                check_reachable(answers, f"{count} requests at once, sandbox {sandbox}")
                if index or answers.seconds * 1e3 > TOO_LONG_MS:
                    bursts.append(sorted(latency * 1e3 for latency in answers.latencies))
                    failed += answers.refused + answers.lost
                if answers.seconds * 1e3 > TOO_LONG_MS:
                    break
        return {
            "series": sandbox,
            "at_once": count,
            "first_ms": rounded(median([burst[0] for burst in bursts])),
            "p50_ms": rounded(median([quantile(burst, 0.5) for burst in bursts])),
            "p99_ms": rounded(median([quantile(burst, 0.99) for burst in bursts])),
            "last_ms": rounded(median([burst[-1] for burst in bursts])),
            "failed": failed,
        }


def _finding(name: str, rows: list[dict[str, Any]], missing: list[str]) -> str:
    told = []
    for sandbox in dict.fromkeys(row["series"] for row in rows):
        own = [row for row in rows if row["series"] == sandbox]
        one, most = own[0], own[-1]
        told.append(
            f"{name} in {sandbox}: {milliseconds(one['last_ms'])} for one, and {most['at_once']} at once "
            f"have all answered after {milliseconds(most['last_ms'])}, "
            f"{milliseconds(most['last_ms'] / most['at_once'])} each."
        )
        if failures := sum(row["failed"] for row in own):
            told.append(f"{failures} requests failed.")
    return " ".join([*told, *missing])
