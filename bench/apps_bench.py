"""The functions Limes ships: as a component in the process, beside the same code without vectors, and as a Linux program."""

from __future__ import annotations

import subprocess
from pathlib import Path
from statistics import median

import table
from servers import BenchError

from limes import Function, Runtime

BUILD = Path(__file__).resolve().parents[1] / "functions" / "build"
ROUNDS = 5
CALLS = 5


def apps(home: Path) -> dict[str, float]:
    """What the guest's code takes, `mandelbrot` and `image`: component / program, and without vectors / with them, in turn."""
    runtime = Runtime(home / "cache")
    ratios, rows = {}, []
    for name in ("mandelbrot", "image"):
        component, scalar, program = (
            BUILD / place for place in (f"{name}.wasm", f"scalar/{name}.wasm", f"native/{name}")
        )
        for path in (component, scalar, program):
            if not path.exists():
                raise BenchError(f"{path} is not built; run `make functions`")
        vectors, plain = runtime.load(component), runtime.load(scalar)
        if vectors.run().output != plain.run().output:
            raise BenchError(f"{scalar} answers otherwise than {component}")
        inside: list[float] = []
        without: list[float] = []
        native: list[float] = []
        for _ in range(ROUNDS):
            inside.append(_component_ns(vectors))
            without.append(_component_ns(plain))
            native.append(median(_program_ns(program)))
        ratios[f"apps.{name}_vs_native"] = _ratio(inside, native)
        ratios[f"apps.{name}_simd_gain"] = _ratio(without, inside)
        rows.append(
            [
                name,
                *(f"{median(took) / 1e6:.1f}" for took in (inside, without, native)),
                *(f"{ratios[f'apps.{name}_{ratio}']:.2f}" for ratio in ("vs_native", "simd_gain")),
            ]
        )
    columns = ("function", "component", "without SIMD", "program", "component / program", "gain by SIMD")
    table.show("execution (ms)", columns, rows)
    return ratios


def _component_ns(function: Function) -> float:
    return median(function.run().timing.execute for _ in range(CALLS))


def _ratio(numerators: list[float], denominators: list[float]) -> float:
    return median(above / below for above, below in zip(numerators, denominators, strict=True))


def _program_ns(program: Path) -> list[int]:
    command = [str(program), "--time", str(CALLS)]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 (ours)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}\n{done.stderr}")
    return [int(line) for line in done.stdout.split()]
