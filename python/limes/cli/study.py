"""`limes study`: what a function costs in every sandbox and mode on this machine, and which to use."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from limes.cli import options
from limes.cli.answer import read_data, read_headers
from limes.cli.output import guarded, new_app, note, progress, write_json, write_table
from limes.cli.study_progress import StudyProgress
from limes.errors import InvalidArgument
from limes.study import plan as planning
from limes.study.folder import DEFAULT, StudyFolder

SUBCOMMANDS = ("run", "report", "check", "plan", "policies")


class _RunByDefault(TyperGroup):
    """`limes study my-function/` is `limes study run my-function/`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before what names no subcommand."""
        if not args or args[0] not in (*SUBCOMMANDS, "--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = new_app(
    "Measure what a function costs in every sandbox and mode on this machine, and say which to "
    "use.\n\n`limes study [FUNCTION...]` is `limes study run`; without a function it studies the paper's "
    "three applications. A folder that is called like a subcommand is written `./report`."
)
app.info.cls = _RunByDefault

Functions = Annotated[
    list[Path] | None, typer.Argument(metavar="FUNCTION...", help=f"Each: {options.COMPONENT_HELP}")
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the study is kept.")]
Place = Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the study is kept.")]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="PATTERN", help="Cells to fill, such as 'noop/*' or '*/wasm/aot'. Repeatable."
    ),
]


@app.command()
@guarded
def run(
    function: Functions = None,
    out: Out = DEFAULT,
    form: Annotated[
        str, typer.Option("--form", help="How much: ci (3 minutes), quick (15) or full (hours).")
    ] = "quick",
    only: Only = None,
    experiment: Annotated[
        list[str] | None,
        typer.Option(
            "--experiment", metavar="NAME", help="Of the experiments, only this; 'none' for none. Repeatable."
        ),
    ] = None,
    native: Annotated[
        Path | None,
        typer.Option("--native", metavar="PROGRAM", help="The same function as a native program: the floor."),
    ] = None,
    args: Annotated[
        str, typer.Option("--args", metavar="TEXT", help="What run functions and commands get.")
    ] = "",
    method: options.Method = None,
    path: options.UrlPath = "/",
    header: options.HeaderList = None,
    data: options.Data = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the order of calls.")] = 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew instead of going on where it stopped.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Measure, summarise, and write the report.

    The study is kept in a folder: records.csv (every call), summary.json, report.html and figures/. One that
    was interrupted goes on where it stopped when the same command is given again. Cells whose sandbox does
    not work here are listed with the reason.
    """
    from limes.study import experiments, study, workloads

    study.require_packages()
    body = read_data(data)
    verb = method or ("GET" if data is None else "POST")
    call = workloads.Call(args, body, verb, path, tuple(read_headers(header)), body)
    studied = _workloads(function, call, native)
    chosen = planning.form_named(form)
    cells = planning.matching(planning.every_cell(workload.name for workload in studied), only or [])
    folder = StudyFolder(out)
    whole = study.Study(
        folder,
        studied,
        planning.Plan(cells, chosen, seed),
        experiments.chosen(chosen, studied, folder, experiment),
        _command(function, form, out),
    )
    with StudyProgress() as shown:
        summary = whole.run(fresh=fresh, tell=shown.cells, tell_experiment=shown.experiment)
    with progress("drawing the report"):
        _write_report(folder, summary)
    _answer(folder, summary, as_json)


@app.command()
@guarded
def report(out: Place = DEFAULT, as_json: options.Json = False) -> None:
    """Make the summary, the page and the figures anew from the records."""
    from limes.study import study

    study.require_packages()
    folder = StudyFolder(out)
    with progress("drawing the report"):
        summary = study.summarised(folder)
        written = _write_report(folder, summary)
    if as_json:
        write_json({"report": str(folder.report), "written": written})
    else:
        print(folder.report)


@app.command()
@guarded
def check(
    out: Place = DEFAULT,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require", metavar="PATTERN", help="Cells that must be filled, whatever the reason. Repeatable."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """See that every cell is filled or says why not, and that the verdicts follow from the records.

    The exit code is 1 when something is wrong.
    """
    from limes.study import study

    study.require_packages()
    folder = StudyFolder(out)
    wrong = study.checked(folder, require or [])
    cells = folder.read_summary()["cells"]
    filled = sum(1 for row in cells if not row["reason"])
    if as_json:
        write_json({"ok": not wrong, "cells": len(cells), "filled": filled, "wrong": wrong})
    else:
        for line in wrong:
            note(line)
        if not wrong:
            print(
                f"{filled} of {len(cells)} cells filled, the others say why not; verdicts follow from the "
                "records"
            )
    if wrong:
        raise typer.Exit(1)


@app.command()
@guarded
def plan(function: Functions = None, only: Only = None, as_json: options.Json = False) -> None:
    """List the cells that a study would fill."""
    from limes.study import workloads

    names = [workload.name for workload in _workloads(function, workloads.Call(), None)]
    cells = planning.matching(planning.every_cell(names), only or [])
    if as_json:
        write_json({"cells": [{"cell": str(cell), "mode": planning.MODES[cell.mode]} for cell in cells]})
    else:
        write_table(("cell", "mode"), [(cell, planning.MODES[cell.mode]) for cell in cells])


@app.command()
@guarded
def policies(
    arrivals: Annotated[
        list[str] | None,
        typer.Option(
            "--arrivals",
            metavar="NAME:RATE",
            help="poisson, bursty or diurnal, with calls a second. Repeatable.",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace", metavar="FILE", help="Calls in the format of the Azure Functions trace of 2021."
        ),
    ] = None,
    cold: Annotated[float, typer.Option("--cold", metavar="MS", help="What a cold start takes.")] = 1.0,
    execute: Annotated[float, typer.Option("--execute", metavar="MS", help="What a call takes.")] = 10.0,
    memory: Annotated[
        float, typer.Option("--memory", metavar="MIB", help="What a waiting instance holds.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of generated arrivals.")] = 1,
    as_json: options.Json = False,
) -> None:
    """Replay keep-alive and pre-warming policies over a day of calls: cold starts against memory held.

    Nothing is run: it is a simulation with the costs given.
    """
    from limes.study import idle
    from limes.study.policies import Costs

    costs = Costs(cold / 1e3, execute / 1e3, memory)
    with progress("replaying"):
        rows = idle.of_trace(trace, costs) if trace is not None else idle.of_patterns(arrivals, costs, seed)
    if as_json:
        write_json({"rows": rows})
        return
    columns = ("series", "policy", "calls", "cold_percent", "memory_mib")
    write_table(
        ("arrivals", "policy", "calls", "cold %", "memory MiB"),
        [
            [f"{row[name]:g}" if isinstance(row[name], float) else row[name] for name in columns]
            for row in rows
        ],
    )


def _workloads(functions: list[Path] | None, call: Any, native: Path | None) -> list[Any]:
    from limes.study import workloads

    if not functions:
        return workloads.shipped(workloads.project_root())
    studied = [workloads.of_path(_built(path), call, native) for path in functions]
    names = [workload.name for workload in studied]
    if len(set(names)) < len(names):
        raise InvalidArgument(
            f"two functions have the same name (found {', '.join(names)}); give one a limes.toml with "
            "another name",
            operation="study",
        )
    return studied


def _built(path: Path) -> Path:
    """The path, its component built first where it has source; the component itself where there is no manifest."""
    from limes.cli.build import build_first
    from limes.manifest import MANIFEST_NAME

    made = build_first(path, quiet=True)
    if made and path.is_dir() and not (path / MANIFEST_NAME).exists():
        return made[1].component
    return path


def _command(functions: list[Path] | None, form: str, out: Path) -> str:
    from limes.study import study

    named = [str(path) for path in functions or []]
    kept = [] if out == DEFAULT else ["--out", str(out)]
    return study.command_of([*named, "--form", form, *kept])


def _write_report(folder: StudyFolder, summary: dict[str, Any]) -> list[str]:
    from limes.study import report as page

    return page.write(folder, summary)


def _answer(folder: StudyFolder, summary: dict[str, Any], as_json: bool) -> None:
    unfilled = {row["cell"]: row["reason"] for row in summary["cells"] if row["reason"]}
    filled = len(summary["cells"]) - len(unfilled)
    if as_json:
        write_json(
            {
                "report": str(folder.report),
                "summary": str(folder.summary),
                "filled": filled,
                "unfilled": unfilled,
                "verdicts": summary["verdicts"],
            }
        )
        return
    for name, verdict in summary["verdicts"].items():
        print(f"{name}: {verdict['text']}")
    note(f"{filled} of {len(summary['cells'])} cells filled; the report says why the others are not")
    print(folder.report)
