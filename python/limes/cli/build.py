"""`limes build`: a component from source."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limes.cli import options
from limes.cli.inspect import may_ask_for
from limes.cli.output import guarded, new_app, progress, write_facts, write_json
from limes.units import format_size

if TYPE_CHECKING:
    from limes.build import Built
    from limes.build.project import Project

app = new_app()


@app.command("build")
@guarded
def build(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The function's folder.")] = Path(),
    force: Annotated[bool, typer.Option("--force", "-f", help="Build even when nothing changed.")] = False,
    as_json: options.Json = False,
) -> None:
    """Build the component of a function's folder: its language is seen from its files.

    function.py is Python, Cargo.toml Rust, function.c C, go.mod Go and function.js JavaScript. Nothing is
    compiled when neither source nor tools changed. When it fails, the last good component stays.
    """
    with progress(f"building {folder.absolute().name}"):
        from limes.build import build as build_folder

        built = build_folder(folder, force=force)
    if as_json:
        write_json(built.to_json())
        return
    how = (
        "unchanged since it was built"
        if built.fresh
        else f"built from {built.language} in {built.seconds:.1f} s"
    )
    write_facts(
        [
            ("component", built.component),
            ("contract", built.contract),
            ("size", format_size(built.size)),
            ("may ask for", may_ask_for(built.grants)),
            ("build", how),
        ]
    )


def find_project(path: Path) -> "Project | None":
    """The project in a folder or of a manifest; None without source, or for a component itself."""
    if path.is_dir() or path.suffix == ".toml":
        from limes.build.project import Project

        return Project.find(path)
    return None


def build_first(path: Path, *, quiet: bool = False) -> "tuple[Project, Built] | None":
    """Build what `limes run` and `limes deploy` were given, when it is source."""
    project = find_project(path)
    if project is None:
        return None
    from limes.build.builder import build_project
    from limes.cli.output import note

    with progress(f"building {project.name}"):
        built = build_project(project)
    if not built.fresh and not quiet:
        note(f"built {built.name} from {built.language} in {built.seconds:.1f} s")
    return project, built
