"""`limes ps`: what runs now."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.client import NodeClient
from limes.cli.output import guarded, new_app, write_json, write_table
from limes.node.home import Home

app = new_app()


@app.command()
@guarded
def ps(
    function: Annotated[
        str | None,
        typer.Option("--function", help="Only of this function.", autocompletion=options.complete_function),
    ] = None,
    home: options.HomeDir = None,
    as_json: options.Json = False,
) -> None:
    """List the invocations that run now."""
    query = {"function": function} if function else None
    listed = NodeClient(Home(home)).call("GET", "/v1/invocations", query=query)
    if as_json:
        write_json(listed)
        return
    write_table(
        ("id", "function", "revision", "age", "client"),
        [
            (
                row["id"],
                row["function"],
                row["revision"],
                f"{row['age_ms'] / 1000:.1f} s",
                row["client"] or "-",
            )
            for row in listed["invocations"]
        ],
        empty="nothing runs",
    )
