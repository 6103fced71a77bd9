"""What is run, how often and in which order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from limes.errors import InvalidArgument

VMMS = ("builtin", "firecracker", "qemu")
WASM_MODES = ("jit", "tiered", "aot", "pre-instantiated", "reused")
VM_MODES = ("end-to-end", "pre-configured", "snapshot", "reset", "warm")

MODES = {
    "spawn": "a process for each call",
    "jit": "from nothing, as in the paper: new engine, read, compile with optimisation, instantiate",
    "tiered": "from nothing: new engine, read, compile with the baseline compiler, instantiate",
    "aot": "machine code from the cache on disk, in an engine that runs; then instantiate",
    "pre-instantiated": "loaded and linked before; the first instance, in memory that none used before",
    "reused": "loaded before; a fresh instance in the memory of the last one, as a busy function has it",
    "end-to-end": "everything on demand: VMM, guest memory, boot, function",
    "pre-configured": "the VMM is there and configured; boot on demand, as in the paper's second mode",
    "snapshot": "restored from a snapshot taken when the function was ready",
    "reset": "a waiting VM put back to its snapshot",
    "warm": "a VM that waits, ready to be called",
}
"""What each mode does when a call comes, for the report."""


@dataclass(frozen=True, order=True)
class Cell:
    """One function in one sandbox and mode."""

    workload: str
    sandbox: str
    """``process`` (the native program), ``wasm`` (the component in process), ``microvm`` (the component in a
    unikernel) or ``unikernel`` (the native function in one)."""
    vmm: str
    """Which VMM; empty where there is none."""
    mode: str

    @property
    def place(self) -> str:
        """Sandbox and VMM."""
        return f"{self.sandbox}-{self.vmm}" if self.vmm else self.sandbox

    def __str__(self) -> str:
        return f"{self.workload}/{self.place}/{self.mode}"

    @classmethod
    def parse(cls, text: str) -> Cell:
        """The cell that `str` wrote.

        Raises:
            ValueError: it is none.
        """
        workload, place, mode = text.rsplit("/", 2)
        sandbox, _, vmm = place.partition("-")
        return cls(workload, sandbox, vmm, mode)


@dataclass(frozen=True)
class Form:
    """How much is measured."""

    name: str
    rounds: int
    """How often each cell is visited."""
    samples: int
    """Measured calls a visit in a fast mode; one in the others."""
    visit_seconds: float
    """A visit ends when its measured calls have taken this long, however many there were."""
    warm_up: int
    """Calls made and thrown away before a cell's first measured one."""
    total_seconds: float
    """For all calls; each cell that works has the same share, and is not visited again once it is spent."""
    least: int
    """Visits of each cell, whatever its share."""

    def to_json(self) -> dict[str, Any]:
        """The form as JSON values."""
        return asdict(self)


FORMS = {
    "ci": Form("ci", rounds=5, samples=4, visit_seconds=0.1, warm_up=1, total_seconds=30, least=2),
    "quick": Form("quick", rounds=30, samples=10, visit_seconds=0.5, warm_up=2, total_seconds=500, least=6),
    "full": Form("full", rounds=200, samples=20, visit_seconds=2, warm_up=5, total_seconds=14_400, least=50),
}
"""``ci`` ends within three minutes, ``quick`` within fifteen on two cores; ``full`` takes hours."""

MANY_SAMPLES = ("pre-instantiated", "reused", "aot")


@dataclass(frozen=True)
class Visit:
    """One turn of a cell: what is called in a row."""

    round: int
    cell: Cell
    discarded: int
    """Calls that only warm up; they come first."""
    measured: int


@dataclass(frozen=True)
class Plan:
    """A study before it is run; the same plan and seed give the same order."""

    cells: tuple[Cell, ...]
    form: Form
    seed: int

    def visits(self) -> Iterator[Visit]:
        """Every visit: each round has every cell once, in an order of its own.

        What drifts while the study runs (temperature, other load) then falls on all cells alike.
        """
        order = random.Random(self.seed)  # noqa: S311 (an order, not a secret)
        for number in range(self.form.rounds):
            cells = list(self.cells)
            order.shuffle(cells)
            for cell in cells:
                yield self.visit(number, cell)

    def visit(self, number: int, cell: Cell) -> Visit:
        """One visit of a cell."""
        many = cell.mode in MANY_SAMPLES
        # What ran between two visits has emptied the processor's caches: the first call of a fast mode finds
        # that.
        again = 1 if many or cell.mode in ("reset", "warm") else 0
        return Visit(
            number, cell, self.form.warm_up if number == 0 else again, self.form.samples if many else 1
        )

    def to_json(self) -> dict[str, Any]:
        """What makes this plan this one: a study goes on only where it is the same."""
        return {"cells": [str(cell) for cell in self.cells], "form": self.form.to_json(), "seed": self.seed}


def every_cell(workloads: Iterable[str]) -> tuple[Cell, ...]:
    """All sandboxes and modes for each workload, whether or not they work here."""
    cells = []
    for workload in workloads:
        cells.append(Cell(workload, "process", "", "spawn"))
        cells += [Cell(workload, "wasm", "", mode) for mode in WASM_MODES]
        cells += [
            Cell(workload, sandbox, vmm, mode)
            for sandbox in ("microvm", "unikernel")
            for vmm in VMMS
            for mode in VM_MODES
        ]
    return tuple(cells)


def matching(cells: Sequence[Cell], patterns: Sequence[str]) -> tuple[Cell, ...]:
    """The cells whose name one of the patterns fits, such as ``*/wasm/*``; all without patterns.

    Raises:
        InvalidArgument: a pattern fits none.
    """
    if not patterns:
        return tuple(cells)
    for pattern in patterns:
        if not any(_fits(cell, pattern) for cell in cells):
            raise InvalidArgument(
                f"--only {pattern}: no cell has such a name; `limes study plan` lists them, "
                "such as noop/wasm/aot or 'image/*'",
                operation="study",
            )
    return tuple(cell for cell in cells if any(_fits(cell, pattern) for pattern in patterns))


def _fits(cell: Cell, pattern: str) -> bool:
    return fnmatchcase(str(cell), pattern)


def form_named(name: str, known: Callable[[], dict[str, Form]] = lambda: FORMS) -> Form:
    """A form by its name.

    Raises:
        InvalidArgument: there is none of that name.
    """
    forms = known()
    if name not in forms:
        raise InvalidArgument(f"--form {name}: there are {', '.join(forms)}", operation="study")
    return forms[name]
