"""`limes stop`: end an invocation that runs."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.client import NodeClient
from limes.cli.output import guarded, new_app, write_json
from limes.node.home import Home

app = new_app()


@app.command()
@guarded
def stop(
    invocation: Annotated[int, typer.Argument(metavar="ID", help="As `limes ps` shows it.")],
    home: options.HomeDir = None,
    as_json: options.Json = False,
) -> None:
    """Stop a running invocation; its caller gets the error `stopped`."""
    answer = NodeClient(Home(home)).call("DELETE", f"/v1/invocations/{invocation}")
    if as_json:
        write_json(answer)
    else:
        print(f"stopped {answer['stopped']}")
