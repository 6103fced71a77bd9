"""Building: the language's tool chain makes the component, which is checked, and put in place whole."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from limes import _native
from limes.build.language import LANGUAGES, load
from limes.build.project import OPERATION, Project
from limes.build.toolchain import Tool
from limes.errors import InvalidArgument, UnsupportedContract, from_os

_STAMP = ".stamp.json"


@dataclass(frozen=True)
class Built:
    """What a build made, or found made."""

    name: str
    """The name of the function, as its file suggests it."""
    language: str
    """What it was built from."""
    component: Path
    """Where it is."""
    size: int
    """Bytes."""
    digest: str
    """SHA-256, hexadecimal."""
    contract: str
    """The exported interface it is called through."""
    grants: list[str]
    """What it could ask for, by the names of the manifest's grants."""
    seconds: float
    """How long it took, now or when it was built."""
    fresh: bool
    """Whether it was there already."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "component": str(self.component)}


def build(path: Path, *, force: bool = False, on_start: Callable[[Project], None] | None = None) -> Built:
    """Build the function in a folder, unless nothing changed since it was built.

    The component appears whole, or the last good one stays.

    Args:
        path: the folder, or its ``limes.toml``.
        force: build even so.
        on_start: called when a compiler is about to run.

    Raises:
        InvalidArgument: there is no source to build.
        NotFound: a tool is missing; the message has the command that installs it.
        BadComponent: the source does not compile; the message is the compiler's.
        UnsupportedContract: what was built exports nothing Limes can call.
        LimesIOError: a file cannot be read or written.
    """
    project = Project.find(path)
    if project is None:
        raise InvalidArgument(
            f"'{path}' holds no source to build; it needs one of {', '.join(LANGUAGES.values())}, "
            "as `limes new` makes them",
            operation=OPERATION,
        )
    return build_project(project, force=force, on_start=on_start)


def build_project(
    project: Project, *, force: bool = False, on_start: Callable[[Project], None] | None = None
) -> Built:
    """:func:`build` for a project that was found already."""
    language = load(project.language)
    tools = language.tools(project)
    try:
        with _alone(project):
            key = _key(project, tools)
            if not force and (built := _standing(project, key)):
                return built
            if on_start is not None:
                on_start(project)
            started = time.monotonic()
            work = project.output / ".work"
            work.mkdir(exist_ok=True)
            component = _native.componentize(language.build(project, work).read_bytes())
            built = _check(project, component, time.monotonic() - started)
            _put(project, component, built, key)
            return built
    except OSError as error:
        if type(error).__module__.startswith("limes."):
            raise
        raise from_os(error, OPERATION, f"cannot build '{project.folder}'") from error


@contextmanager
def _alone(project: Project) -> Iterator[None]:
    """One build of a project at a time, over all processes."""
    project.output.mkdir(exist_ok=True)
    with (project.output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(project: Project, tools: Sequence[Tool]) -> str:
    """One key for all that decides what is built."""
    facts = [_native.__version__, project.language, str(project.folder), *(asdict(tool) for tool in tools)]
    key = hashlib.sha256(json.dumps(facts).encode())
    package = Path(__file__).resolve().parent.parent
    for file in [*project.sources(), *sorted((package / "guest").glob("*.py"))]:
        content = file.read_bytes()
        key.update(f"{file}\0{len(content)}\0".encode() + content)
    return key.hexdigest()


def _standing(project: Project, key: str) -> Built | None:
    """What was built before, if it is what would be built now and lies there unchanged."""
    try:
        stamp = json.loads((project.output / _STAMP).read_text())
        if stamp.pop("key") != key:
            return None
        with project.component.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != stamp["digest"]:
                return None
        return Built(**{**stamp, "component": project.component, "fresh": True})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check(project: Project, component: bytes, seconds: float) -> Built:
    found = json.loads(_native.inspect(component))
    if found["contract_interface"] is None:
        exports = ", ".join(interface["name"] for interface in found["exports"]) or "nothing"
        raise UnsupportedContract(
            f"'{project.name}' was built, but exports nothing Limes can call: found {exports}; it needs "
            "component:run/run, wasi:http/incoming-handler or wasi:cli/run",
            operation=OPERATION,
        )
    return Built(
        name=project.name,
        language=project.language,
        component=project.component,
        size=len(component),
        digest=found["digest"],
        contract=found["contract_interface"],
        grants=found["grants_needed"],
        seconds=round(seconds, 3),
        fresh=False,
    )


def _put(project: Project, component: bytes, built: Built, key: str) -> None:
    project.component.parent.mkdir(parents=True, exist_ok=True)
    for target, content in (
        (project.component, component),
        (project.output / _STAMP, json.dumps({**built.to_json(), "key": key}).encode()),
    ):
        temporary = target.with_name(f".{target.name}.part")
        temporary.write_bytes(content)
        temporary.replace(target)
