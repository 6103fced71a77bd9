"""Which target measures a cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from limes.study.microvm import MicrovmTarget
from limes.study.plan import Cell
from limes.study.process import ProcessTarget
from limes.study.target import Target
from limes.study.wasm import WasmTarget
from limes.study.workloads import Workload


def target_of(cell: Cell, workloads: Mapping[str, Workload], workspace: Path) -> Target:
    """The target of a cell, not yet prepared.

    Args:
        cell: what to measure.
        workloads: by name.
        workspace: a folder for caches and for what functions write.
    """
    workload = workloads[cell.workload]
    if cell.sandbox == "process":
        return ProcessTarget(workload, workspace)
    if cell.sandbox == "wasm":
        return WasmTarget(workload, cell.mode, workspace)
    return MicrovmTarget(workload, cell, workspace)
