"""The pictures of a study: drawn by matplotlib without a display, as SVG and PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from limes.study.plan import Cell
from limes.study.summary import Measured
from limes.study.verdict import name_of

COLORS = {"wasm": "#654ff0", "microvm": "#0a8754", "unikernel": "#c8553d", "process": "#5c677d"}
PHASE_COLORS = {
    "process": "#3d5a80", "engine": "#52796f", "compile": "#ffca3a", "load": "#98c1d9", "create": "#6a4c93",
    "restore": "#b5838d", "boot": "#c8553d", "queue": "#e5989b", "instantiate": "#1982c4",
    "execute": "#8ac926", "reset": "#ee6c4d", "teardown": "#7f4f24", "boundary": "#ced4da",
}  # fmt: skip
"""In the order in which phases happen; one that is not here comes before the execution."""
OTHER_COLORS = ("#264653", "#a7c957", "#f4a261", "#9d4edd")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    # Text stays text, and names inside the SVG do not change from one run to the next.
    "svg.fonttype": "none",
    "svg.hashsalt": "limes",
}
LEAST_MS = 1e-4
"""Where a cell that has nothing to start is drawn: a logarithmic axis has no zero."""
PNG_DPI = 144
WIDTH = 10.0
"""Inches."""


def svg(figure: Figure) -> bytes:
    """The figure as SVG; the same figure gives the same bytes."""
    data = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(data, format="svg", metadata={"Date": None})
    # Its parts have their places now; finding them takes as long as drawing.
    figure.set_layout_engine("none")
    return data.getvalue()


def png(figure: Figure) -> bytes:
    """The figure as PNG, 144 dots an inch."""
    data = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(data, format="png", dpi=PNG_DPI)
    return data.getvalue()


def label(cell: Cell) -> str:
    """A cell on an axis: its sandbox and mode, without its function."""
    return f"{cell.place} {cell.mode}"


def distribution(cells: Sequence[Measured], measure: str, title: str) -> Figure:
    """How long each cell took: boxes beside cumulative curves, both on a logarithmic axis in milliseconds.

    The box is the middle half, its line the median, the whiskers the 5th and 95th percentile, dots what is
    beyond.
    """
    with mpl.rc_context(STYLE):
        figure, (boxes, curves) = _panels(2, height=1.4 + 0.32 * len(cells))
        values = [np.maximum(entry.milliseconds(measure), LEAST_MS) for entry in cells]
        names = [label(entry.cell) for entry in cells]
        colors = [COLORS[entry.cell.sandbox] for entry in cells]
        drawn = boxes.boxplot(
            values, orientation="horizontal", whis=(5, 95), widths=0.6,
            patch_artist=True, tick_labels=names, flierprops={"marker": ".", "markersize": 3, "alpha": 0.5},
            medianprops={"color": "black"},
        )  # fmt: skip
        for patch, color in zip(drawn["boxes"], colors, strict=True):
            patch.set(facecolor=color, alpha=0.55)
        boxes.invert_yaxis()
        _time_axis(boxes)
        boxes.set_title(title, loc="left")
        for index, (entry, data) in enumerate(zip(cells, values, strict=True)):
            curves.ecdf(
                data, label=label(entry.cell), color=COLORS[entry.cell.sandbox],
                linestyle=("-", "--", ":", "-.")[index % 4], linewidth=1.4,
            )  # fmt: skip
        _time_axis(curves)
        curves.set_ylim(0, 1.02)
        curves.set_ylabel("part of the calls")
        curves.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure


def phases(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """What each cell's time went into: stacked bars of shares, with the sum beside each."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _panels(1, height=1.6 + 0.3 * len(rows))
        names = _ordered({name for row in rows for name in row["phases_ms"]})
        places = np.arange(len(rows))
        left = np.zeros(len(rows))
        sums = np.array([max(sum(row["phases_ms"].values()), 1e-9) for row in rows])
        for index, name in enumerate(names):
            share = np.array([row["phases_ms"].get(name, 0.0) for row in rows]) / sums
            color = PHASE_COLORS.get(name, OTHER_COLORS[index % len(OTHER_COLORS)])
            axes.barh(places, share, left=left, height=0.7, label=name, color=color)
            left += share
        for place, total in zip(places, sums, strict=True):
            axes.text(1.01, float(place), _time_text(float(total)), va="center", fontsize=8)
        axes.set_yticks(places, [_row_label(row) for row in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
        axes.set_title(title, loc="left")
        axes.legend(
            fontsize=8,
            frameon=False,
            ncols=min(8, len(names)),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.25 / (0.4 + 0.1 * len(rows))),
        )
        return figure


def memory(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """What one more call in each cell holds at its most, in MiB."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _panels(1, height=1.1 + 0.28 * len(rows))
        places = np.arange(len(rows))
        values = [row["resident_mib"] for row in rows]
        axes.barh(places, values, color=[COLORS[row["sandbox"]] for row in rows], alpha=0.7)
        axes.set_yticks(places, [_row_label(row) for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("MiB")
        for place, value in zip(places, values, strict=True):
            axes.text(value, float(place), f" {value:.3g}", va="center", fontsize=8)
        axes.set_title(title, loc="left")
        return figure


def beside_paper(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Cold starts here and in the paper, one line a cell of the paper."""
    shown = [row for row in rows if "our_cold_ms" in row]
    with mpl.rc_context(STYLE):
        figure, (axes,) = _panels(1, height=1.3 + 0.36 * len(shown))
        for place, row in enumerate(shown):
            theirs, ours = row["paper_cold_ms"]["value"], row["our_cold_ms"]
            axes.plot([theirs, ours], [place, place], color="#adb5bd", zorder=1)
            axes.scatter(
                [theirs], [place], color="#5c677d", marker="s", zorder=2, label="paper" if not place else None
            )
            axes.scatter([ours], [place], color="#654ff0", zorder=2, label="here" if not place else None)
        axes.set_yticks(range(len(shown)), [f"{row['our_cell']}" for row in shown])
        axes.invert_yaxis()
        _time_axis(axes)
        axes.set_title("Cold start, here and in the paper (different machines)", loc="left")
        axes.legend(frameon=False, fontsize=8)
        return figure


def lines(experiment: Mapping[str, Any]) -> Figure:
    """An experiment's series, one panel each, as its `figure` describes them.

    `figure` is ``{"x": column, "x_label", "x_log", "panels": [{"y": [columns], "label", "log"}]}``; a row may
    carry `series`, which makes a line for each.
    """
    plan = experiment["figure"]
    rows = experiment["rows"]
    series = list(dict.fromkeys(row.get("series", "") for row in rows))
    with mpl.rc_context(STYLE):
        figure, panels = _panels(len(plan["panels"]), height=3.2)
        for axes, panel in zip(panels, plan["panels"], strict=True):
            for name in series:
                own = [row for row in rows if row.get("series", "") == name]
                for column in panel["y"]:
                    told = " ".join(part for part in (name, column if len(panel["y"]) > 1 else "") if part)
                    axes.plot(
                        [row[plan["x"]] for row in own],
                        [row[column] for row in own],
                        marker=".",
                        label=told or None,
                    )
            axes.set_xlabel(plan["x_label"])
            axes.set_title(panel["label"], loc="left")
            if plan.get("x_log"):
                axes.set_xscale("log")
            if panel.get("log"):
                axes.set_yscale("log")
            else:
                highest = max(row[column] for row in rows for column in panel["y"])
                axes.set_ylim(0, 1.1 * highest or 1)
            if len(series) > 1 or len(panel["y"]) > 1:
                axes.legend(frameon=False, fontsize=7)
        return figure


def _ordered(phases: set[str]) -> list[str]:
    known = list(PHASE_COLORS)
    before = known.index("execute") - 0.5
    return sorted(phases, key=lambda name: (known.index(name) if name in known else before, name))


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _time_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _time_text(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)


def _time_text(ms: float) -> str:
    return f"{ms * 1e3:.3g} µs" if ms < 1 else f"{ms:.3g} ms" if ms < 1000 else f"{ms / 1e3:.3g} s"


def _row_label(row: Mapping[str, Any]) -> str:
    return label(Cell.parse(row["cell"]))


def alternative(figure_title: str, cells: Sequence[Measured], measure: str) -> str:
    """What a distribution shows, for whoever does not see it."""
    told = [f"{name_of(entry.cell)} {_time_text(entry.interval(measure).value)}" for entry in cells]
    return f"{figure_title}. Medians: {'; '.join(told)}."
