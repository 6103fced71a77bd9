"""`limes invoke`: call a deployed function."""

from typing import Annotated

import typer

from limes.cli import options
from limes.cli.answer import read_data, read_headers, write_answer
from limes.cli.client import NodeClient, function_path
from limes.cli.output import guarded, new_app
from limes.invocation import encode_output
from limes.node.home import Home

app = new_app()


@app.command()
@guarded
def invoke(
    name: options.FunctionName,
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARGS]...", help="For the function; write -- before those that begin with a dash."
        ),
    ] = None,
    method: options.Method = None,
    path: options.UrlPath = "/",
    header: options.HeaderList = None,
    data: options.Data = None,
    include: options.Include = False,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="DURATION", help="For this call, instead of the function's limit."),
    ] = None,
    timing: Annotated[bool, typer.Option("--timing", help="What each phase took, on stderr.")] = False,
    home: options.HomeDir = None,
    as_json: options.Json = False,
) -> None:
    """Call a function on the node, whatever its contract.

    A component:run function gets ARGS joined by blanks (or --data), a command gets ARGS and --data as stdin,
    an HTTP function the request that --method, --path, --header and --data describe. A command's exit code
    becomes ours.
    """
    body, encoding = encode_output(read_data(data))
    answer = NodeClient(Home(home)).call(
        "POST",
        function_path(name, "invoke"),
        value={
            "args": args or [],
            "method": method or ("GET" if data is None else "POST"),
            "path": path,
            "headers": read_headers(header),
            "body": body,
            "body_encoding": encoding,
            "timeout": timeout,
        },
    )
    code = write_answer(answer, as_json=as_json, include=include, timing=timing)
    if code:
        raise typer.Exit(code)
