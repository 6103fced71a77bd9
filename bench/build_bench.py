"""How soon a component that was never seen answers, and how fast a Python function is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import table
from servers import BenchError

from limes import Runtime
from limes.runtime import CompileMode

ROOT = Path(__file__).resolve().parents[1]
OUT = Path(__file__).resolve().parent / "out"
FUNCTIONS = ROOT / "functions" / "build"
ROUNDS = 3
CALLS = 300

PYTHON = """\
import json

from wit_world.exports import Run as Contract


class Run(Contract):
    def run(self, args: str) -> str:
        name = json.loads(args)["name"]
        return json.dumps({{"{greeting}": name, "letters": len(name)}})
"""


def python_component(name: str, greeting: str) -> Path:
    """A Python function that reads and writes JSON, built by componentize-py once."""
    folder = OUT / "python" / name
    output = folder / f"{name}.wasm"
    source = PYTHON.format(greeting=greeting)
    module = folder / f"{name}.py"
    if not output.exists() or module.read_text() != source:
        folder.mkdir(parents=True, exist_ok=True)
        module.write_text(source)
        tool = Path(sys.executable).with_name("componentize-py")
        made = folder / "made.wasm"
        world = ["-d", str(ROOT / "wit" / "component-run"), "-w", "runnable"]
        command = [str(tool), *world, "componentize", name, "-p", str(folder), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 (ours)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)}\n{done.stderr}")
        made.replace(output)
    return output


def python(home: Path) -> dict[str, float]:
    """A second Python function's compilation after a first, and a call of it in a fresh instance."""
    first, second = python_component("first", "hello"), python_component("second", "goodbye")
    firsts: list[float] = []
    seconds: list[float] = []
    for number in range(ROUNDS):
        runtime = Runtime(home / f"cache-{number}")
        firsts.append(_load_seconds(runtime, first))
        seconds.append(_load_seconds(runtime, second))
    calls = _fresh_ms(Runtime(home / "cache-0"), second)
    table.show(
        f"a Python function (componentize-py), {ROUNDS} rounds, {CALLS} calls",
        ("", "first", "second"),
        [
            ("load, nothing kept before (s)", f"{median(firsts):.2f}", f"{median(seconds):.2f}"),
            ("call, a fresh instance each (ms)", "", f"{calls:.3f}"),
        ],
    )
    return {
        "build.first_python_s": median(firsts),
        "build.second_python_s": median(seconds),
        "python.fresh_ms": calls,
    }


def _load_seconds(runtime: Runtime, component: Path) -> float:
    begun = time.perf_counter()
    function = runtime.load(component)
    seconds = time.perf_counter() - begun
    if function.timing.cache != "miss":
        raise BenchError(f"{component.name} was in the cache already")
    return seconds


def _fresh_ms(runtime: Runtime, component: Path) -> float:
    function = runtime.load(component)
    took = []
    for _ in range(CALLS):
        result = function.run('{"name": "Limes"}')
        timing = result.timing
        took.append((timing.instantiate + timing.execute + timing.reset) / 1e6)
    if json.loads(result.output) != {"goodbye": "Limes", "letters": 5}:
        raise BenchError(f"{component.name} answered {result.output}")
    return median(took)


def tiered(home: Path) -> dict[str, float]:
    """From a component never seen to its first answer: tiered, and by the optimising compiler alone."""
    mandelbrot = FUNCTIONS / "mandelbrot-io.wasm"
    if not mandelbrot.exists():
        raise BenchError(f"{mandelbrot} is not built; run `make functions`")
    ratios, rows = {}, []
    for component, args in ((mandelbrot, ""), (python_component("first", "hello"), '{"name": "Limes"}')):
        took: dict[CompileMode, list[float]] = {"tiered": [], "optimized": []}
        for number in range(ROUNDS):
            for mode, seconds in took.items():
                folder = home / f"{component.stem}-{mode}-{number}"
                folder.mkdir()
                seconds.append(_first_answer_seconds(component, args, mode, folder))
        ratio = median(fast / slow for fast, slow in zip(took["tiered"], took["optimized"], strict=True))
        ratios[component.stem] = ratio
        rows.append(
            [component.stem, *(f"{median(seconds):.3f}" for seconds in took.values()), f"{ratio:.2f}"]
        )
    table.show("first answer of what was never seen (s)", ("component", "tiered", "optimized", "ratio"), rows)
    return {
        "build.tiered_first_answer_vs_cranelift": ratios["mandelbrot-io"],
        "build.tiered_python_first_answer_vs_cranelift": ratios["first"],
    }


def _first_answer_seconds(component: Path, args: str, mode: CompileMode, folder: Path) -> float:
    runtime = Runtime(folder / "cache")
    dirs = [{"host": str(folder), "guest": "/data", "writable": True}]
    begun = time.perf_counter()
    function = runtime.load(component, compile=mode, dirs=dirs, timeout="60s", cpu="60s")
    first = function.run(args)
    seconds = time.perf_counter() - begun
    deadline = time.monotonic() + 120
    while function.tier != "optimized":
        if time.monotonic() > deadline:
            raise BenchError(f"the optimised code of {component.name} does not come")
        time.sleep(0.05)
    if function.run(args).output != first.output:
        raise BenchError(f"{component.name} answers otherwise once it is optimised")
    return seconds
