"""JavaScript functions, by componentize-js: StarlingMonkey and the function become one component.

The function is ``function.js``, a module. What it exports says what it is: ``run(args)``, which returns a
string; a default export with a method ``fetch(request)``, which returns a ``Response``; ``main(args)`` for a
command. It may import other modules of its folder; packages of npm have to be bundled into them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from limes.build import interfaces, toolchain
from limes.build.language import Contract
from limes.build.project import OPERATION, Project
from limes.build.toolchain import Tool
from limes.errors import InvalidArgument

SOURCE = "function.js"
PACKAGE = "@bytecodealliance/componentize-js"
VERSION = "0.23.0"
INSTALL = f"npm install --global {PACKAGE}@{VERSION}"
INSTALL_NODE = "install Node.js 20 or newer from https://nodejs.org (Debian: apt-get install nodejs npm)"
ENGINE_WASI = "0.2.10"
"""The version of WASI that StarlingMonkey exports; a component that imports an older 0.2 runs on a newer
one.
"""

_SHIMS = Path(__file__).resolve().parent / "shims" / "javascript"
_MODULES = (".js", ".mjs", ".json")
_EXPORTS: tuple[tuple[str, Contract], ...] = (
    (r"^export\s+(?:async\s+)?function\s+run\b|^export\s+(?:const|let)\s+run\b", "run"),
    (r"^export\s+default\b|^addEventListener\(\s*['\"]fetch", "http"),
    (r"^export\s+(?:async\s+)?function\s+main\b|^export\s+(?:const|let)\s+main\b", "cli"),
)


class Toolchain:
    """Builds JavaScript."""

    def tools(self, project: Project) -> Sequence[Tool]:
        """Node.js, and componentize-js: the project's own, else the one on the path."""
        node = toolchain.find("node", install=INSTALL_NODE)
        return [node, toolchain.find("componentize-js", install=INSTALL, near=project.folder)]

    def build(self, project: Project, work: Path) -> Path:
        """Wrap the function in the exports of its contract, and componentize."""
        node, componentize = self.tools(project)
        contract = contract_of(project.folder / SOURCE)
        wit = interfaces.lay_out(work, wasi=ENGINE_WASI, worlds=_SHIMS / "worlds.wit")
        made = work / "made.wasm"
        settings = {
            # The program on the path is a link into its package.
            "package": str(Path(componentize.command[0]).resolve().parent / "componentize.js"),
            "entry": str(_lay_out(project, contract, work)),
            "wit": str(wit),
            "world": interfaces.WORLDS[contract],
            "http": contract == "http",
            "output": str(made),
        }
        toolchain.run(
            [*node.command, _SHIMS / "build.mjs", json.dumps(settings)],
            cwd=project.folder,
            what=f"building '{project.name}'",
        )
        return made


def _lay_out(project: Project, contract: Contract, work: Path) -> Path:
    """The function's modules and its entry below one folder, as the engine wants them; gives the entry."""
    folder = work / "sources"
    shutil.rmtree(folder, ignore_errors=True)
    for file in project.sources():
        if file.suffix in _MODULES:
            target = folder / "function" / file.relative_to(project.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    entry = folder / "entry.js"
    shim = (_SHIMS / f"{contract}.js").read_text(encoding="utf-8")
    entry.write_text(shim.replace("FUNCTION", f"./function/{SOURCE}"), encoding="utf-8")
    return entry


def contract_of(source: Path) -> Contract:
    """The contract of a function, by what its module exports.

    Raises:
        InvalidArgument: it exports nothing of any contract, or of several.
    """
    text = source.read_text(encoding="utf-8", errors="replace")
    found = [contract for pattern, contract in _EXPORTS if re.search(pattern, text, re.MULTILINE)]
    if len(found) == 1:
        return found[0]
    what = f"those of {' and '.join(found)}" if found else "none of them"
    raise InvalidArgument(
        f"{source} must export one of: `function run(args)`; a default with a method `fetch(request)`; "
        f"`function main(args)`; it exports {what}",
        operation=OPERATION,
    )
