"""`limes remove`: take a function off the node."""

from limes.cli import options
from limes.cli.client import NodeClient, function_path
from limes.cli.output import guarded, new_app, write_json
from limes.node.home import Home

app = new_app()


@app.command()
@guarded
def remove(name: options.FunctionName, home: options.HomeDir = None, as_json: options.Json = False) -> None:
    """Remove a function and all its revisions. What runs goes on to its end."""
    answer = NodeClient(Home(home)).call("DELETE", function_path(name))
    if as_json:
        write_json(answer)
    else:
        print(f"removed {answer['removed']}")
