"""Runs a plan: visits the cells in its order, calls each, and keeps a record of every call.

What is already in the journal is not run again, so a study that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from limes.errors import LimesError
from limes.study.journal import Journal, Record
from limes.study.plan import Cell, Plan, Visit
from limes.study.target import Sample, Target

Open = Callable[[Cell], Target]
"""Gives the target of a cell, not yet prepared."""


@dataclass(frozen=True)
class Progress:
    """How far a study is."""

    done: int
    visits: int
    """All visits there will be, as far as is known now."""
    cell: Cell
    seconds_left: float | None
    """From what visits of each cell took so far; None before there is anything to go by."""


class Runner:
    """One run of a plan."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        open_target: Open,
        *,
        tell: Callable[[Progress], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing happens yet.

        Args:
            plan: what to run.
            journal: where records go, and what was run before.
            open_target: gives the target of a cell.
            tell: told before each visit how far the study is, never while something is measured.
            clock: seconds; what the time left is told from.
        """
        self._plan = plan
        self._journal = journal
        self._open = open_target
        self._tell = tell
        self._clock = clock
        self._targets: dict[Cell, Target] = {}
        self.caveats: dict[Cell, str] = {}
        """What must stand beside the figures of a cell."""
        self._unfilled = {record.cell for record in journal.records if record.kind == "unfilled"}
        self._made: Counter[tuple[Cell, int, str]] = Counter()
        self._visited: defaultdict[Cell, set[int]] = defaultdict(set)
        self._spent_ns: Counter[Cell] = Counter()
        self._visit_ns: Counter[tuple[Cell, int]] = Counter()
        for record in journal.records:
            self._count(record)
        self._visit_seconds: dict[Cell, float] = {}

    def run(self) -> None:
        """Make every call that is still to be made.

        Raises:
            LimesIOError: a record cannot be written.
        """
        visits = list(self._plan.visits())
        try:
            for position, visit in enumerate(visits):
                if self._is_due(visit):
                    self._tell(self._progress(visits, position))
                    began = self._clock()
                    self._make(visit)
                    self._learn(visit.cell, self._clock() - began)
        finally:
            for target in self._targets.values():
                target.close()

    def _is_due(self, visit: Visit) -> bool:
        cell = visit.cell
        if cell in self._unfilled or self._remaining(visit) == (0, 0):
            return False
        spent = self._spent_ns[cell] > self._share_ns()
        before = sum(1 for number in self._visited[cell] if number < visit.round)
        return not (spent and before >= self._plan.form.least)

    def _share_ns(self) -> float:
        """What each cell that works may take of the time there is."""
        working = len(self._plan.cells) - len(self._unfilled)
        return self._plan.form.total_seconds * 1e9 / max(1, working)

    def _is_long(self, visit: Visit) -> bool:
        """Whether the measured calls of a visit have taken as long as one may."""
        return self._visit_ns[visit.cell, visit.round] >= self._plan.form.visit_seconds * 1e9

    def _remaining(self, visit: Visit) -> tuple[int, int]:
        """Calls to discard and to measure that the journal does not have. What it has counts as warmed up."""
        measured = visit.measured - self._made[visit.cell, visit.round, "measured"]
        if measured <= 0 or self._is_long(visit):
            return 0, 0
        return visit.discarded, measured

    def _make(self, visit: Visit) -> None:
        discarded, measured = self._remaining(visit)
        try:
            target = self._target(visit.cell)
            for kind, times in (("warm-up", discarded), ("measured", measured)):
                for _ in range(times):
                    if not self._is_long(visit):
                        self._keep(visit, kind, target)
        except LimesError as error:
            self._give_up(visit, error)

    def _target(self, cell: Cell) -> Target:
        target = self._targets.get(cell)
        if target is None:
            target = self._open(cell)
            # Held from here on, so that it is closed even if it cannot be prepared.
            self._targets[cell] = target
            target.prepare()
            self.caveats[cell] = target.caveat
        return target

    def _keep(self, visit: Visit, kind: str, target: Target) -> None:
        started = time.time_ns()
        sample = target.measure()
        record = Record(visit.cell, visit.round, kind, started, _with_digest(sample))
        self._journal.append(record)
        self._count(record)

    def _give_up(self, visit: Visit, error: LimesError) -> None:
        self._unfilled.add(visit.cell)
        record = Record(
            visit.cell, visit.round, "unfilled", time.time_ns(), Sample(0), f"{error.kind}: {error.message}"
        )
        self._journal.append(record)
        if target := self._targets.pop(visit.cell, None):
            with suppress(LimesError):
                target.close()

    def _count(self, record: Record) -> None:
        self._made[record.cell, record.round, record.kind] += 1
        self._spent_ns[record.cell] += record.sample.wall_ns
        if record.kind == "measured":
            self._visited[record.cell].add(record.round)
            self._visit_ns[record.cell, record.round] += record.sample.wall_ns

    def _learn(self, cell: Cell, seconds: float) -> None:
        # The first visit prepares the target too: later ones say more about those to come.
        before = self._visit_seconds.get(cell)
        self._visit_seconds[cell] = seconds if before is None else 0.5 * before + 0.5 * seconds

    def _progress(self, visits: list[Visit], position: int) -> Progress:
        due: Counter[Cell] = Counter()
        for visit in visits[position:]:
            if visit.cell not in self._unfilled:
                due[visit.cell] += 1
        for cell in due:
            due[cell] = min(due[cell], self._affordable(cell))
        known = [self._visit_seconds[cell] for cell in due if cell in self._visit_seconds]
        guess = sum(known) / len(known) if known else None
        left = (
            None
            if guess is None
            else sum(times * self._visit_seconds.get(cell, guess) for cell, times in due.items())
        )
        total = sum(due.values())
        return Progress(position, position + total, visits[position].cell, left)

    def _affordable(self, cell: Cell) -> int:
        """How many more visits its time allows, from what one took so far."""
        form, visited = self._plan.form, len(self._visited[cell])
        if not visited:
            return form.rounds
        a_visit = max(1.0, self._spent_ns[cell] / visited)
        by_time = int(max(0.0, self._share_ns() - self._spent_ns[cell]) / a_visit) + 1
        return max(by_time, form.least - visited)


def _with_digest(sample: Sample) -> Sample:
    return replace(sample, answer=hashlib.sha256(sample.answer).hexdigest()[:12].encode())
