"""What is measured: one function in one sandbox and mode, asked once, with what that cost."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

AFTER_START = ("execute", "reset", "teardown", "boundary")
"""Phases that are no part of a cold start."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the system counted while one call was made, in this process and in the children it waited for."""

    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    minor_faults: int = 0
    major_faults: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One call."""

    wall_ns: int
    """From asking to having the answer, and everything put back, as this process sees it."""
    phases: dict[str, int] = field(default_factory=dict)
    """Nanoseconds by phase, in the order in which they happen."""
    resources: Resources = field(default_factory=Resources)
    resident_bytes: int = 0
    """The most memory that this call held beyond what was held before it; 0 when it could not be told."""
    answer: bytes = b""

    @property
    def cold_ns(self) -> int:
        """What came before the function's own code."""
        return sum(ns for name, ns in self.phases.items() if name not in AFTER_START)


class Target(Protocol):
    """One cell of the plan, made ready and asked again and again."""

    caveat: str
    """What must stand beside every figure of it, such as that a VM was emulated; empty when nothing."""

    def prepare(self) -> None:
        """Do what this mode does ahead of a call. It is not measured.

        Raises:
            LimesError: it does not work here; the message becomes the cell's reason.
        """

    def measure(self) -> Sample:
        """Make one call.

        Raises:
            LimesError: the call failed.
        """

    def close(self) -> None:
        """Give back everything."""


class Meter:
    """What one call costs in resources, as the system counts them."""

    def __init__(self) -> None:
        self.resources = Resources()
        self.resident_bytes = 0
        self.wall_ns = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what happens in the block. Python's collector waits until it is over."""
        collecting = gc.isenabled()
        gc.disable()
        before_resident = _begin_peak()
        before = _usage()
        began = time.perf_counter_ns()
        try:
            yield
        finally:
            self.wall_ns = time.perf_counter_ns() - began
            after = _usage()
            self.resident_bytes = max(0, _status_bytes("VmHWM") - before_resident) if before_resident else 0
            self.resources = Resources(*(b - a for a, b in zip(before, after, strict=True)))
            if collecting:
                gc.enable()


def with_boundary(phases: dict[str, int], wall_ns: int) -> dict[str, int]:
    """The phases, and as `boundary` what the wall clock saw beyond them: the call into the core and back."""
    return {**phases, "boundary": max(0, wall_ns - sum(phases.values()))}


def _usage() -> tuple[int, ...]:
    ours, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        int((ours.ru_utime + theirs.ru_utime) * 1e9),
        int((ours.ru_stime + theirs.ru_stime) * 1e9),
        ours.ru_minflt + theirs.ru_minflt,
        ours.ru_majflt + theirs.ru_majflt,
        ours.ru_nvcsw + theirs.ru_nvcsw,
        ours.ru_nivcsw + theirs.ru_nivcsw,
    )


def _begin_peak() -> int:
    """Start the kernel's record of peak memory anew; gives what is resident now, or 0 when it refuses."""
    _trim()
    try:
        # proc(5): writing 5 to clear_refs sets the peak to what is resident.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    descriptor = os.open("/proc/self/status", os.O_RDONLY)
    try:
        text = os.read(descriptor, 8192)
    finally:
        os.close(descriptor)
    for line in text.splitlines():
        if line.startswith(key.encode() + b":"):
            return int(line.split()[1]) * 1024
    return 0


def _trim() -> None:
    """Give memory the allocator keeps back to the system, so that what the next call takes is seen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
