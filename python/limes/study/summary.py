"""What follows from the records of a study: figures for each cell, with intervals, and verdicts.

The same records give the same summary, to the last digit: :func:`check` holds a summary to that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from limes.study import paper, verdict
from limes.study.folder import FORMAT
from limes.study.journal import Record
from limes.study.plan import Cell
from limes.study.statistics import (
    Interval,
    interquartile_mean,
    median,
    median_interval,
    quantile,
    ratio_interval,
    rounded,
)

MEASURES = ("cold", "execute", "total")


@dataclass
class Measured:
    """The measured calls of one cell."""

    cell: Cell
    records: list[Record] = field(default_factory=list)
    discarded: int = 0
    reason: str = ""

    @property
    def visits(self) -> list[int]:
        """The visit each call was made in."""
        return [record.round for record in self.records]

    def milliseconds(self, measure: str) -> list[float]:
        """Each call's start (``cold``), execution (``execute``) or whole (``total``)."""
        if measure == "cold":
            return [record.sample.cold_ns / 1e6 for record in self.records]
        if measure == "execute":
            return [record.sample.phases.get("execute", 0) / 1e6 for record in self.records]
        return [record.sample.wall_ns / 1e6 for record in self.records]

    def interval(self, measure: str) -> Interval:
        """The median of a measure in milliseconds, with its interval."""
        return median_interval(self.milliseconds(measure), self.visits)


def measured(records: Iterable[Record], cells: Sequence[Cell]) -> dict[Cell, Measured]:
    """The records by cell; a cell without any is there too, with a reason."""
    found = {cell: Measured(cell) for cell in cells}
    for record in records:
        if record.cell not in found:
            continue
        entry = found[record.cell]
        if record.kind == "measured":
            entry.records.append(record)
        elif record.kind == "warm-up":
            entry.discarded += 1
        else:
            entry.reason = record.reason
    for entry in found.values():
        if not entry.records and not entry.reason:
            entry.reason = "not run yet; the same command goes on"
    return found


def summarise(
    study: Mapping[str, Any], records: Iterable[Record], experiments: Mapping[str, Any]
) -> dict[str, Any]:
    """The summary of a study, as JSON values.

    Args:
        study: what was planned, as the folder keeps it.
        records: every call.
        experiments: what was measured beyond the cells.
    """
    cells = [Cell.parse(name) for name in study["plan"]["cells"]]
    found = measured(records, cells)
    caveats = study.get("caveats", {})
    table = [_entry(found[cell], caveats.get(str(cell), "")) for cell in cells]
    filled = {Cell.parse(row["cell"]): row for row in table if not row["reason"]}
    ratios = _native_ratios(found, filled)
    for cell, row in filled.items():
        row["execute_vs_native"] = ratios.get(cell)
    workloads = list(dict.fromkeys(cell.workload for cell in cells))
    return {
        "format": FORMAT,
        "machine": study["machine"],
        "form": study["plan"]["form"],
        "seed": study["plan"]["seed"],
        "command": study["command"],
        "cells": table,
        "answers": {name: _answers(name, filled) for name in workloads},
        "paper": _beside_the_paper(study["workloads"], filled),
        "verdicts": {name: verdict.of(name, filled) for name in workloads},
        "experiments": dict(experiments),
    }


def check(
    summary: Mapping[str, Any],
    study: Mapping[str, Any],
    records: Sequence[Record],
    experiments: Mapping[str, Any],
    required: Sequence[str] = (),
) -> list[str]:
    """What is wrong with a summary; empty when every cell is filled or says why not, and all of it follows.

    The summary is made again from the records and compared, verdicts included. A cell whose name fits one of
    the `required` patterns must be filled: no reason is good enough.
    """
    excused = [row for row in summary["cells"] if row["reason"]]
    wrong = [
        f"{row['cell']}: neither measured nor a reason"
        for row in summary["cells"]
        if not row["calls"] and not row["reason"]
    ]
    wrong += [
        f"{row['cell']}: {row['reason']}"
        for row in summary["cells"]
        if row["reason"].startswith("not run yet")
    ]
    wrong += [
        f"{row['cell']}: must be filled, and is not: {row['reason']}"
        for row in excused
        if any(fnmatchcase(row["cell"], pattern) for pattern in required)
    ]
    planned, shown = study["plan"]["cells"], [row["cell"] for row in summary["cells"]]
    wrong += [f"{name}: planned, and not in the summary" for name in planned if name not in shown]
    again = summarise(study, records, experiments)
    wrong += [
        f"{key}: the summary does not follow from the records; `limes study report` makes it anew"
        for key in again
        if again[key] != summary.get(key)
    ]
    for name, answers in again["answers"].items():
        if len(answers) > 1:
            told = "; ".join(f"{digest}: {', '.join(cells)}" for digest, cells in answers.items())
            wrong.append(f"{name}: the sandboxes do not answer the same: {told}")
    return wrong


def _entry(entry: Measured, caveat: str) -> dict[str, Any]:
    cell = entry.cell
    row: dict[str, Any] = {
        "cell": str(cell),
        "workload": cell.workload,
        "sandbox": cell.sandbox,
        "vmm": cell.vmm,
        "mode": cell.mode,
        "calls": len(entry.records),
        "visits": len(set(entry.visits)),
        "discarded": entry.discarded,
        "caveat": caveat,
        "reason": entry.reason,
    }
    # A cell that failed later on has calls all the same; its figures would be those of the calls that went
    # well.
    if entry.reason:
        return row
    for measure in MEASURES:
        values = entry.milliseconds(measure)
        row[f"{measure}_ms"] = {
            **entry.interval(measure).to_json(),
            **{
                name: rounded(quantile(values, q)) for name, q in (("p5", 0.05), ("p95", 0.95), ("p99", 0.99))
            },
        }
    samples = [record.sample for record in entry.records]
    phases = list(dict.fromkeys(name for sample in samples for name in sample.phases))
    row["phases_ms"] = {
        name: rounded(interquartile_mean([sample.phases.get(name, 0) / 1e6 for sample in samples]))
        for name in phases
    }
    counted = [sample.resources for sample in samples]
    row["cpu_ms"] = rounded(median([(used.cpu_user_ns + used.cpu_system_ns) / 1e6 for used in counted]))
    row["minor_faults"] = median([used.minor_faults for used in counted])
    row["major_faults"] = median([used.major_faults for used in counted])
    row["context_switches"] = median(
        [used.voluntary_switches + used.involuntary_switches for used in counted]
    )
    row["resident_mib"] = rounded(median([sample.resident_bytes / (1 << 20) for sample in samples]))
    row["answer"] = samples[-1].answer.decode()
    return row


def _native_ratios(
    found: Mapping[Cell, Measured], filled: Mapping[Cell, Any]
) -> dict[Cell, dict[str, float] | None]:
    """Execution against the native process, for each cell; the floor itself is left out."""
    ratios: dict[Cell, dict[str, float] | None] = {}
    for cell in filled:
        floor = Cell(cell.workload, "process", "", "spawn")
        if cell == floor or floor not in filled or not median(found[floor].milliseconds("execute")):
            continue
        ratios[cell] = ratio_interval(
            found[cell].milliseconds("execute"),
            found[floor].milliseconds("execute"),
            found[cell].visits,
            found[floor].visits,
        ).to_json()
    return ratios


def _answers(workload: str, filled: Mapping[Cell, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Which cells answered what, by the digest of the answer: one where all agree."""
    answers: defaultdict[str, list[str]] = defaultdict(list)
    for cell, row in filled.items():
        if cell.workload == workload:
            answers[row["answer"]].append(str(cell))
    return dict(answers)


def _beside_the_paper(
    workloads: Mapping[str, Mapping[str, Any]], filled: Mapping[Cell, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each cell of the paper whose function was studied, and each of ours in the same mode."""
    rows = []
    ours_by_application = {entry["paper"]: name for name, entry in workloads.items() if entry["paper"]}
    for theirs, published in paper.published().items():
        if theirs.workload not in ours_by_application:
            continue
        name = ours_by_application[theirs.workload]
        same = [
            (cell, row)
            for cell, row in filled.items()
            if (cell.workload, cell.sandbox, cell.mode) == (name, theirs.sandbox, theirs.mode)
        ]
        rows += [_paper_row(theirs, published, cell, row) for cell, row in same]
        if not same:
            rows.append(_paper_row(theirs, published, None, None))
    return rows


def _paper_row(
    theirs: Cell, published: paper.Published, cell: Cell | None, row: Mapping[str, Any] | None
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "paper_cell": str(theirs),
        "what": paper.EQUIVALENT[theirs.place],
        "our_cell": str(cell) if cell else None,
        "caveat": row["caveat"] if row else "",
    }
    for measure, values in (("cold", published.cold_ms), ("execute", published.execute_ms)):
        if not values:
            continue
        figure = paper.interval(theirs, measure).to_json()
        told[f"paper_{measure}_ms"] = figure
        if row is not None:
            ours = row[f"{measure}_ms"]["value"]
            told[f"our_{measure}_ms"] = ours
            told[f"{measure}_ratio"] = rounded(ours / figure["value"])
    return told
