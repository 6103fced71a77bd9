"""`limes logs`: what a function wrote."""

import json
import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from limes.cli import options
from limes.cli.client import NodeClient, function_path
from limes.cli.output import guarded, new_app, write_json
from limes.node.home import Home

app = new_app()


@app.command()
@guarded
def logs(
    name: options.FunctionName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes; with --json a document a line.")
    ] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=1, help="At most the last so many lines.")] = 1000,
    home: options.HomeDir = None,
    as_json: options.Json = False,
) -> None:
    """Show what a function wrote to stdout and stderr, and what the node has to say of it."""
    client = NodeClient(Home(home))
    path = function_path(name, "logs")
    if follow:
        for line in client.stream(path, query={"follow": "true", "limit": tail}):
            print(json.dumps(line) if as_json else text(line), flush=True)
        return
    answer = client.call("GET", path, query={"limit": tail})
    if as_json:
        write_json(answer)
        return
    for line in answer["lines"]:
        print(text(line))


def text(line: dict[str, Any]) -> str:
    """One line of a log, for people."""
    when = datetime.fromtimestamp(line["time_ms"] / 1000).astimezone()
    moment = when.strftime("%H:%M:%S") if sys.stdout.isatty() else when.isoformat(timespec="milliseconds")
    return f"{moment} {line['invocation']} {line['stream']}: {line['text']}"
