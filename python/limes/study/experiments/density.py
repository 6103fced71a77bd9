"""Density: instances alive at once, until memory runs out or there are ten thousand."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from limes.errors import LimesError, Unavailable
from limes.invocation import Invocation
from limes.runtime import Runtime
from limes.study.experiments.node import allow_many_files
from limes.study.experiments.sandboxes import in_each
from limes.study.process import children, private_bytes
from limes.study.statistics import rounded

COUNTS = {
    ("ci", "wasm"): (10, 100, 500),
    ("ci", "microvm"): (10, 50),
    ("quick", "wasm"): (10, 100, 1000, 2000, 5000, 10_000),
    ("quick", "microvm"): (10, 100, 1000, 2000),
    ("full", "wasm"): (10, 100, 1000, 2000, 5000, 10_000),
    ("full", "microvm"): (10, 100, 1000, 2000, 5000, 10_000),
}
"""By form and sandbox: machines take some milliseconds each."""
KEEP_FREE = 0.15
"""The part of the machine's memory that is left to others."""
BUDGET = ("LIMES_MICROVM_MEMORY", "1TiB")
"""What all machines may take: the sandbox counts all memory of each, this experiment looks at what is touched."""
SETTLE_SECONDS = 10.0
START_SECONDS = 0.02
"""How long one instance may take to start, on average."""
STILL_SECONDS = 0.2


@dataclass(frozen=True)
class Density:
    """Instances of a component that touches one page of its memory and then waits."""

    form: str
    name: str = "density"
    title: str = "Density"
    question: str = "How many instances can be alive at once, and what does one more hold?"

    def run(self, work: Path) -> dict[str, Any]:
        """Start instances until there are enough or memory runs out, for each sandbox that works here."""
        ended: list[str] = []
        rows, missing = in_each(lambda sandbox: self._of(sandbox, work, ended))
        return {
            "title": self.title,
            "question": self.question,
            "finding": _finding(rows, [*ended, *missing]),
            "rows": rows,
            "figure": {
                "x": "instances",
                "x_label": "instances alive",
                "x_log": True,
                "panels": [
                    {"y": ["memory_mib"], "label": "Memory of all (MiB)", "log": True},
                    {"y": ["one_more_kib"], "label": "Memory of one more (KiB)"},
                ],
            },
        }

    def _of(self, sandbox: str, work: Path, ended: list[str]) -> list[dict[str, Any]]:
        counts = COUNTS[self.form, sandbox]
        options: dict[str, Any] = {}
        if sandbox != "wasm":
            options = {"sandbox": sandbox}
        known = set(children(os.getpid()))
        os.environ.setdefault(*BUDGET)
        allow_many_files()
        # Slots are for instances in process, and each reserves address space.
        runtime = Runtime(work / "cache", slots=counts[-1] if sandbox == "wasm" else None)
        component = (files("limes.study") / "data" / "waiting.wat").read_bytes()
        waiting = runtime.load(
            component,
            name="waiting",
            timeout="20m",
            cpu="10m",
            concurrency=counts[-1],
            memory="1MiB",
            **options,
        )
        rows: list[dict[str, Any]] = []
        alive: list[Invocation[Any]] = []
        before = previous = held_bytes()
        was = 0
        try:
            for count in counts:
                started = time.perf_counter()
                while len(alive) < count and _room():
                    alive.append(waiting.start([]))
                now = _settled(count)
                if (problem := _ended(alive)) is not None:
                    if not rows:
                        raise problem
                    ended.append(f"In {sandbox}, {len(alive):,} are too many: {problem.message.rstrip('.')}.")
                    break
                living = len(alive) if sandbox == "wasm" else len(set(children(os.getpid())) - known)
                if living <= was:
                    break
                rows.append(
                    {
                        "series": sandbox,
                        "instances": living,
                        "memory_mib": rounded((now - before) / (1 << 20)),
                        "one_more_kib": rounded((now - previous) / (living - was) / 1024),
                        "seconds": rounded(time.perf_counter() - started),
                    }
                )
                previous, was = now, living
                if living < count:
                    ended.append(f"In {sandbox}, no more than {living:,} fit into what is left to them.")
                    break
        finally:
            _stop(alive)
        return rows


def held_bytes() -> int:
    """Memory that only this process and its children hold."""
    return sum(private_bytes(pid) for pid in (os.getpid(), *children(os.getpid())))


def _settled(count: int) -> int:
    """Memory once it has stood still: instances start on other threads."""
    deadline = time.monotonic() + SETTLE_SECONDS + count * START_SECONDS
    last = held_bytes()
    while time.monotonic() < deadline:
        time.sleep(STILL_SECONDS)
        now = held_bytes()
        if abs(now - last) <= 64 << 10:
            return now
        last = now
    return last


def _ended(alive: list[Invocation[Any]]) -> LimesError | None:
    """Why one of them is no longer alive."""
    ended = next((call for call in alive if call.done()), None)
    if ended is None:
        return None
    try:
        ended.result()
    except LimesError as error:
        return error
    return Unavailable("an instance that was to wait has ended", operation="study")


def _room() -> bool:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
            return available > KEEP_FREE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return True


def _stop(alive: list[Invocation[Any]]) -> None:
    for call in alive:
        call.stop()
    for call in alive:
        try:
            call.result(60)
        except (LimesError, TimeoutError):
            # Stopped, as was asked; one that is not gone in a minute is the engine's to end.
            continue


def _finding(rows: list[dict[str, Any]], more: list[str]) -> str:
    told = []
    for sandbox in dict.fromkeys(row["series"] for row in rows):
        last = [row for row in rows if row["series"] == sandbox][-1]
        told.append(
            f"{last['instances']:,} instances in {sandbox} are alive at once and hold "
            f"{last['memory_mib']:.4g} MiB together; one more holds {last['one_more_kib']:.3g} KiB."
        )
    return " ".join([*told, *more])
