"""The functions Limes ships: as a component in the process, beside the same code as a Linux program."""

from __future__ import annotations

import subprocess
from pathlib import Path
from statistics import median

import table
from servers import BenchError

from limes import Runtime

BUILD = Path(__file__).resolve().parents[1] / "functions" / "build"
ROUNDS = 5
CALLS = 5


def apps(home: Path) -> dict[str, float]:
    """What the guest's code takes, `mandelbrot` and `image`: component / program, in turn."""
    runtime = Runtime(home / "cache")
    ratios, rows = {}, []
    for name in ("mandelbrot", "image"):
        component, program = BUILD / f"{name}.wasm", BUILD / "native" / name
        for path in (component, program):
            if not path.exists():
                raise BenchError(f"{path} is not built; run `make functions`")
        function = runtime.load(component)
        inside: list[float] = []
        native: list[float] = []
        for _ in range(ROUNDS):
            inside.append(median(function.run().timing.execute for _ in range(CALLS)))
            native.append(median(_program_ns(program)))
        ratios[name] = median(wasm / machine for wasm, machine in zip(inside, native, strict=True))
        rows.append(
            [name, f"{median(inside) / 1e6:.1f}", f"{median(native) / 1e6:.1f}", f"{ratios[name]:.2f}"]
        )
    table.show("execution (ms)", ("function", "component", "program", "ratio"), rows)
    return {f"apps.{name}_vs_native": ratio for name, ratio in ratios.items()}


def _program_ns(program: Path) -> list[int]:
    command = [str(program), "--time", str(CALLS)]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 (ours)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}\n{done.stderr}")
    return [int(line) for line in done.stdout.split()]
