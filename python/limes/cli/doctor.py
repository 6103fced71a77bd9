"""`limes doctor`: what this machine offers."""

import sys
from pathlib import Path

import typer

from limes.cli import options
from limes.cli.output import guarded, new_app, write_json
from limes.runtime import default_cache_dir

app = new_app()

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
_COLORS = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[1;31m"}


@app.command()
@guarded
def doctor(
    home: options.HomeDir = None, cache_dir: options.CacheDir = None, as_json: options.Json = False
) -> None:
    """Look at what this machine offers a node, and say what to do.

    The exit code is 1 when something must be done.
    """
    from limes.node.doctor import examine
    from limes.node.home import Home

    report = examine(Home(home).path, Path(cache_dir or default_cache_dir()).absolute())
    if as_json:
        write_json(report.to_json())
    else:
        width = max(len(check.name) for check in report.checks)
        for check in report.checks:
            mark = _MARKS[check.level]
            if sys.stdout.isatty():
                mark = f"{_COLORS[check.level]}{mark}\x1b[0m"
            print(f"{mark}  {check.name.ljust(width)}  {check.found}")
            if check.advice:
                print(f"      {' ' * width}  -> {check.advice}")
    if report.level == "fail":
        raise typer.Exit(1)
