"""What is run: the paper's three applications, or a function of the user's, with what each is called with."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limes import _native
from limes.errors import InvalidArgument, from_os
from limes.invocation import Request, Response, Result
from limes.runtime import Function

ROOM = {"memory": "512MiB", "timeout": "60s", "cpu": "60s"}
"""Limits where a manifest sets none: a study measures what a function needs, not where it is cut."""

GUEST_FOLDER = "/data"
"""Where a workload with input and output finds its folder."""


@dataclass(frozen=True)
class Call:
    """What a function is called with; which fields count follows its contract."""

    args: str = ""
    stdin: bytes = b""
    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def of(self, function: Function) -> Result[str] | Result[bytes] | Response:
        """Call a function by whatever contract it has.

        Raises:
            LimesError: the guest failed, or was stopped.
        """
        if function.contract == "run":
            return function.run(self.args)
        if function.contract.startswith("http"):
            return function.http(Request(self.method, self.path, self.headers, self.body))
        return function.command(self.args.split(), self.stdin)


@dataclass(frozen=True)
class Workload:
    """One function, as the study runs it."""

    name: str
    component: Path
    native: Path | None = None
    """The same function as a program of this machine; None when there is none."""
    unikernel: Path | None = None
    """The same function as a unikernel without WebAssembly; None when there is none."""
    native_times: bool = False
    """Whether the program, given ``--time 1``, prints the ns its function took instead of its answer."""
    call: Call = field(default_factory=Call)
    options: dict[str, Any] = field(default_factory=dict)
    """Limits and grants, as :meth:`limes.Runtime.load` takes them."""
    folder: Path | None = None
    """What is copied into a fresh folder that the function may read and write, at ``/data``."""
    paper: str = ""
    """The application of the paper that this is."""

    def granted(self, workspace: Path) -> dict[str, Any]:
        """Limits and grants with this workload's own writable folder, made below `workspace`.

        Raises:
            LimesIOError: the folder cannot be made.
        """
        options = {**ROOM, **self.options}
        if self.folder is not None:
            private = workspace / self.name
            try:
                if not private.is_dir():
                    shutil.copytree(self.folder, private)
            except OSError as error:
                raise from_os(error, "prepare workload", f"cannot copy '{self.folder}'") from error
            options["dirs"] = [{"host": str(private), "guest": GUEST_FOLDER, "writable": True}]
        return options


def of_path(path: Path, call: Call, native: Path | None = None) -> Workload:
    """A user's function: a component's file, a ``limes.toml``, or its folder.

    Args:
        path: where it is.
        call: what it is called with.
        native: the same function as a program of this machine, which gets `call.args` as one argument.

    Raises:
        InvalidArgument: it is none of these, or its manifest is not accepted.
        LimesError: it cannot be read, or exports nothing Limes can call.
    """
    program = native.absolute() if native is not None else None
    if path.is_dir() or path.suffix == ".toml":
        from limes.manifest import Manifest

        manifest = Manifest.read(path)
        options = {
            **manifest.limits.model_dump(exclude_unset=True),
            **manifest.grants.model_dump(exclude_unset=True),
        }
        workload = Workload(manifest.name, manifest.component, program, call=call, options=options)
    else:
        from limes.manifest import name_of

        workload = Workload(name_of(path), path.absolute(), program, call=call)
    try:
        found = json.loads(_native.inspect(workload.component.read_bytes()))
    except OSError as error:
        raise from_os(error, "study", f"cannot read '{workload.component}'") from error
    if found["contract"] is None:
        raise InvalidArgument(
            f"'{workload.component}' exports nothing that Limes can call; `limes inspect` shows what it does",
            operation="study",
        )
    return workload


def shipped(root: Path) -> list[Workload]:
    """The paper's three applications, with and without input and output, as ``make functions`` builds them.

    Args:
        root: the folder with `functions/`; by default where this project is checked out.

    Raises:
        InvalidArgument: they are not built; the message says how to.
    """
    built = root / "functions" / "build"
    names = ("noop", "mandelbrot", "mandelbrot-io", "image", "image-io")
    missing = [name for name in names if not (built / f"{name}.wasm").is_file()]
    if missing:
        raise InvalidArgument(
            f"the study's functions are not built: {built} lacks "
            f"{', '.join(f'{name}.wasm' for name in missing)}; run `make functions` in the project's "
            "folder, or name a function: `limes study my-function/`",
            operation="study",
        )
    return [_shipped(root / "functions", name) for name in names]


def project_root() -> Path:
    """Where the project is checked out: `LIMES_ROOT`, or the folder above this package's source."""
    chosen = os.environ.get("LIMES_ROOT")
    return Path(chosen) if chosen else Path(__file__).resolve().parents[3]


def _shipped(functions: Path, name: str) -> Workload:
    program = functions / "build" / "native" / name
    unikernel = functions / "build" / "unikernel" / name
    folder = functions / name / "data"
    return Workload(
        name,
        functions / "build" / f"{name}.wasm",
        native=program if os.access(program, os.X_OK) else None,
        unikernel=unikernel if unikernel.is_file() else None,
        native_times=True,
        folder=folder if folder.is_dir() else None,
        paper=name,
    )
