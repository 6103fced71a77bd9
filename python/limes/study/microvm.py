"""A function in a microVM of its own, in whatever modes and VMMs this build of Limes has."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from limes.errors import InvalidArgument, Unavailable
from limes.runtime import Function, Runtime
from limes.study.machine import virtualisation_caveat
from limes.study.plan import Cell
from limes.study.process import children, private_bytes
from limes.study.target import Meter, Sample, with_boundary
from limes.study.wasm import answer_bytes
from limes.study.workloads import Workload

NOT_PHASES = ("first_byte", "total", "compile", "load", "route")
"""Of a timing: a part of another phase, the sum, and what was done when the function was loaded."""


SAMPLE_SECONDS = 0.001
"""Between two looks at the memory of a machine that runs."""


REST_SECONDS = 0.01
"""How long nothing must have been done for machines to count as ready."""
REST_DEADLINE = 5.0


class LargestGrowth:
    """The most memory that any one process below this one came to hold while the block ran: that of a machine.

    A monitor's process may be an earlier machine's, so what counts is how far each one grows.
    """

    def __init__(self) -> None:
        self.private_bytes = 0
        self._before = {pid: private_bytes(pid) for pid in children(os.getpid())}
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while True:
            over = self._over.is_set()
            for pid in children(os.getpid()):
                # A process that has not become its program yet still has the memory of this one.
                if _command_line(pid) != _command_line(os.getpid()):
                    grown = private_bytes(pid) - self._before.get(pid, 0)
                    self.private_bytes = max(self.private_bytes, grown)
            if over:
                return
            self._over.wait(SAMPLE_SECONDS)


def wait_for_rest() -> None:
    """Wait until no process below this one works: what a mode does ahead is done between two calls."""
    deadline = time.monotonic() + REST_DEADLINE
    before = None
    while time.monotonic() < deadline:
        working, now = _work()
        if not working and now == before:
            return
        before = now
        time.sleep(REST_SECONDS)


def _work() -> tuple[bool, dict[str, str]]:
    """Whether a thread of a process below this one runs or wants to, and the processor time of each."""
    working, done = False, {}
    for pid in children(os.getpid()):
        tasks: list[Path] = []
        # It may end meanwhile, whole or by a thread.
        with suppress(OSError):
            tasks.extend(Path(f"/proc/{pid}/task").iterdir())
        for task in tasks:
            with suppress(OSError):
                done[str(task)] = (task / "schedstat").read_text().split()[0]
                working = working or (task / "stat").read_text().rpartition(") ")[2][0] in "RD"
    return working, done


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


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
        self._resident = 0
        self.caveat = ""

    def prepare(self) -> None:
        """Load the function into its sandbox, and see in a first call how much memory one machine holds."""
        machine: dict[str, Any] = {"vmm": self._cell.vmm, "mode": self._cell.mode}
        if self._cell.vmm == "qemu":
            # What it is for, and what is said of it: a machine where there is no virtualisation.
            machine["accelerator"] = "tcg"
        native = self._cell.sandbox == "unikernel"
        function = self._kernel() if native else self._workload.component
        options: dict[str, Any] = {
            **self._workload.granted(self._workspace),
            "sandbox": "microvm",
            "microvm": machine,
        }
        self.caveat = virtualisation_caveat(self._cell.vmm)
        try:
            self._function = self._runtime().load(function, name=self._workload.name, **options)
        except InvalidArgument as error:
            raise Unavailable(error.message, operation="study") from error
        with LargestGrowth() as largest:
            self._workload.call.of(self._function)
        self._resident = largest.private_bytes

    def measure(self) -> Sample:
        """Make one call."""
        assert self._function is not None  # prepare() made it
        wait_for_rest()
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
            self._resident,
            answer_bytes(answer),
        )

    def _kernel(self) -> Path:
        if self._workload.unikernel is None:
            raise Unavailable(
                f"{self._workload.name} has no native function: those of `make functions` have no files",
                operation="study",
            )
        return self._workload.unikernel

    def close(self) -> None:
        """Let go of the function and its VMs."""
        self._function = None
