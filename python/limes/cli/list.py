"""`limes list`: which functions the node has."""

from limes.cli import options
from limes.cli.client import NodeClient
from limes.cli.output import guarded, new_app, write_json, write_table
from limes.node.home import Home

app = new_app()


@app.command("list")
@guarded
def list_functions(home: options.HomeDir = None, as_json: options.Json = False) -> None:
    """List the functions on the node."""
    listed = NodeClient(Home(home)).call("GET", "/v1/functions")
    if as_json:
        write_json(listed)
        return
    rows = []
    for function in listed["functions"]:
        total = sum(function["requests"].values())
        failed = total - function["requests"].get("ok", 0)
        rows.append(
            (
                function["name"],
                function["revision"],
                function["contract"],
                function["state"],
                total,
                failed,
                function["running"],
                function["updated"][:19].replace("T", " "),
            )
        )
    write_table(
        ("name", "revision", "contract", "state", "requests", "failed", "running", "updated"),
        rows,
        empty="no functions; deploy one with `limes deploy FILE`",
    )
