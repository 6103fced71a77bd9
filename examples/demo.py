"""Limes in two acts: a component through the library, then through a node over HTTP.

Run by ``make demo``. ``--svg FILE`` writes what the terminal shows as a picture.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from limes import Runtime

ROOT = Path(__file__).resolve().parent.parent
COMPONENT = ROOT / "guests" / "build" / "hello.wasm"
PHASES = ("compile", "load", "route", "queue", "instantiate", "execute", "reset")


def main() -> None:
    """Run both acts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--svg", type=Path, help="write the output as a picture")
    options = parser.parse_args()
    console = Console(record=options.svg is not None, width=96)
    with tempfile.TemporaryDirectory() as home:
        library(console, Path(home) / "cache")
        node(console, Path(home) / "node")
    if options.svg is not None:
        console.save_svg(str(options.svg), title="make demo")


def library(console: Console, cache: Path) -> None:
    """Load a component twice (compiled, then from the cache) and run it."""
    console.rule("[bold]the library[/bold]", align="left")
    console.print('Runtime().load("hello.wasm").run("world")')
    table = phases_table("first load", "from the cache", "same function again")
    columns: list[dict[str, Any]] = []
    function = Runtime(cache_dir=cache).load(COMPONENT)
    result = function.run("world")
    columns.append(result.timing.to_json())
    console.print(f"  -> [bold green]{result.output}[/bold green]")
    function = Runtime(cache_dir=cache).load(COMPONENT)
    columns.append(function.run("world").timing.to_json())
    columns.append(function.run("world").timing.to_json())
    fill(table, columns)
    console.print(table)


def node(console: Console, home: Path) -> None:
    """Start a node, deploy the component, call it over HTTP, and stop the node."""
    console.rule("[bold]the node[/bold]", align="left")
    command = [sys.executable, "-m", "limes", "serve", "--home", str(home), "--json"]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        url = f"http://{ready['listen']}/function/hello"
        try:
            console.print("limes deploy hello.wasm --name hello")
            limes(home, "deploy", str(COMPONENT), "--name", "hello")
            console.print(f"curl -d world {url}")
            started = time.perf_counter_ns()
            with urllib.request.urlopen(url, data=b"world") as response:
                answer = response.read().decode()
            took = time.perf_counter_ns() - started
            console.print(
                f"  -> [bold green]{answer}[/bold green] in {took / 1e6:.2f} ms, the client included"
            )
            console.print("limes invoke hello world")
            timings = [limes(home, "invoke", "hello", "world")["timing"] for _ in range(2)]
            table = phases_table("one request", "another")
            fill(table, timings)
            console.print(table)
        finally:
            server.terminate()


def limes(home: Path, *arguments: str) -> dict[str, Any]:
    """Run a command of Limes against the node of ``home`` and return its JSON."""
    command = [sys.executable, "-m", "limes", *arguments, "--home", str(home), "--json"]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return answer


def phases_table(*columns: str) -> Table:
    """Make a table with a column for each call."""
    table = Table(box=None, pad_edge=False)
    table.add_column("phase (microseconds)")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def fill(table: Table, timings: list[dict[str, Any]]) -> None:
    """Add a row for each phase that happened in any of the calls."""
    for phase in PHASES:
        values = [timing[phase] for timing in timings]
        if any(values):
            table.add_row(phase, *(f"{value / 1e3:,.1f}" if value else "-" for value in values))


if __name__ == "__main__":
    main()
