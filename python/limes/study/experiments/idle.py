"""Keep-alive and pre-warming over a day of calls, with the costs that this study measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limes.errors import Unavailable
from limes.study import idle
from limes.study.folder import StudyFolder
from limes.study.plan import Cell
from limes.study.policies import Costs
from limes.study.statistics import rounded
from limes.study.verdict import milliseconds, name_of

SEED = 1
STARTS = (("wasm", ("aot",), "pre-instantiated"), ("microvm", ("snapshot", "end-to-end"), "warm"))
"""A sandbox, the mode of its cold start, and the mode whose memory a waiting instance holds."""


@dataclass(frozen=True)
class Idle:
    """Policies replayed; nothing is run."""

    folder: StudyFolder
    workload: str
    name: str = "idle"
    title: str = "Keeping instances for the next call"
    question: str = (
        "Over a day of calls, how many wait for a cold start under each keep-alive and pre-warming policy, "
        "and what memory does it hold? (A simulation with the costs measured above.)"
    )

    def run(self, work: Path) -> dict[str, Any]:  # noqa: ARG002 (it needs no folder)
        """Replay every policy over a day of each kind of arrivals."""
        rows, told = [], []
        for cell, costs in self._costs():
            own = idle.of_patterns(None, costs, SEED)
            for row in own:
                lost = row["calls"] * row["cold_percent"] / 100 * costs.cold_seconds
                rows.append(
                    {
                        **row,
                        "series": f"{cell.place}, {row['series']}",
                        "seconds_lost_to_starts": rounded(lost),
                    }
                )
            told.append(_finding(cell, costs, own))
        if not rows:
            raise Unavailable("no cell of this function with a cold start was filled", operation="study")
        return {
            "title": self.title,
            "question": self.question,
            "finding": " ".join(told),
            "rows": rows,
            "figure": {
                "x": "memory_mib",
                "x_label": "memory held on average (MiB)",
                "panels": [{"y": ["cold_percent"], "label": "Calls that wait for a start (%)"}],
            },
        }

    def _costs(self) -> list[tuple[Cell, Costs]]:
        from limes.study import journal
        from limes.study.summary import summarise

        summary = summarise(self.folder.read_study(), journal.read(self.folder.records), {})
        filled = [row for row in summary["cells"] if not row["reason"] and row["workload"] == self.workload]
        found = []
        for sandbox, cold_modes, waiting_mode in STARTS:
            own = [row for row in filled if row["sandbox"] == sandbox]
            cold = min(
                (row for row in own if row["mode"] in cold_modes),
                key=lambda row: row["cold_ms"]["value"],
                default=None,
            )
            if cold is None:
                continue
            waiting = next(
                (row for row in own if (row["mode"], row["vmm"]) == (waiting_mode, cold["vmm"])), cold
            )
            costs = Costs(
                cold["cold_ms"]["value"] / 1e3,
                cold["execute_ms"]["value"] / 1e3,
                max(waiting["resident_mib"], 1 / 256),
            )
            found.append((Cell.parse(cold["cell"]), costs))
        return found


def _finding(cell: Cell, costs: Costs, rows: list[dict[str, Any]]) -> str:
    cold = milliseconds(costs.cold_seconds * 1e3)
    pattern = rows[0]["series"]
    own = [row for row in rows if row["series"] == pattern]
    kept = next(row for row in own if row["policy"] == "keep 600 s")
    spared = kept["calls"] * (100 - kept["cold_percent"]) / 100 * costs.cold_seconds
    return (
        f"With {name_of(cell)} a start costs {cold} and a waiting instance {costs.memory_mib:.3g} MiB: with "
        f"{pattern}, keeping an instance for ten minutes spares {100 - kept['cold_percent']:.3g} % of the "
        f"starts, {milliseconds(spared * 1e3)} of waiting in all over {kept['calls']} calls of a day, for "
        f"{kept['memory_mib']:.3g} MiB held on average."
    )
