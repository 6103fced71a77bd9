"""Go functions, by Go's own compiler for ``wasip1`` and `wit-bindgen go`.

The function is a Go module. A package ``function`` in its root exports ``Handle(http.ResponseWriter,
*http.Request)`` or ``Run(args string) string``; a package ``main`` is a command, and needs no bindings.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from limes.build import interfaces, toolchain
from limes.build.c import INSTALL_WIT_BINDGEN
from limes.build.language import Contract
from limes.build.project import OPERATION, Project
from limes.build.toolchain import Tool
from limes.errors import InvalidArgument

INSTALL_GO = "install Go 1.25 or newer from https://go.dev/dl"
INSTALL_WASM_TOOLS = "pip install 'limes[build]'"

_SHIMS = Path(__file__).resolve().parent / "shims" / "go"
_DEFINITIONS: tuple[tuple[str, Contract], ...] = (
    (r"^func\s+Run\s*\(", "run"),
    (r"^func\s+Handle\s*\(", "http"),
    (r"^package\s+main\b", "cli"),
)
_GO = {"GOOS": "wasip1", "GOARCH": "wasm", "GOFLAGS": "-mod=mod", "GOWORK": "off"}
_SMALL = ("-trimpath", "-ldflags=-s -w -checklinkname=0")
_RUNTIME = "go.bytecodealliance.org/pkg v0.2.1"
"""What the bindings import. They would name a newer version, which not every module proxy has; this one has
all they use.
"""
_PACKAGES = {"run": "export_component_run_run", "http": "export_wasi_http_incoming_handler"}
"""Where the bindings look for the exports of a contract."""


class Toolchain:
    """Builds Go."""

    def tools(self, project: Project) -> Sequence[Tool]:
        """Go; for all but commands wit-bindgen and wasm-tools too."""
        go = toolchain.find("go", install=INSTALL_GO)
        if contract_of(project) == "cli":
            return [go]
        return [
            go,
            toolchain.find("wit-bindgen", install=INSTALL_WIT_BINDGEN),
            toolchain.find("wasm-tools", install=INSTALL_WASM_TOOLS),
        ]

    def build(self, project: Project, work: Path) -> Path:
        """Generate a main module around the function's, build it, and give it its component types."""
        contract = contract_of(project)
        go, *more = self.tools(project)
        what = f"building '{project.name}'"
        core = work / "core.wasm"
        if contract == "cli":
            build = [*go.command, "build", *_SMALL, "-o", core, "."]
            toolchain.run(build, cwd=project.folder, what=what, env={**_GO, "GOFLAGS": None})
            return core
        generator, wasm_tools = more
        wit = interfaces.lay_out(work)
        main = _main_module(project, contract, generator, wit, work)
        build = [*go.command, "build", "-buildmode=c-shared", *_SMALL, "-o", core, "."]
        toolchain.run(build, cwd=main, what=what, env=_GO)
        made = work / "made.wasm"
        embed = ["component", "embed", wit, "--world", interfaces.WORLDS[contract], core, "-o", made]
        toolchain.run([*wasm_tools.command, *embed], cwd=work, what=what)
        return made


def contract_of(project: Project) -> Contract:
    """The contract of a function, by the package and the names in the root of its module.

    Raises:
        InvalidArgument: there is nothing of any contract, or of several.
    """
    files = [file for file in project.folder.glob("*.go") if not file.name.endswith("_test.go")]
    text = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
    found = [contract for pattern, contract in _DEFINITIONS if re.search(pattern, text, re.MULTILINE)]
    if len(found) == 1:
        return found[0]
    what = f"those of {' and '.join(found)}" if found else "none of them"
    raise InvalidArgument(
        f"the Go package in '{project.folder}' must be `package function` with "
        f"`func Handle(w http.ResponseWriter, r *http.Request)` or `func Run(args string) string`, "
        f"or `package main`; it has {what}",
        operation=OPERATION,
    )


def _main_module(project: Project, contract: Contract, generator: Tool, wit: Path, work: Path) -> Path:
    """The module that is built: the bindings, the exports, and the function as a requirement."""
    folder = work / "main"
    shutil.rmtree(folder, ignore_errors=True)
    world = interfaces.WORLDS[contract]
    toolchain.run(
        [*generator.command, "go", wit, "--world", world, "--out-dir", folder, "--format=false"],
        cwd=work,
        what="generating the Go bindings",
    )
    module = _module_of(project)
    (folder / "go.mod").write_text(
        f"module wit_component\n\ngo 1.25\n\nrequire {_RUNTIME}\n\nrequire {module} v0.0.0\n\n"
        f"replace {module} v0.0.0 => {project.folder}\n",
        encoding="utf-8",
    )
    # The sums of what the function requires; those of the bindings' own requirement are added by Go.
    if (sums := project.folder / "go.sum").is_file():
        shutil.copy(sums, folder)
    exports = folder / _PACKAGES[contract]
    exports.mkdir(exist_ok=True)
    shim = (_SHIMS / f"{contract}.go.in").read_text(encoding="utf-8")
    (exports / "export.go").write_text(shim.replace("FUNCTION", module), encoding="utf-8")
    return folder


def _module_of(project: Project) -> str:
    text = (project.folder / "go.mod").read_text(encoding="utf-8", errors="replace")
    if match := re.search(r"^module\s+(\S+)", text, re.MULTILINE):
        return match[1].strip('"`')
    raise InvalidArgument(
        f"'{project.folder / 'go.mod'}' names no module; write `module NAME`", operation=OPERATION
    )
