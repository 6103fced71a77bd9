"""C functions, by Zig's C compiler and `wit-bindgen c`.

The function is ``function.c``, with every other ``.c`` file below the folder. What is defined there says
what it is:
``char *run(const char *args)``; ``void handle(const request_t *request)``; ``int main(...)`` for a command.
``function.h`` (in ``shims/c``) declares what there is to call.
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

INSTALL_ZIG = "pip install 'limes[build]'"
WIT_BINDGEN = "0.63.0"
INSTALL_WIT_BINDGEN = f"cargo install wit-bindgen-cli --version {WIT_BINDGEN}"

_HERE = Path(__file__).resolve().parent
_SHIMS = _HERE / "shims" / "c"
NAMES = _HERE / "c-names.json"
"""Short names for the interfaces: `wit-bindgen` makes every function's name begin with one."""

_WASI = "0.2.12"
_FLAGS = ("-target", "wasm32-wasi", "-Os", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-Wl,-z,stack-size=1048576")
_DEFINITIONS: tuple[tuple[str, Contract], ...] = (
    (r"^\s*(?:const\s+)?char\s*\*\s*run\s*\(", "run"),
    (r"^\s*void\s+handle\s*\(", "http"),
    (r"^\s*int\s+main\s*\(", "cli"),
)


class Toolchain:
    """Builds C."""

    def tools(self, project: Project) -> Sequence[Tool]:
        """Zig, and wit-bindgen for all but commands."""
        zig = toolchain.find_module("ziglang", "ziglang", install=INSTALL_ZIG)
        if contract_of(project) == "cli":
            return [zig]
        return [zig, toolchain.find("wit-bindgen", install=INSTALL_WIT_BINDGEN)]

    def build(self, project: Project, work: Path) -> Path:
        """Generate the bindings, compile them with the function, and link a core module."""
        contract = contract_of(project)
        zig, *generator = self.tools(project)
        compiler = [*zig.command, "cc", *_FLAGS, "-I", project.folder]
        made = work / "made.wasm"
        what = f"building '{project.name}'"
        if contract == "cli":
            toolchain.run([*compiler, *_sources(project), "-o", made], cwd=project.folder, what=what)
            return made
        bindings = _bind(generator[0], contract, work)
        guest = work / "guest.o"
        quiet = ("-w", "-Wno-unused-command-line-argument")
        toolchain.run(
            [*compiler, *quiet, "-c", bindings / "guest.c", "-o", guest], cwd=project.folder, what=what
        )
        toolchain.run(
            [
                *compiler,
                "-mexec-model=reactor",
                *("-I", bindings, "-I", _SHIMS),
                *_sources(project),
                _SHIMS / f"{contract}.c",
                guest,
                bindings / "guest_component_type.o",
                "-o",
                made,
            ],
            cwd=project.folder,
            what=what,
        )
        return made


def contract_of(project: Project) -> Contract:
    """The contract of a function, by what its sources define.

    Raises:
        InvalidArgument: they define none of the names, or those of several contracts.
    """
    text = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in _sources(project))
    found = [contract for pattern, contract in _DEFINITIONS if re.search(pattern, text, re.MULTILINE)]
    if len(found) == 1:
        return found[0]
    what = f"those of {' and '.join(found)}" if found else "none of them"
    raise InvalidArgument(
        f"the C sources in '{project.folder}' must define one of: `char *run(const char *args)`; "
        f"`void handle(const request_t *request)`; `int main(...)`; they define {what}",
        operation=OPERATION,
    )


def renames(version: str) -> list[str]:
    """The options that give `wit-bindgen c` the short names, for interfaces of a version of WASI."""
    names: dict[str, str] = json.loads(NAMES.read_text(encoding="utf-8"))
    words = []
    for interface, short in names.items():
        full = interface if interface.startswith("component:") else f"{interface}@{version}"
        words += ["--rename", f"{full}={short}"]
    return words


def _bind(generator: Tool, contract: Contract, work: Path) -> Path:
    bindings = work / "bindings"
    shutil.rmtree(bindings, ignore_errors=True)
    toolchain.run(
        [
            *generator.command,
            "c",
            interfaces.lay_out(work),
            *("--world", interfaces.WORLDS[contract], "--rename-world", "guest"),
            *renames(_WASI),
            *("--out-dir", bindings),
        ],
        cwd=work,
        what="generating the C bindings",
    )
    return bindings


def _sources(project: Project) -> list[Path]:
    return [file for file in project.sources() if file.suffix == ".c"]
