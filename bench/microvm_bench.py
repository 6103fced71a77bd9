"""A virtual machine for every request: what each mode of each monitor takes, beside the process.

Times are what a node counts for a request, from its acceptance to its answer; medians.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import load
import table
from servers import BenchError, Node, guest, node, request

from limes import Runtime

OUT = Path(__file__).resolve().parent / "out"
CALLS = 60
SLOW_CALLS = 15
IDLE = 20
PAUSE = 0.02
SECONDS = (5, 2)
MIB = 1 << 20

# Result, monitor, mode, calls.
ROWS = (
    ("cold_ms", "builtin", "end-to-end", CALLS),
    ("snapshot_ms", "builtin", "snapshot", CALLS),
    ("reset_ms", "builtin", "reset", CALLS),
    ("warm_ms", "builtin", "warm", CALLS),
    ("firecracker_ms", "firecracker", "end-to-end", SLOW_CALLS),
    ("firecracker_preconfigured_ms", "firecracker", "pre-configured", SLOW_CALLS),
    ("firecracker_snapshot_ms", "firecracker", "snapshot", SLOW_CALLS),
    ("qemu_tcg_ms", "qemu", "end-to-end", SLOW_CALLS),
    ("qemu_tcg_snapshot_ms", "qemu", "snapshot", SLOW_CALLS),
)
PHASES = ("process", "create", "boot", "instantiate", "execute", "reset", "teardown")


def microvm(home: Path) -> dict[str, float]:
    """Every mode of every monitor that works here, one no-op a request."""
    numbers: dict[str, float] = {}
    rows = []
    with node(home, OUT) as started:
        for result, vmm, mode, calls in ROWS:
            name = f"{vmm}-{mode}"
            machine = {"vmm": vmm, "mode": mode, "warm": 4, "accelerator": "tcg"}
            settings: dict[str, object] = {
                "sandbox": "microvm",
                "microvm": machine,
                "limits": {"memory": 16 * MIB},
            }
            try:
                started.deploy(name, guest("run_echo").read_bytes(), settings)
                milliseconds, phases = _timed(started, name, calls)
            except BenchError as error:
                print(f"microvm.{result}: not measured: {error}", file=sys.stderr)
                continue
            numbers[f"microvm.{result}"] = milliseconds
            cells = (f"{phases[phase] / 1e6:.2f}" for phase in PHASES)
            rows.append([f"{vmm}, {mode}", f"{milliseconds:.3f}", *cells])
    table.show("one no-op in a virtual machine (ms)", ("mode", "answer", *PHASES), rows)
    if not numbers:
        raise BenchError("no virtual machine runs here; `limes doctor` says why")
    return numbers


def _timed(started: Node, name: str, calls: int) -> tuple[float, dict[str, float]]:
    """Median milliseconds of a request, and of each phase in nanoseconds.

    Between two of them is a pause, so that a process waits for each, as the modes have it: on two processors one is
    being started meanwhile. What follows an answer, a reset or an end, is over by then and counted as a phase.
    """
    whole, phases = [], []
    before = started.stats(name)
    for _ in range(calls + 1):
        status, answer = request(started.listen, "POST", f"/function/{name}", b"x")
        if status != 200:
            raise BenchError(f"{name} answered {status}: {answer.decode(errors='replace')}")
        time.sleep(PAUSE)
        after = started.stats(name)
        whole.append((after["duration"]["sum"] - before["duration"]["sum"]) * 1e3)
        cost, until = after["phases_ns"], before["phases_ns"]
        phases.append({phase: cost.get(phase, 0) - until.get(phase, 0) for phase in PHASES})
        before = after
    # The first finds nothing prepared.
    return median(whole[1:]), {phase: median(row[phase] for row in phases[1:]) for phase in PHASES}


def microvm_throughput(home: Path) -> dict[str, float]:
    """Requests a second over HTTP, a fresh state for each, beside the process."""
    rates = {}
    with node(home, OUT) as started:
        component = guest("http_hello").read_bytes()
        machines: dict[str, Any] = {"sandbox": "microvm", "limits": {"memory": 16 * MIB}}
        sandboxes: dict[str, dict[str, Any]] = {"wasm": {}, "microvm": machines}
        for name, settings in sandboxes.items():
            started.deploy(name, component, settings)
            measured = load.measure(started.listen, f"/function/{name}", b"Hello, World!\n", SECONDS)
            rates[name] = measured.rps
    table.show(
        f"requests a second, {load.CONNECTIONS} connections",
        ("sandbox", "requests/s"),
        [(name, f"{rate:,.0f}") for name, rate in rates.items()],
    )
    return {"microvm.throughput": rates["microvm"]}


def microvm_idle(home: Path) -> dict[str, float]:
    """Private memory of a machine that waits, its process included."""
    runtime = Runtime(home / "cache")
    before = _children()
    function = runtime.load(
        guest("run_echo"),
        sandbox="microvm",
        microvm={"vmm": "builtin", "mode": "warm", "warm": IDLE},
        memory="16MiB",
    )
    function.run("x")
    _settle(lambda: len(_children() - before) >= IDLE)
    private = sorted(map(_private_mib, _children() - before), reverse=True)[:IDLE]
    table.show(
        "private memory of a machine that waits (MiB)",
        ("machines", "each"),
        [(str(IDLE), f"{median(private):.2f}")],
    )
    return {"microvm.idle_mib": median(private)}


def _children() -> set[int]:
    own = os.getpid()
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdecimal()
                and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == own
            ):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def _private_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))
    return kib / 1024


def _settle(done: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not done():
        if time.monotonic() > end:
            raise BenchError("the machines were not made in 20 s")
        time.sleep(0.01)
