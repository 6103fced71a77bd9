"""`limes new`: a project from a template."""

from pathlib import Path
from typing import Annotated

import typer

from limes.build.language import CONTRACTS, LANGUAGES, Contract
from limes.cli import options
from limes.cli.output import guarded, new_app, note, write_json

app = new_app()


@app.command("new")
@guarded
def new(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="The function's name, and the folder made.")],
    language: Annotated[
        str, typer.Option("--lang", "-l", metavar="LANGUAGE", help=", ".join(LANGUAGES))
    ] = "python",
    contract: Annotated[
        str,
        typer.Option(
            "--contract",
            "-c",
            metavar="CONTRACT",
            help=f"{', '.join(CONTRACTS)}: text to text, HTTP requests, or a command.",
        ),
    ] = "http",
    as_json: options.Json = False,
) -> None:
    """Make a folder with a function that builds and runs as it is: source, limes.toml, a test, a README."""
    from typing import cast

    from limes.build import scaffold

    made = scaffold.create(folder, language, cast("Contract", contract))
    if as_json:
        write_json(
            {
                "folder": str(folder.absolute()),
                "language": language,
                "contract": contract,
                "files": [str(path.relative_to(folder)) for path in made],
            }
        )
        return
    print(folder)
    note(f"next: limes build {folder}, limes run {folder}; {folder / 'README.md'} says more")
