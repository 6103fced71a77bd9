"""`limes dev`: build and deploy on every change, and show the log."""

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limes.cli import deploy, logs, options
from limes.cli.client import NodeClient, function_path
from limes.cli.output import guarded, new_app, note, report
from limes.errors import InvalidArgument, LimesError, Unavailable
from limes.node.home import Home

if TYPE_CHECKING:
    from limes.build.project import Project

app = new_app()


@app.command()
@guarded
@options.takes_settings
def dev(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The function's folder.")] = Path(),
    name: Annotated[
        str | None,
        typer.Option("--name", help="The function's name. Default: the manifest's, or the folder's."),
    ] = None,
    home: options.HomeDir = None,
    as_json: options.Json = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Build and deploy a function's folder whenever its source changes, and show what it logs, until Ctrl-C.

    What does not compile is told, and the revision before stays. With --json each event is a JSON line:
    "deployed", "failed" or "log".
    """
    from limes.build import watch
    from limes.cli.build import find_project

    project = find_project(folder)
    if project is None:
        raise InvalidArgument(
            f"'{folder}' holds no source to build; `limes new` makes a project", operation="dev"
        )
    NodeClient(Home(home))  # without a node there is nothing to do
    session = _Session(folder, project, name, settings, home, as_json=as_json)
    try:
        for files in watch.changes(project):
            if files and not as_json:
                note(f"changed: {', '.join(str(file.relative_to(project.folder)) for file in files)}")
            session.update()
    except KeyboardInterrupt:
        return


class _Session:
    """One run of `limes dev`."""

    def __init__(
        self,
        folder: Path,
        project: "Project",
        name: str | None,
        settings: dict[str, Any],
        home: Path | None,
        *,
        as_json: bool,
    ) -> None:
        self._folder, self._project, self._name, self._settings = folder, project, name, settings
        self._home, self._as_json = home, as_json
        self._following = False

    def update(self) -> None:
        """Build and deploy; what goes wrong with the function is told, and does not end the session."""
        from limes.cli.build import build_first

        try:
            build_first(self._folder, quiet=self._as_json)
            component, name, configuration = deploy.what(self._folder, self._name, [], self._settings)
            answer = deploy.send(component, name, configuration, self._home)
        except Unavailable:
            raise
        except LimesError as error:
            self._tell("failed", error.to_json(), error)
            return
        self._tell("deployed", answer, f"{deploy.told(answer)}\n{answer['url']}")
        if not self._following:
            self._following = True
            threading.Thread(target=self._follow, args=(name,), daemon=True).start()

    def _follow(self, name: str) -> None:
        """Show the function's log from here on, until the node goes."""
        client, path = NodeClient(Home(self._home)), function_path(name, "logs")
        try:
            known = client.call("GET", path, query={"limit": 1})["lines"]
            after = known[-1]["seq"] if known else 0
            for line in client.stream(path, query={"follow": "true", "after": after}):
                self._tell("log", line, logs.text(line))
        except LimesError as error:
            self._tell("failed", error.to_json(), error)

    def _tell(self, event: str, value: dict[str, Any], shown: "str | LimesError") -> None:
        if self._as_json:
            print(json.dumps({"event": event, **value}), flush=True)
        elif isinstance(shown, LimesError):
            report(shown, as_json=False)
        else:
            print(shown, flush=True)
