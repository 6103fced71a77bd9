"""A sandbox whose delays are known, and studies made of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from limes.errors import Unavailable
from limes.study.journal import Journal, Record
from limes.study.plan import Cell, Form, Plan
from limes.study.runner import Runner
from limes.study.target import Meter, Resources, Sample, with_boundary

FORM = Form("test", rounds=6, samples=3, visit_seconds=1e6, warm_up=2, total_seconds=1e9, least=2)


@dataclass
class KnownTarget:
    """Says that a call took just so long, without taking it."""

    phases: dict[str, int]
    answer: bytes = b"answer"
    caveat: str = ""
    broken: str = ""
    fails_at: int | None = None
    interrupted_at: int | None = None
    calls: int = 0
    prepared: int = 0
    closed: int = 0

    def prepare(self) -> None:
        self.prepared += 1
        if self.broken:
            raise Unavailable(self.broken)

    def measure(self) -> Sample:
        self.calls += 1
        if self.calls == self.interrupted_at:
            raise KeyboardInterrupt
        if self.calls == self.fails_at:
            raise Unavailable("it broke on the way")
        wall = sum(self.phases.values())
        return Sample(wall, dict(self.phases), Resources(1, 2, 3, 4, 5, 6), 1 << 20, self.answer)

    def close(self) -> None:
        self.closed += 1


@dataclass
class SleepingTarget:
    """Takes just so long, in seconds, for its start and for its execution."""

    start: float
    execute: float
    caveat: str = ""

    def prepare(self) -> None:
        pass

    def measure(self) -> Sample:
        meter = Meter()
        with meter.running():
            began = time.perf_counter_ns()
            time.sleep(self.start)
            started = time.perf_counter_ns()
            time.sleep(self.execute)
            ended = time.perf_counter_ns()
        phases = {"create": started - began, "execute": ended - started}
        return Sample(meter.wall_ns, with_boundary(phases, meter.wall_ns), meter.resources)

    def close(self) -> None:
        pass


@dataclass
class Bench:
    """Runs plans over targets, against one file of records."""

    path: Path
    targets: dict[Cell, KnownTarget] = field(default_factory=dict)
    caveats: dict[str, str] = field(default_factory=dict)

    def run(self, plan: Plan) -> list[Record]:
        with Journal(self.path) as journal:
            runner = Runner(plan, journal, self.targets.__getitem__)
            try:
                runner.run()
            finally:
                self.caveats = {str(cell): text for cell, text in runner.caveats.items()}
            return list(journal.records)


def cell(sandbox: str = "wasm", mode: str = "jit", vmm: str = "", workload: str = "noop") -> Cell:
    return Cell(workload, sandbox, vmm, mode)


def known(cold_us: float, execute_us: float, **more: object) -> KnownTarget:
    phases = {"load": int(cold_us * 1000), "execute": int(execute_us * 1000), "reset": 500}
    return KnownTarget(phases, **more)  # type: ignore[arg-type]


MakePlan = Callable[..., Plan]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "records.csv")


def plan_of(*cells: Cell, form: Form = FORM, seed: int = 1) -> Plan:
    return Plan(tuple(cells), form, seed)
