"""A component in this process, in the five modes that Limes has for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limes.errors import InvalidArgument, Unavailable
from limes.invocation import Timing
from limes.runtime import Function, Runtime
from limes.study.target import Meter, Sample, with_boundary
from limes.study.workloads import Workload

CALLED = ("queue", "instantiate", "execute", "reset")
"""Phases of a call on a function that is loaded."""
FINISH_SECONDS = 60.0
"""How long compilation in the background may take after an answer."""


class WasmTarget:
    """One mode of one component, in this process."""

    caveat = ""

    def __init__(
        self, workload: Workload, mode: str, workspace: Path, runtime: Callable[[], Runtime]
    ) -> None:
        """Nothing happens yet.

        Args:
            workload: what is called.
            mode: one of :data:`limes.study.plan.WASM_MODES`.
            workspace: a folder for the workload's files.
            runtime: gives an engine that runs, for the modes that have one; it has a cache on disk.
        """
        self._workload = workload
        self._mode = mode
        self._workspace = workspace
        self._options: dict[str, Any] = {}
        self._shared = runtime
        self._runtime: Runtime | None = None
        self._function: Function | None = None

    def prepare(self) -> None:
        """Fill the compile cache, start the engine, or load the function, as the mode has it."""
        self._options = self._workload.granted(self._workspace)
        if self._mode == "jit":
            return
        if self._mode == "tiered":
            self._options["compile"] = "tiered"
            self._probe_tiered()
            return
        self._runtime = self._shared()
        self._load(self._runtime)
        if self._mode == "reused":
            self._function = self._load(self._runtime)

    def measure(self) -> Sample:
        """Make one call, with what the mode leaves to do when it comes."""
        if self._mode in ("jit", "tiered"):
            return self._from_nothing()
        assert self._runtime is not None  # prepare() made it
        if self._mode == "aot":
            return self._from_cache(self._runtime)
        return self._loaded(self._function or self._load(self._runtime))

    def close(self) -> None:
        """Let go of the engine and the function."""
        self._function = self._runtime = None

    def _from_nothing(self) -> Sample:
        meter = Meter()
        with meter.running():
            began = time.perf_counter_ns()
            runtime = Runtime(cache=False, jit=self._mode == "jit")
            engine = time.perf_counter_ns() - began
            function = self._load(runtime)
            loading = time.perf_counter_ns() - began - engine
            answer = self._workload.call.of(function)
        compiling = function.timing.compile
        _let_finish(function)
        phases = {"engine": engine, "compile": compiling, "load": max(0, loading - compiling)}
        return _sample(meter, {**phases, **_called(answer.timing)}, answer)

    def _from_cache(self, runtime: Runtime) -> Sample:
        meter = Meter()
        with meter.running():
            began = time.perf_counter_ns()
            function = self._load(runtime)
            loading = time.perf_counter_ns() - began
            answer = self._workload.call.of(function)
        if function.timing.compile:
            raise Unavailable(
                f"the compile cache did not have {self._workload.name} although it was just put there; "
                "give it more room, or see `limes cache info`",
                operation="study",
            )
        return _sample(meter, {"load": loading, **_called(answer.timing)}, answer)

    def _loaded(self, function: Function) -> Sample:
        meter = Meter()
        with meter.running():
            answer = self._workload.call.of(function)
        return _sample(meter, _called(answer.timing), answer)

    def _load(self, runtime: Runtime) -> Function:
        return runtime.load(self._workload.component, name=self._workload.name, **self._options)

    def _probe_tiered(self) -> None:
        try:
            self._load(Runtime(cache=False))
        except InvalidArgument as error:
            raise Unavailable(f"no tiered compilation here: {error.message}", operation="study") from error


def _let_finish(function: Function) -> None:
    """Wait for the optimised code: made in the background, it would disturb what is measured next."""
    deadline = time.monotonic() + FINISH_SECONDS
    while getattr(function, "tier", "optimized") == "baseline" and time.monotonic() < deadline:
        time.sleep(0.005)


def answer_bytes(answer: Any) -> bytes:
    """What a function answered, whatever its contract: text, standard output, or a body."""
    found = answer.body if hasattr(answer, "body") else answer.output
    return found if isinstance(found, bytes) else str(found).encode()


def _called(timing: Timing) -> dict[str, int]:
    return {name: getattr(timing, name) for name in CALLED if getattr(timing, name)}


def _sample(meter: Meter, phases: dict[str, int], answer: Any) -> Sample:
    return Sample(
        meter.wall_ns,
        with_boundary(phases, meter.wall_ns),
        meter.resources,
        meter.resident_bytes,
        answer_bytes(answer),
    )
