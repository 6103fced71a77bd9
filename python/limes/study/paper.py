"""The paper's own measurements, to stand beside those of a study.

«WebAssembly and Unikernels: A Comparative Study for Serverless at the Edge», arXiv 2509.09400. Source,
licence and what was done to the numbers: ``data/README.md`` beside this file.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from limes.study.plan import Cell
from limes.study.statistics import Interval, median_interval
from limes.study.verdict import milliseconds

CITATION = (
    "V. Besozzi, E. Fiasco, M. Danelutto, P. Dazzi: «WebAssembly and Unikernels: A Comparative Study for "
    "Serverless at the Edge», arXiv 2509.09400 (2025)"
)
MACHINE = (
    "the authors' machine (AMD, x86-64, 8 cores, 16 GB), not this one: "
    "only ratios within one machine carry over"
)

EQUIVALENT = {
    "unikernel-firecracker": "Firecracker with Nanos, the native function",
    "wasm": "the paper's prototype",
}
"""What ran in the paper where we have a cell of that name."""


@dataclass
class Published:
    """One cell of the paper, in milliseconds."""

    cold_ms: list[float] = field(default_factory=list)
    execute_ms: list[float] = field(default_factory=list)
    """Empty where the paper measured the start alone."""


@cache
def published() -> dict[Cell, Published]:
    """Every cell the paper measured."""
    cells: defaultdict[Cell, Published] = defaultdict(Published)
    with (files("limes.study") / "data" / "paper.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            cell = cells[Cell.parse(row["cell"])]
            cell.cold_ms.append(float(row["cold_ms"]))
            if row["execution_ms"]:
                cell.execute_ms.append(float(row["execution_ms"]))
    return dict(cells)


@cache
def interval(cell: Cell, measure: str) -> Interval:
    """The median of a cell's ``cold`` or ``execute`` in milliseconds, with its interval."""
    found = published()[cell]
    return median_interval(found.cold_ms if measure == "cold" else found.execute_ms)


def figures_of(row: Mapping[str, Any]) -> list[str]:
    """Ours, the paper's and the ratio in words, for the cold start and then for the execution of a row of the summary's table."""
    cells = []
    for measure in ("cold", "execute"):
        ours, theirs = row.get(f"our_{measure}_ms"), row.get(f"paper_{measure}_ms")
        ratio = row.get(f"{measure}_ratio")
        cells += [
            milliseconds(ours) if ours is not None else "",
            milliseconds(theirs["value"]) if theirs else "not measured",
            f"{ratio:.3g}" if ratio is not None else "",
        ]
    return cells
