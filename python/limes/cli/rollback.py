"""`limes rollback`: return to an earlier revision."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.client import NodeClient, function_path
from limes.cli.output import guarded, new_app, progress, write_json
from limes.node.home import Home

app = new_app()


@app.command()
@guarded
def rollback(
    name: options.FunctionName,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="REVISION", help="Which one. Default: the one before the current."),
    ] = None,
    home: options.HomeDir = None,
    as_json: options.Json = False,
) -> None:
    """Make an earlier revision of a function current again; no request fails in between."""
    client = NodeClient(Home(home))
    with progress(f"rolling back {name}"):
        answer = client.call("POST", function_path(name, "rollback"), value={"to": to})
    if as_json:
        write_json(answer)
    else:
        print(f"{answer['name']} is back at revision {answer['revision']}")
