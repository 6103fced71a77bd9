"""Python functions, by componentize-py: the interpreter, the function and its packages become one component.

The function is ``function.py``. What it defines says what it is: ``run(args: str) -> str``;
``handle(request)``, or ``app`` for an ASGI or WSGI application; ``main(args: list[str])`` for a command.
Packages are those of ``requirements.txt``; they must do without native code, made for other machines.
"""

from __future__ import annotations

import ast
import hashlib
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from limes.build import interfaces, toolchain
from limes.build.language import Contract
from limes.build.project import OPERATION, Project
from limes.build.toolchain import Tool
from limes.errors import BadComponent, InvalidArgument, LimesError

SOURCE = "function.py"
REQUIREMENTS = "requirements.txt"
INSTALL = "pip install 'limes[build]'"
GUEST_PYTHON = "3.14"
"""The version inside componentize-py's components."""

_NAMES: dict[str, Contract] = {"run": "run", "handle": "http", "app": "http", "main": "cli"}
_BINARIES = ("*.so", "*.pyd", "*.dylib")
_ENTRY = """\
import {module}
from limes.guest import entry

{export} = entry.{contract}({module})
"""


class Toolchain:
    """Builds Python."""

    def tools(self, project: Project) -> Sequence[Tool]:
        """componentize-py, and pip or uv when there are packages to install."""
        tools = [toolchain.find("componentize-py", install=INSTALL)]
        if (project.folder / REQUIREMENTS).is_file():
            tools.append(_installer())
        return tools

    def build(self, project: Project, work: Path) -> Path:
        """Put the function, its packages and the guest's part of Limes on one path, and componentize."""
        source = project.folder / SOURCE
        contract = contract_of(source)
        shim = _lay_out_shim(work, contract)
        packages = _install(project, work)
        wit = interfaces.lay_out(work)
        made = work / "made.wasm"
        command = [
            *toolchain.find("componentize-py", install=INSTALL).command,
            "--quiet",
            "--wit-path",
            wit,
            "--world",
            f"limes:function/{interfaces.WORLDS[contract]}",
            "componentize",
            "limes_entry",
            *(word for folder in (shim, project.folder, packages) if folder for word in ("-p", folder)),
            "--output",
            made,
        ]
        try:
            # With a virtual environment around, componentize-py would take that one's packages too.
            toolchain.run(
                command, cwd=work, what=f"building '{project.name}'", env={"VIRTUAL_ENV": str(work / "none")}
            )
        except BadComponent as error:
            raise _explain(error, packages) from None
        return made


def contract_of(source: Path) -> Contract:
    """The contract of a function, by the names at the top of its module.

    Raises:
        BadComponent: it is no valid Python; the message has the line.
        InvalidArgument: it defines none of the names, or those of several contracts.
    """
    try:
        tree = ast.parse(source.read_bytes(), str(source))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        place = f"{source}:{line}" if line else str(source)
        raise BadComponent(f"{place}: {getattr(error, 'msg', error)}", operation=OPERATION) from None
    defined = {name for name in _top_names(tree) if name in _NAMES}
    contracts = {_NAMES[name] for name in defined}
    if len(contracts) == 1:
        return contracts.pop()
    found = f"{' and '.join(sorted(defined))}, which are different contracts" if defined else "none of them"
    raise InvalidArgument(
        f"{source} must define one of: `run(args: str) -> str`; `handle(request)`, or an ASGI or WSGI "
        f"application `app`; `main(args: list[str])`; it defines {found}",
        operation=OPERATION,
    )


def _top_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.ImportFrom(names=imported):
                names.update(alias.asname or alias.name for alias in imported)
    return names


def _lay_out_shim(work: Path, contract: Contract) -> Path:
    """A folder with the main module, and a package `limes` with :mod:`limes.guest` and nothing else."""
    shim = work / "shim"
    shutil.rmtree(shim, ignore_errors=True)
    package = shim / "limes"
    guest = Path(__file__).resolve().parent.parent / "guest"
    shutil.copytree(guest, package / "guest", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text('"""The part of Limes that is inside the sandbox."""\n')
    export = "IncomingHandler" if contract == "http" else "Run"
    module = Path(SOURCE).stem
    (shim / "limes_entry.py").write_text(_ENTRY.format(module=module, export=export, contract=contract))
    return shim


def _installer() -> Tool:
    """pip, or uv in an environment without pip."""
    if find_spec("pip"):
        return toolchain.find_module("pip", "pip", install="python -m ensurepip")
    uv = toolchain.find("uv", install="python -m ensurepip")
    return Tool(uv.name, (*uv.command, "pip"), uv.version)


def _install(project: Project, work: Path) -> Path | None:
    """The packages of ``requirements.txt``, installed anew when it changes; None without one."""
    requirements = project.folder / REQUIREMENTS
    if not requirements.is_file():
        return None
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    packages, stamp = work / "packages", work / "packages.stamp"
    if packages.is_dir() and stamp.is_file() and stamp.read_text() == digest:
        return packages
    shutil.rmtree(packages, ignore_errors=True)
    stamp.unlink(missing_ok=True)
    platforms = ("any", "manylinux2014_x86_64", "manylinux_2_28_x86_64")
    tool = _installer()
    if tool.name == "uv":
        where: list[str] = ["--python", sys.executable, "--python-platform", "x86_64-manylinux_2_28"]
    else:
        where = ["--quiet", "--disable-pip-version-check"]
        where += [word for platform in platforms for word in ("--platform", platform)]
    toolchain.run(
        [
            *tool.command,
            "install",
            *where,
            "--only-binary=:all:",
            f"--python-version={GUEST_PYTHON}",
            "--target",
            packages,
            "-r",
            requirements,
        ],
        cwd=project.folder,
        what=f"installing the packages of {requirements}",
    )
    # Many packages fall back to Python where their native part is not to be found.
    native = [file for pattern in _BINARIES for file in packages.rglob(pattern)]
    for file in native:
        file.unlink()
    stamp.write_text(digest)
    (work / "native.txt").write_text("\n".join(sorted({str(f.relative_to(packages)) for f in native})))
    return packages


def _explain(error: BadComponent, packages: Path | None) -> LimesError:
    """The guest's own traceback, without that of the tool around it."""
    lines = error.context.get("output", "").splitlines()
    starts = [index for index, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    if starts:
        lines = lines[starts[-1] :]
    kept = [line for line in lines if not line.lstrip().startswith(("Caused by", "0:", "1:", "error while"))]
    head = error.message.splitlines()[0]
    message = "\n".join([head, *kept])
    native = packages and (packages.parent / "native.txt")
    if native and native.is_file() and (files := native.read_text().split()):
        message += f"\nnative code cannot be used in a component, and was left out: {', '.join(files)}"
    return BadComponent(message, operation=error.operation, context=error.context)
