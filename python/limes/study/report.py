"""The report of a study: one HTML page that needs nothing else, and the figures as files."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from matplotlib.figure import Figure

from limes.study import figures, journal, paper
from limes.study.folder import StudyFolder, write_whole
from limes.study.plan import MODES, Cell
from limes.study.summary import Measured, measured
from limes.study.verdict import milliseconds
from limes.units import format_size


@dataclass(frozen=True)
class Picture:
    """A figure, its name, and how it was drawn into the page."""

    name: str
    figure: Figure
    svg: bytes


def write(folder: StudyFolder, summary: Mapping[str, Any]) -> list[str]:
    """Write the page and the figures of a study; gives the names of the files.

    Raises:
        LimesIOError: a file cannot be written.
        CorruptedState: the records are damaged.
    """
    cells = [Cell.parse(row["cell"]) for row in summary["cells"]]
    found = measured(journal.read(folder.records), cells)
    page = Page(summary, found)
    write_whole(folder.report, page.html().encode())
    written = [folder.report]
    for picture in page.pictures:
        for suffix, data in (("svg", picture.svg), ("png", figures.png(picture.figure))):
            path = folder.figures / f"{picture.name}.{suffix}"
            write_whole(path, data)
            written.append(path)
    return [str(path) for path in written]


class Page:
    """The page, section by section."""

    def __init__(self, summary: Mapping[str, Any], found: Mapping[Cell, Measured]) -> None:
        self._summary = summary
        self._found = found
        self._filled = [row for row in summary["cells"] if not row["reason"]]
        self.pictures: list[Picture] = []

    def html(self) -> str:
        """The whole page."""
        self.pictures.clear()
        sections = [
            ("Verdicts", self._verdicts()),
            ("Cold start", self._distributions("cold", "Cold start")),
            ("Execution", self._distributions("execute", "Execution")),
            ("Where the time goes", self._phases()),
            ("Memory for one more call", self._memory()),
            ("Beside the paper", self._paper()),
            ("Past the paper", self._experiments()),
            ("Every cell", self._table()),
            ("Not filled", self._unfilled()),
            ("How it was measured", self._method()),
        ]
        body = "\n".join(
            f'<section id="{_anchor(title)}"><h2>{title}</h2>\n{content}\n</section>'
            for title, content in sections
            if content
        )
        links = " · ".join(
            f'<a href="#{_anchor(title)}">{title}</a>' for title, content in sections if content
        )
        frame = (files("limes.study") / "data" / "report.html").read_text(encoding="utf-8")
        return Template(frame).substitute(
            machine=self._machine(), links=links, body=body, command=escape(self._summary["command"])
        )

    def _workloads(self) -> list[str]:
        return list(self._summary["verdicts"])

    def _rows(self, workload: str) -> list[Mapping[str, Any]]:
        return [row for row in self._filled if row["workload"] == workload]

    def _verdicts(self) -> str:
        return "\n".join(
            f'<div class="verdict"><h3>{escape(name)}</h3><p>{escape(verdict["text"])}</p></div>'
            for name, verdict in self._summary["verdicts"].items()
        )

    def _distributions(self, measure: str, title: str) -> str:
        parts = []
        for name in self._workloads():
            cells = [self._found[Cell.parse(row["cell"])] for row in self._rows(name)]
            if cells:
                what = f"{title} of {name}"
                drawn = figures.distribution(cells, measure, what)
                parts.append(
                    self._picture(f"{measure}-{name}", drawn, figures.alternative(what, cells, measure))
                    + self._caveats(self._rows(name))
                )
        note = (
            "Box: the middle half of the calls; line: median; whiskers: 5th and 95th percentile. "
            "Logarithmic axes; what has nothing to start is drawn at 0.1 µs."
        )
        return f"<p>{note}</p>" + "\n".join(parts) if parts else ""

    def _phases(self) -> str:
        parts = []
        for name in self._workloads():
            if rows := self._rows(name):
                told = "; ".join(f"{_short(row)}: {_phase_words(row)}" for row in rows)
                drawn = figures.phases(rows, f"Phases of {name}")
                parts.append(self._picture(f"phases-{name}", drawn, told) + self._caveats(rows))
        note = (
            "Shares of the whole call as its caller sees it, with the sum at the right (means of the "
            "middle half of the calls). <i>boundary</i> is what the caller's clock saw beyond the phases: "
            "from Python into the core and back."
        )
        return f"<p>{note}</p>" + "\n".join(parts) if parts else ""

    def _memory(self) -> str:
        parts = []
        for name in self._workloads():
            if rows := self._rows(name):
                told = "; ".join(f"{_short(row)}: {row['resident_mib']} MiB" for row in rows)
                drawn = figures.memory(rows, f"Memory for one more call of {name}")
                parts.append(self._picture(f"memory-{name}", drawn, told))
        note = (
            "In process: how far resident memory rises above what was held before the call, at its "
            "highest; what all calls share was there before. <i>pre-instantiated</i> is what one more "
            "instance beside those that are there takes, <i>reused</i> what a call takes in the place of "
            "the last one. A native process: what only it holds when it ends. Medians."
        )
        return f"<p>{note}</p>" + "\n".join(parts) if parts else ""

    def _paper(self) -> str:
        rows = self._summary["paper"]
        if not rows:
            return ""
        drawn = ""
        if any("our_cold_ms" in row for row in rows):
            told = "; ".join(
                f"{row['our_cell']}: {milliseconds(row['our_cold_ms'])}, paper "
                f"{milliseconds(row['paper_cold_ms']['value'])}"
                for row in rows
                if "our_cold_ms" in row
            )
            drawn = self._picture("paper", figures.beside_paper(rows), told)
        note = (
            f"<p>{escape(paper.CITATION)}. The paper's figures are from {escape(paper.MACHINE)}. A ratio is "
            "ours over the paper's, so it holds both what differs between the sandboxes and what differs "
            "between the machines.</p>"
        )
        head = (
            "paper's cell",
            "what ran there",
            "ours",
            "cold: ours",
            "paper",
            "ratio",
            "execution: ours",
            "paper",
            "ratio",
            "mind",
        )
        return note + drawn + _html_table(head, [_paper_cells(row) for row in rows])

    def _experiments(self) -> str:
        parts = []
        for name, told in self._summary["experiments"].items():
            part = f"<h3>{escape(told['title'])}</h3><p><i>{escape(told['question'])}</i></p>"
            if told.get("reason"):
                parts.append(part + f'<p class="reason">Not measured here: {escape(told["reason"])}</p>')
                continue
            part += f"<p>{escape(told['finding'])}</p>"
            if told.get("figure") and told["rows"]:
                part += self._picture(f"experiment-{name}", figures.lines(told), told["finding"])
            columns = list(dict.fromkeys(key for row in told["rows"] for key in row))
            body = [[_cell_text(row.get(column, "")) for column in columns] for row in told["rows"]]
            heads = [column.replace("_", " ") for column in columns]
            parts.append(part + _folded(f"{len(body)} rows", _html_table(heads, body)))
        return "\n".join(parts)

    def _table(self) -> str:
        head = (
            "cell", "calls", "cold, median (95 %)", "p99", "execution, median (95 %)", "of native",
            "whole call", "CPU", "page faults", "switches", "memory", "mind",
        )  # fmt: skip
        return _html_table(head, [_table_cells(row) for row in self._filled])

    def _unfilled(self) -> str:
        rows = [row for row in self._summary["cells"] if row["reason"]]
        if not rows:
            return ""
        body = [[escape(row["cell"]), escape(row["reason"])] for row in rows]
        note = f"<p>{len(rows)} of {len(self._summary['cells'])} planned cells have no figures, and why:</p>"
        return note + _folded("the cells", _html_table(("cell", "reason"), body))

    def _method(self) -> str:
        form = self._summary["form"]
        discarded = sum(row["discarded"] for row in self._summary["cells"])
        modes = "".join(f"<li><b>{name}</b>: {escape(text)}</li>" for name, text in MODES.items())
        answers = [name for name, told in self._summary["answers"].items() if len(told) > 1]
        agree = (
            f"<p class='reason'>The sandboxes do not answer the same for {escape(', '.join(answers))}.</p>"
            if answers
            else "<p>All sandboxes gave the same answer for each function.</p>"
        )
        return (
            f"<p>Form <b>{escape(form['name'])}</b>: up to {form['rounds']} rounds. In each round every "
            f"cell is visited once, in an order drawn anew (seed {self._summary['seed']}). All calls "
            f"together have {form['total_seconds']:g} s, each cell that works the same share; it is not "
            f"visited again once that is spent and it was visited {form['least']} times. A fast mode is "
            f"called {form['samples']} times a visit, or for {form['visit_seconds']:g} s, any other once. "
            f"{discarded} calls warmed up and were thrown away: {form['warm_up']} before a cell's first "
            "measured call, and the first of each visit of a fast mode. Intervals are 95 % percentile "
            "bootstrap of the median, drawing whole visits. Files were in the page "
            f"cache.</p>{agree}<ul>{modes}</ul>"
        )

    def _machine(self) -> str:
        machine = self._summary["machine"]
        versions = ", ".join(f"{name} {text}" for name, text in machine["versions"].items() if text)
        facts = [
            f"{machine['cpu']}, {machine['cores']} cores"
            + (", itself a virtual machine" if machine["hypervisor"] else ""),
            format_size(machine["memory_bytes"]),
            f"{machine['system']}, Linux {machine['kernel']}",
            f"KVM: {machine['kvm']}",
            versions,
            f"load when it began {machine['load_average_at_start']}",
        ]
        return " · ".join(escape(fact) for fact in facts)

    def _caveats(self, rows: Iterable[Mapping[str, Any]]) -> str:
        caveats: dict[str, list[str]] = {}
        for row in rows:
            if row["caveat"]:
                caveats.setdefault(row["caveat"], []).append(_short(row))
        return "".join(
            f'<p class="caveat">{escape(", ".join(cells))}: {escape(caveat)}.</p>'
            for caveat, cells in caveats.items()
        )

    def _picture(self, name: str, figure: Figure, alternative: str) -> str:
        drawn = figures.svg(figure)
        self.pictures.append(Picture(name, figure, drawn))
        data = base64.b64encode(drawn).decode()
        return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(alternative, quote=True)}">'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _short(row: Mapping[str, Any]) -> str:
    return figures.label(Cell.parse(row["cell"]))


def _phase_words(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {milliseconds(value)}" for name, value in row["phases_ms"].items())


def _with_interval(figure: Mapping[str, float]) -> str:
    low, high = milliseconds(figure["low"]), milliseconds(figure["high"])
    return f"{milliseconds(figure['value'])} <small>({low} to {high})</small>"


def _table_cells(row: Mapping[str, Any]) -> list[str]:
    ratio = row.get("execute_vs_native")
    return [
        escape(row["cell"]),
        str(row["calls"]),
        _with_interval(row["cold_ms"]),
        milliseconds(row["cold_ms"]["p99"]),
        _with_interval(row["execute_ms"]),
        f"{ratio['value']:.3g}x" if ratio else "",
        milliseconds(row["total_ms"]["value"]),
        milliseconds(row["cpu_ms"]),
        f"{row['minor_faults']:g}",
        f"{row['context_switches']:g}",
        f"{row['resident_mib']:g} MiB",
        f'<span class="caveat">{escape(row["caveat"])}</span>' if row["caveat"] else "",
    ]


def _paper_cells(row: Mapping[str, Any]) -> list[str]:
    cells = [escape(row["paper_cell"]), escape(row["what"]), escape(row["our_cell"] or "not filled here")]
    cells += paper.figures_of(row)
    return [*cells, f'<span class="caveat">{escape(row["caveat"])}</span>' if row["caveat"] else ""]


def _cell_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else escape(str(value))


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
