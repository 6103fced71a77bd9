"""Which target measures a cell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from limes.runtime import Runtime
from limes.study.microvm import MicrovmTarget
from limes.study.plan import Cell
from limes.study.process import ProcessTarget
from limes.study.target import Target
from limes.study.wasm import WasmTarget
from limes.study.workloads import Workload


class Targets:
    """The targets of a study; those that need a running engine share one, as the functions of a node do."""

    def __init__(self, workloads: Mapping[str, Workload], workspace: Path) -> None:
        """Nothing happens yet.

        Args:
            workloads: by name.
            workspace: a folder for caches and for what functions write.
        """
        self._workloads = workloads
        self._workspace = workspace

    @cached_property
    def runtime(self) -> Runtime:
        """The one engine, started when it is first needed. Each reserves terabytes of address space."""
        return Runtime(self._workspace / "cache")

    def open(self, cell: Cell) -> Target:
        """The target of a cell, not yet prepared."""
        workload = self._workloads[cell.workload]
        if cell.sandbox == "process":
            return ProcessTarget(workload, self._workspace)
        if cell.sandbox == "wasm":
            return WasmTarget(workload, cell.mode, self._workspace, lambda: self.runtime)
        return MicrovmTarget(workload, cell, self._workspace, lambda: self.runtime)
