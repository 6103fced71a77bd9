"""Whole functions in virtual machines: beside the process, beside native functions, and in Python."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median

import table
from apps_bench import BUILD
from build_bench import python_component
from servers import BenchError

from limes import Function, Runtime

VMM = "builtin"
ROUNDS = 5
CALLS = 5
PYTHON_CALLS = 40


def apps(home: Path) -> dict[str, float]:
    """What the guest's code takes, in turn: a component in the process and in a machine, and the native function."""
    runtime = _runtime(home)
    ratios: dict[str, float] = {}
    rows = []
    for name in ("mandelbrot", "image"):
        component, unikernel = BUILD / f"{name}.wasm", BUILD / "unikernel" / name
        for path in (component, unikernel):
            if not path.exists():
                raise BenchError(f"{path} is not built; run `make functions`")
        machine = {"vmm": VMM, "mode": "reset"}
        places = {
            "process": runtime.load(component),
            "machine": runtime.load(component, sandbox="microvm", microvm=machine),
            "native": runtime.load(unikernel, sandbox="microvm", microvm=machine),
        }
        taken = _in_turn(places)
        ratios[f"microvm.{name}_vs_wasm"] = _ratio(taken["machine"], taken["process"])
        ratios[f"microvm.{name}_vs_native"] = _ratio(taken["machine"], taken["native"])
        cells = [f"{median(taken[place]) / 1e6:.1f}" for place in places]
        against = (ratios[f"microvm.{name}_vs_wasm"], ratios[f"microvm.{name}_vs_native"])
        rows.append([name, *cells, *(f"{ratio:.2f}" for ratio in against)])
    table.show(
        "execution (ms)",
        ("function", "process", "machine", "native in a machine", "machine/process", "machine/native"),
        rows,
    )
    return ratios


def python(home: Path) -> dict[str, float]:
    """A Python function in a machine, restored for each call from a snapshot of its started interpreter."""
    function = _runtime(home).load(
        python_component("first", "hello"), sandbox="microvm", microvm={"vmm": VMM, "mode": "snapshot"}
    )
    argument = '{"name": "Limes"}'
    answer = json.loads(function.run(argument).output)
    if answer != {"hello": "Limes", "letters": 5}:
        raise BenchError(f"the Python function answered {answer}")
    took, phases = [], []
    for _ in range(PYTHON_CALLS):
        begun = time.perf_counter()
        cost = function.run(argument).timing
        # The machine is ended after the answer.
        took.append((time.perf_counter() - begun) * 1e3 - cost.teardown / 1e6)
        phases.append((cost.process + cost.create, cost.execute))
    ready, execute = (median(column) / 1e6 for column in zip(*phases, strict=True))
    table.show(
        "a Python function (componentize-py), from a snapshot of its interpreter (ms)",
        ("answer", "restored", "execute"),
        [[f"{median(took):.2f}", f"{ready:.2f}", f"{execute:.2f}"]],
    )
    return {"microvm.python_snapshot_ms": median(took)}


def _runtime(home: Path) -> Runtime:
    runtime = Runtime(home / "cache")
    probed = {found["vmm"]: found["problem"] for found in json.loads(runtime.engine.microvms())}
    if probed[VMM]:
        print(probed[VMM], file=sys.stderr)
        raise BenchError(f"the monitor {VMM} does not run here; `limes doctor` says why")
    return runtime


def _in_turn(places: dict[str, Function]) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {place: [] for place in places}
    answers = {place: function.run().output for place, function in places.items()}
    if len(set(answers.values())) != 1:
        raise BenchError(f"the answers differ: {answers}")
    for _ in range(ROUNDS):
        for place, function in places.items():
            taken[place].append(median(function.run().timing.execute for _ in range(CALLS)))
    return taken


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return median(one / other for one, other in zip(ours, theirs, strict=True))
