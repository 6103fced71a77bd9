"""A function in a microVM of its own, in whatever modes and VMMs this build of Limes has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from limes.errors import InvalidArgument, Unavailable
from limes.runtime import Function, Runtime
from limes.study.machine import virtualisation_caveat
from limes.study.plan import Cell
from limes.study.target import Meter, Sample, with_boundary
from limes.study.wasm import answer_bytes
from limes.study.workloads import Workload

NOT_PHASES = ("first_byte", "total", "compile", "load", "route")
"""Of a timing: a part of another phase, the sum, and what was done when the function was loaded."""


class MicrovmTarget:
    """One function with ``sandbox = "microvm"``; what each phase cost is what the core says."""

    def __init__(
        self, workload: Workload, cell: Cell, workspace: Path, runtime: Callable[[], Runtime]
    ) -> None:
        """Nothing happens yet.

        Args:
            workload: what is called.
            cell: in which sandbox, by which VMM, in which mode.
            workspace: a folder for the workload's files.
            runtime: gives an engine that runs, with a cache on disk.
        """
        self._workload = workload
        self._cell = cell
        self._workspace = workspace
        self._runtime = runtime
        self._function: Function | None = None
        self.caveat = ""

    def prepare(self) -> None:
        """Load the function into its sandbox."""
        machine: dict[str, Any] = {"vmm": self._cell.vmm, "mode": self._cell.mode}
        if self._cell.sandbox == "unikernel":
            machine["image"] = {"kernel": str(self._kernel())}
        options: dict[str, Any] = {
            **self._workload.granted(self._workspace),
            "sandbox": "microvm",
            "microvm": machine,
        }
        self.caveat = virtualisation_caveat(self._cell.vmm)
        try:
            self._function = self._runtime().load(
                self._workload.component, name=self._workload.name, **options
            )
        except InvalidArgument as error:
            raise Unavailable(f"not in this build: {error.message}", operation="study") from error

    def measure(self) -> Sample:
        """Make one call."""
        assert self._function is not None  # prepare() made it
        meter = Meter()
        with meter.running():
            answer = self._workload.call.of(self._function)
        told = answer.timing.to_json()
        phases = {
            name: ns for name, ns in told.items() if isinstance(ns, int) and ns and name not in NOT_PHASES
        }
        return Sample(
            meter.wall_ns,
            with_boundary(phases, meter.wall_ns),
            meter.resources,
            meter.resident_bytes,
            answer_bytes(answer),
        )

    def _kernel(self) -> Path:
        if self._workload.unikernel is None:
            raise Unavailable(f"{self._workload.name} has no native unikernel", operation="study")
        return self._workload.unikernel

    def close(self) -> None:
        """Let go of the function and its VMs."""
        self._function = None
