"""`limes inspect`: what a component is and needs."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from limes.cli import options
from limes.cli.output import guarded, new_app, write_facts, write_json
from limes.errors import from_os
from limes.units import format_size

app = new_app()


@app.command("inspect")
@guarded
def inspect_component(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A component, a wasip1 module, or wat text.")],
    as_json: options.Json = False,
) -> None:
    """Show a component's contract, imports, exports, sizes, and the grants it may ask for."""
    from limes import _native

    try:
        component = file.read_bytes()
    except OSError as error:
        raise from_os(error, "inspect", f"cannot read '{file}'") from error
    found = json.loads(_native.inspect(component))
    if as_json:
        write_json(found)
        return
    modules = [module["size"] for module in found["core_modules"]]
    write_facts(
        [
            ("file", file),
            ("kind", found["kind"]),
            ("contract", found["contract_interface"] or "none that Limes can call"),
            ("size", format_size(found["size"])),
            ("sha256", found["digest"]),
            ("core modules", f"{len(modules)}, {format_size(sum(modules))}" if modules else ""),
            ("may ask for", may_ask_for(found["grants_needed"])),
            ("not offered", ", ".join(found["unsupported_imports"])),
        ]
    )
    _write_interfaces("exports", found["exports"])
    _write_interfaces("imports", found["imports"])


def may_ask_for(grants: list[str]) -> str:
    """What a component's imports say of grants: no more than that, since they are those of its language's library too."""
    if not grants:
        return "nothing: it needs no grants"
    return f"{', '.join(grants)}: its imports allow for that, used or not; what is not granted is refused"


def _write_interfaces(title: str, interfaces: list[dict[str, Any]]) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.text import Text
        from rich.tree import Tree

        tree = Tree(Text(title, "bold"))
        for interface in interfaces:
            branch = tree.add(Text(interface["name"]))
            for item in interface["items"]:
                branch.add(Text(item, "dim"))
        Console().print(tree)
        return
    for interface in interfaces:
        print(f"{title.removesuffix('s')}  {interface['name']}  {' '.join(interface['items'])}".rstrip())
