"""Which sandbox to use for a function, in words, and why; every word follows from the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from limes.study.plan import Cell
from limes.study.statistics import rounded

Row = Mapping[str, Any]
Filled = Mapping[Cell, Row]

COLD_MODES = ("jit", "tiered", "aot", "end-to-end", "snapshot")
"""Modes that hold nothing but files while nobody calls."""
READY_MODES = ("pre-instantiated", "reused", "pre-configured", "reset", "warm")
"""Modes that hold memory, or a process, while nobody calls."""

NOTHING_MS = 1e-4
"""A start shorter than this is none."""

NAMES = {
    "process": "a native process",
    "wasm": "Wasm",
    "microvm": "a microVM",
    "unikernel": "the native unikernel",
}
MODE_NAMES = {"jit": "JIT from nothing", "tiered": "tiered from nothing", "aot": "AOT"}


def name_of(cell: Cell) -> str:
    """A sandbox and mode in words, such as ``Wasm AOT`` or ``a microVM (builtin, snapshot)``."""
    if cell.sandbox == "wasm":
        return f"Wasm {MODE_NAMES.get(cell.mode, cell.mode)}"
    inside = ", ".join(part for part in (cell.vmm, cell.mode) if part and part != "spawn")
    return f"{NAMES[cell.sandbox]} ({inside})" if inside else NAMES[cell.sandbox]


def milliseconds(value: float) -> str:
    """A time with three digits, such as ``0.31 ms`` or ``12.5 us``."""
    return (
        f"{value * 1000:.3g} us"
        if value < 0.1
        else f"{value:.3g} ms"
        if value < 1000
        else f"{value / 1000:.3g} s"
    )


def of(workload: str, filled: Filled) -> dict[str, Any]:
    """The verdict for one function: what to use, the figures behind it, and all of it as text."""
    own = {cell: row for cell, row in filled.items() if cell.workload == workload}
    best_cold = _fastest(own, lambda cell: cell.sandbox in ("wasm", "microvm") and cell.mode in COLD_MODES)
    if best_cold is None:
        return {"use": None, "text": "No sandbox could be measured from cold, so nothing can be recommended."}
    winner = best_cold
    other_sandbox = _fastest(
        own,
        lambda cell: cell.sandbox not in ("process", winner.sandbox) and cell.mode in COLD_MODES,
    )
    rival = other_sandbox or _fastest(
        own, lambda cell: cell.sandbox == winner.sandbox and cell.mode in COLD_MODES and cell != winner
    )
    facts: dict[str, Any] = {"use": str(winner), "cold_ms": own[winner]["cold_ms"]["value"]}
    parts = [_choice(winner, rival, own, facts), _execution(winner, own, facts)]
    if other_sandbox is not None:
        parts.append(_break_even(winner, other_sandbox, own, facts))
    parts += [_ready(winner, own, facts), _isolation(winner, own, facts), _caveats(facts, own)]
    return {**facts, "text": " ".join(part for part in parts if part)}


def _fastest(own: Filled, wanted: Callable[[Cell], bool], measure: str = "cold_ms") -> Cell | None:
    cells = [cell for cell in own if wanted(cell)]
    return min(cells, key=lambda cell: (own[cell][measure]["value"], cell), default=None)


def _choice(winner: Cell, rival: Cell | None, own: Filled, facts: dict[str, Any]) -> str:
    cold = own[winner]["cold_ms"]
    if rival is None:
        return (
            f"Use {name_of(winner)}: it starts in {milliseconds(cold['value'])}; nothing else was measured "
            "beside it."
        )
    against = own[rival]["cold_ms"]
    facts |= {"against": str(rival), "against_cold_ms": against["value"]}
    figures = f"{milliseconds(cold['value'])} against {milliseconds(against['value'])} with {name_of(rival)}"
    if _overlap(cold, against):
        return (
            f"By cold start {name_of(winner)} and {name_of(rival)} cannot be told apart by these runs: "
            f"{figures}."
        )
    return f"Use {name_of(winner)}: it starts in {figures}."


def _execution(winner: Cell, own: Filled, facts: dict[str, Any]) -> str:
    ratio = own[winner].get("execute_vs_native")
    if ratio is None:
        return (
            f"It executes in {milliseconds(own[winner]['execute_ms']['value'])}; there is no native program "
            "to compare."
        )
    facts["execute_vs_native"] = ratio["value"]
    if own[winner]["execute_ms"]["value"] < 0.1:
        return (
            f"It executes in {milliseconds(own[winner]['execute_ms']['value'])}, too little to compare with "
            "native."
        )
    interval = f"95 %: {ratio['low']:.2f} to {ratio['high']:.2f}"
    if ratio["low"] <= 1 <= ratio["high"]:
        return (
            f"Execution cannot be told apart from native by these runs ({ratio['value']:.2f}x, {interval})."
        )
    return f"Execution takes {ratio['value']:.2f}x of native ({interval})."


def _break_even(winner: Cell, other: Cell, own: Filled, facts: dict[str, Any]) -> str:
    """After how many calls a slower execution has eaten up the faster start."""
    mine, theirs = own[winner], own[other]
    slower = mine["execute_ms"]["value"] - theirs["execute_ms"]["value"]
    if slower <= 0 or _overlap(mine["execute_ms"], theirs["execute_ms"]):
        return ""
    calls = (theirs["cold_ms"]["value"] - mine["cold_ms"]["value"]) / slower
    facts["break_even_calls"] = rounded(calls)
    if calls < 1:
        return (
            f"Even for a single call {name_of(other)} is faster in all: it executes {milliseconds(slower)} "
            "faster."
        )
    return (
        f"{name_of(other)[:1].upper() + name_of(other)[1:]} executes {milliseconds(slower)} faster: where "
        f"one start serves more than {calls:.0f} calls, it is faster in all."
    )


def _ready(winner: Cell, own: Filled, facts: dict[str, Any]) -> str:
    ready = _fastest(own, lambda cell: cell.sandbox in ("wasm", "microvm") and cell.mode in READY_MODES)
    if ready is None:
        return ""
    cold = own[ready]["cold_ms"]["value"]
    if cold >= own[winner]["cold_ms"]["value"]:
        return ""
    facts |= {"ready": str(ready), "ready_cold_ms": cold}
    if cold < NOTHING_MS:
        return f"Kept ready, {name_of(ready)} has nothing to start."
    return f"Kept ready, {name_of(ready)} starts in {milliseconds(cold)}."


def _isolation(winner: Cell, own: Filled, facts: dict[str, Any]) -> str:
    """What a virtual machine for each call costs beyond the sandbox in process."""
    if winner.sandbox != "wasm":
        return ""
    machine = _fastest(own, lambda cell: cell.sandbox == "microvm" and cell.mode in COLD_MODES)
    if machine is None:
        return ""
    more = own[machine]["cold_ms"]["value"] - own[winner]["cold_ms"]["value"]
    facts |= {"isolation": str(machine), "isolation_cold_ms": rounded(more)}
    return f"Isolation by hardware, with {name_of(machine)}, costs {milliseconds(more)} more at each start."


def _caveats(facts: Mapping[str, Any], own: Filled) -> str:
    """What must be said of any cell that this verdict names, once each."""
    named = [Cell.parse(facts[key]) for key in ("use", "against", "ready", "isolation") if key in facts]
    told: dict[str, list[str]] = {}
    for cell in dict.fromkeys(named):
        if caveat := own[cell]["caveat"]:
            told.setdefault(caveat, []).append(name_of(cell))
    return " ".join(
        f"Mind that {' and '.join(cells)} ran here {_where(caveat)}." for caveat, cells in told.items()
    )


def _where(caveat: str) -> str:
    return caveat if caveat.startswith("under") else f"with {caveat}"


def _overlap(one: Row, other: Row) -> bool:
    return bool(one["low"] <= other["high"] and other["low"] <= one["high"])
