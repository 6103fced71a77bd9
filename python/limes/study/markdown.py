"""The summary of a study as Markdown, for the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limes.study import paper
from limes.study.verdict import milliseconds
from limes.units import format_size


def page(summary: Mapping[str, Any], source: str) -> str:
    """Verdicts, the table of cells, the paper's figures and the experiments' findings.

    Args:
        summary: as :func:`limes.study.summary.summarise` gives it.
        source: where its file is, for the reader.
    """
    filled = [row for row in summary["cells"] if not row["reason"]]
    made = (
        f"Made from `{source}`, which `{summary['command']}` wrote on this machine: "
        f"{_machine(summary['machine'])}. Absolute figures hold for that machine. Times are medians with "
        "their 95 % intervals."
    )
    parts = [
        "# What functions cost",
        made,
        "## Verdicts",
        *(f"**{name}.** {verdict['text']}" for name, verdict in summary["verdicts"].items()),
        "## Cells",
        _cells(filled),
        _reasons(summary["cells"]),
    ]
    if summary["paper"]:
        parts += [
            "## Beside the paper",
            f"{paper.CITATION}. Its figures are from {paper.MACHINE}.",
            _paper(summary),
        ]
    if summary["experiments"]:
        parts.append("## Past the paper")
        for told in summary["experiments"].values():
            answer = told.get("finding") or f"Not measured: {told['reason']}"
            parts += [f"**{told['title']}.** {told['question']} {answer}"]
    return "\n\n".join(part for part in parts if part)


def _machine(machine: Mapping[str, Any]) -> str:
    virtual = ", itself a virtual machine" if machine["hypervisor"] else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores{virtual}, {format_size(machine['memory_bytes'])}, "
        f"Linux {machine['kernel']}; KVM: {machine['kvm']}"
    )


def _cells(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("cell", "calls", "cold start", "99 %", "execution", "of native", "memory", "mind")
    body = [
        (
            f"`{row['cell']}`",
            str(row["calls"]),
            _interval(row["cold_ms"]),
            milliseconds(row["cold_ms"]["p99"]),
            _interval(row["execute_ms"]),
            f"{row['execute_vs_native']['value']:.3g}x" if row.get("execute_vs_native") else "",
            f"{row['resident_mib']:.3g} MiB",
            row["caveat"],
        )
        for row in rows
    ]
    return _table(head, body)


def _reasons(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many cells have no figures, by reason."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["reason"]:
            reasons.setdefault(row["reason"], []).append(f"`{row['cell']}`")
    if not reasons:
        return ""
    lines = [f"- {reason}: {', '.join(cells)}" for reason, cells in reasons.items()]
    return "\n".join(["Cells without figures, and why:", "", *lines])


def _paper(summary: Mapping[str, Any]) -> str:
    head = (
        "the paper's cell", "ours", "cold: ours", "paper", "ratio", "execution: ours", "paper", "ratio",
        "mind",
    )  # fmt: skip
    body = []
    for row in summary["paper"]:
        cells = [f"`{row['paper_cell']}`", f"`{row['our_cell']}`" if row["our_cell"] else "not filled"]
        body.append((*cells, *paper.figures_of(row), row["caveat"]))
    return _table(head, body)


def _interval(figure: Mapping[str, float]) -> str:
    return (
        f"{milliseconds(figure['value'])} ({milliseconds(figure['low'])} to {milliseconds(figure['high'])})"
    )


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
