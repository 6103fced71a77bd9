"""How long to keep an instance for the next call: policies replayed over arrivals.

A simulation with measured costs: nothing is run. Calls of one function arrive, each needs an instance for as
long as it takes; a policy says how long an instance that has become free is kept, and which are started
ahead. What comes out is cold starts against memory.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Costs:
    """What the function costs, from measurements."""

    cold_seconds: float
    execute_seconds: float
    memory_mib: float
    """What an instance that waits holds."""


@dataclass(frozen=True)
class Wait:
    """What is done with an instance that has just become free."""

    drop_after: float
    """Seconds until it is dropped; 0 drops it at once."""
    prewarm_after: float = 0.0
    """Seconds until an instance is made in its place, ahead of the next call; 0 keeps this one."""


class Policy(Protocol):
    """Decides what is kept."""

    @property
    def name(self) -> str:
        """How the report calls it."""

    @property
    def pool(self) -> int:
        """Instances kept ready at all times, beside what :meth:`free` keeps."""

    def free(self, gaps: Sequence[float]) -> Wait:
        """What to do with an instance that became free.

        Args:
            gaps: the seconds between arrivals so far, the newest last.
        """


@dataclass(frozen=True)
class NoKeepAlive:
    """A fresh start for each call; nothing is held."""

    name: str = "none"
    pool: int = 0

    def free(self, gaps: Sequence[float]) -> Wait:  # noqa: ARG002 (the protocol's)
        """Drop it at once."""
        return Wait(0.0)


@dataclass(frozen=True)
class Fixed:
    """Kept for a time that is always the same, as most platforms do."""

    seconds: float
    pool: int = 0

    @property
    def name(self) -> str:
        """``keep 600 s``."""
        return f"keep {self.seconds:g} s"

    def free(self, gaps: Sequence[float]) -> Wait:  # noqa: ARG002 (the protocol's)
        """Keep it for the fixed time."""
        return Wait(self.seconds)


@dataclass(frozen=True)
class Pool:
    """So many instances always ready, made anew when one is taken; those that were used are dropped."""

    pool: int

    @property
    def name(self) -> str:
        """``pool of 2``."""
        return f"pool of {self.pool}"

    def free(self, gaps: Sequence[float]) -> Wait:  # noqa: ARG002 (the protocol's)
        """Drop it: the pool makes a fresh one."""
        return Wait(0.0)


@dataclass
class Histogram:
    """Dropped at once, made again shortly before the next call is likely, kept until it is unlikely.

    The hybrid policy of Shahrad and others («Serverless in the Wild», ATC 2020): a histogram of the gaps
    between calls in bins of a minute up to four hours; its 5th percentile, less a tenth, is when to make one,
    its 99th, plus a tenth, when to give up. Until enough gaps were seen, or when most lie beyond the
    histogram, a fixed time.
    """

    name: str = "histogram"
    pool: int = 0
    bin_seconds: float = 60.0
    bins: int = 240
    margin: float = 0.1
    least: int = 10
    _counts: list[int] = field(default_factory=list, init=False, repr=False)
    _seen: int = field(default=0, init=False, repr=False)
    _beyond: int = field(default=0, init=False, repr=False)

    def free(self, gaps: Sequence[float]) -> Wait:
        """Keep by the histogram of all gaps so far."""
        self._counts = self._counts or [0] * self.bins
        for gap in gaps[self._seen :]:
            index = int(gap / self.bin_seconds)
            if index < self.bins:
                self._counts[index] += 1
            else:
                self._beyond += 1
        self._seen = len(gaps)
        within = self._seen - self._beyond
        longest = self.bins * self.bin_seconds
        if within < self.least or self._beyond > within:
            return Wait(longest)
        prewarm = self._percentile(0.05, within) * self.bin_seconds * (1 - self.margin)
        drop = (self._percentile(0.99, within) + 1) * self.bin_seconds * (1 + self.margin)
        return Wait(drop, prewarm)

    def _percentile(self, q: float, within: int) -> int:
        """The first bin by which a part `q` of the gaps has passed."""
        passed = 0
        for index, count in enumerate(self._counts):
            passed += count
            if passed >= q * within:
                return index
        return self.bins - 1


@dataclass(frozen=True)
class Outcome:
    """What a policy came to."""

    policy: str
    calls: int
    cold: int
    memory_mib_seconds: float
    """Memory held by instances that waited, times how long; what a call uses while it runs is not in it."""
    seconds: float
    """From the start, at 0, to the end."""

    @property
    def cold_rate(self) -> float:
        """The part of the calls that waited for a start."""
        return self.cold / self.calls if self.calls else 0.0

    @property
    def mean_memory_mib(self) -> float:
        """Memory held on average while nobody used it."""
        return self.memory_mib_seconds / self.seconds if self.seconds else 0.0


def standard() -> list[Policy]:
    """The policies that a study compares."""
    return [
        NoKeepAlive(),
        Fixed(10.0),
        Fixed(60.0),
        Fixed(600.0),
        Fixed(3600.0),
        Pool(1),
        Pool(4),
        Histogram(),
    ]


def replay(arrivals: Sequence[float], policy: Policy, costs: Costs, until: float | None = None) -> Outcome:
    """Run a policy over arrivals.

    Args:
        arrivals: seconds, rising.
        policy: a fresh one: it may learn while it is replayed.
        costs: what a start, a call and a waiting instance cost.
        until: when to stop counting memory; None is the last arrival.
    """
    end = max(until if until is not None else 0.0, arrivals[-1] if arrivals else 0.0)
    simulation = _Simulation(policy, costs, end)
    for at in arrivals:
        simulation.call(at)
    return simulation.outcome(len(arrivals))


class _Simulation:
    """Instances of one function. Those kept after a call form one group, those of the pool another."""

    def __init__(self, policy: Policy, costs: Costs, end: float) -> None:
        self._policy, self._costs, self._end = policy, costs, end
        self._busy: list[tuple[float, Wait]] = []
        self._kept: deque[tuple[float, float]] = deque()
        """When each is there from, and until; the newest last, and taken first."""
        self._pool = [0.0] * policy.pool
        """When each place of the pool is filled from."""
        self._gaps: list[float] = []
        self._last: float | None = None
        self._cold = 0
        self._held = 0.0

    def call(self, at: float) -> None:
        """One arrival."""
        self._settle(at)
        if self._last is not None:
            self._gaps.append(at - self._last)
        self._last = at
        cold = not self._take(at)
        self._cold += cold
        took = self._costs.execute_seconds + (self._costs.cold_seconds if cold else 0.0)
        heapq.heappush(self._busy, (at + took, self._policy.free(self._gaps)))

    def outcome(self, calls: int) -> Outcome:
        """What it came to, with all that still waits."""
        self._settle(self._end)
        for start, stop in self._kept:
            self._hold(start, stop)
        for since in self._pool:
            self._hold(since, self._end)
        return Outcome(self._policy.name, calls, self._cold, self._held * self._costs.memory_mib, self._end)

    def _settle(self, at: float) -> None:
        """Calls that have ended leave their instance to the policy; those kept too long are dropped."""
        while self._busy and self._busy[0][0] <= at:
            ended, wait = heapq.heappop(self._busy)
            if wait.drop_after > wait.prewarm_after:
                self._kept.append((ended + wait.prewarm_after, ended + wait.drop_after))
        still = deque[tuple[float, float]]()
        for start, stop in self._kept:
            if stop <= at:
                self._hold(start, stop)
            else:
                still.append((start, stop))
        self._kept = still

    def _take(self, at: float) -> bool:
        """Use an instance that waits, if there is one."""
        for index in range(len(self._kept) - 1, -1, -1):
            start, _ = self._kept[index]
            if start <= at:
                self._hold(start, at)
                del self._kept[index]
                return True
        for place, since in enumerate(self._pool):
            if since <= at:
                self._hold(since, at)
                self._pool[place] = at + self._costs.cold_seconds
                return True
        return False

    def _hold(self, start: float, stop: float) -> None:
        self._held += max(0.0, min(stop, self._end) - start)
