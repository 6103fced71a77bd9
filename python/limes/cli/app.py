"""The command ``limes``: which subcommands there are, and where each is."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from limes.cli.output import report
from limes.errors import InvalidArgument

COMMANDS = (
    "new",
    "build",
    "dev",
    "run",
    "serve",
    "deploy",
    "invoke",
    "list",
    "describe",
    "rollback",
    "remove",
    "ps",
    "stop",
    "logs",
    "compile",
    "inspect",
    "study",
    "cache",
    "doctor",
    "version",
)
"""Each is the module of that name in this package, which has a Typer called `app`."""


class _LazyGroup(TyperGroup):
    """Imports a command's module when the command is asked for: `limes list` loads no server."""

    def list_commands(self, _ctx: Any) -> list[str]:
        """The subcommands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        """One subcommand, or None."""
        if cmd_name not in COMMANDS:
            return None
        command = get_command(import_module(f"limes.cli.{cmd_name}").app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_LazyGroup,
    invoke_without_command=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def limes(ctx: typer.Context) -> None:
    """Run WebAssembly components: on the spot, or deployed to a node that serves them over HTTP.

    Environment: LIMES_HOME (the node's state and token), LIMES_CACHE_DIR (machine code), LIMES_LOG (debug,
    info, warning or error).
    """
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def run(arguments: list[str]) -> int:
    """Run the command line and give its exit code.

    What cannot be understood is an invalid argument like any other: same message, same exit code.
    """
    try:
        code = app(arguments, prog_name="limes", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message().rstrip(".")
        known = InvalidArgument(f"{message}; `limes --help` and `limes COMMAND --help` say what is accepted")
        report(known, as_json="--json" in arguments)
        return known.exit_code
    return code if isinstance(code, int) else 0
