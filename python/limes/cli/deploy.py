"""`limes deploy`: put a component on the node."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from limes.cli import options
from limes.cli.client import NodeClient, function_path
from limes.cli.output import guarded, new_app, progress, write_json
from limes.errors import from_os
from limes.node.home import Home
from limes.units import format_nanoseconds

app = new_app()


@app.command()
@guarded
@options.takes_settings
def deploy(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help=options.COMPONENT_HELP),
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", help="The function's name. Default: the manifest's, or the file's."),
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="HOST", help="A host name whose requests go to it. Repeatable."),
    ] = None,
    compile: options.Compile = None,
    sandbox: options.Sandbox = None,
    vmm: options.Vmm = None,
    accelerator: options.Accelerator = None,
    vm_mode: options.VmMode = None,
    home: options.HomeDir = None,
    as_json: options.Json = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Deploy a component as the new revision of a function; no request fails in between.

    A folder with source is built first. Options stand over what a manifest says.
    """
    from limes.cli.build import build_first

    build_first(file, quiet=as_json)
    machine = options.sandbox_settings(sandbox, vmm, vm_mode, accelerator)
    component, chosen_name, configuration = what(file, name, hosts or [], settings, machine)
    if compile is not None:
        configuration["compile"] = compile
    answer = send(component, chosen_name, configuration, home)
    if as_json:
        write_json(answer)
        return
    print(told(answer))
    print(answer["url"])


def send(component: Path, name: str, configuration: dict[str, Any], home: Path | None) -> dict[str, Any]:
    """Deploy a file; gives what the admin API answered.

    Raises:
        LimesError: it cannot be read, the node cannot be reached, or refused it.
    """
    client = NodeClient(Home(home))
    try:
        body = component.open("rb")
    except OSError as error:
        raise from_os(error, "deploy", f"cannot read '{component}'") from error
    with body, progress(f"deploying {name}"):
        answer: dict[str, Any] = client.call(
            "PUT",
            function_path(name),
            body=body,
            headers={
                "Content-Type": "application/wasm",
                "Content-Length": str(component.stat().st_size),
                "Limes-Config": json.dumps(configuration),
            },
        )
    return answer


def told(answer: dict[str, Any]) -> str:
    """One line about what the admin API answered."""
    timing = answer["timing"]
    cost = (
        "from the cache"
        if timing.get("cache") == "hit"
        else f"compiled in {format_nanoseconds(timing.get('compile', 0))}"
    )
    if timing.get("tier") == "baseline":
        cost += ", being optimised"
    return f"deployed {answer['name']} revision {answer['revision']} ({answer['contract']}, {cost})"


def what(
    file: Path,
    name: str | None,
    hosts: list[str],
    settings: dict[str, Any],
    machine: dict[str, Any] | None = None,
) -> tuple[Path, str, dict[str, Any]]:
    """The component's file, the function's name, and its configuration as the admin API takes it."""
    from limes import manifest
    from limes.cli.build import find_project

    limits, grants = manifest.from_keywords(settings, operation="deploy")
    project = None if (file / manifest.MANIFEST_NAME).exists() else find_project(file)
    if project and file.is_dir():
        # A folder with source alone: the defaults are its configuration.
        base = {}
        component, chosen = project.component, name or manifest.name_of(project.component)
    elif file.is_dir() or file.suffix == ".toml":
        found = manifest.Manifest.read(file)
        base = found.configuration()
        component, chosen = found.component, name or found.name
    else:
        base = {}
        component, chosen = file, name or manifest.name_of(file)
    merged = {
        **base,
        "limits": {**base.get("limits", {}), **limits},
        "grants": {**base.get("grants", {}), **grants},
    }
    if machine:
        merged["sandbox"] = machine["sandbox"]
        merged["microvm"] = {**base.get("microvm", {}), **machine["microvm"]}
    if hosts:
        merged["hosts"] = hosts
    checked = manifest.check(manifest.Configuration, merged, base=Path.cwd(), operation="deploy")
    return component, chosen, checked.model_dump(mode="json")
