"""Compilers and other tools: where they are, and how they are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from limes.errors import BadComponent, NotFound

OPERATION = "build"


@dataclass(frozen=True)
class Tool:
    """A program that a build runs."""

    name: str
    """What it is called."""
    command: tuple[str, ...]
    """The words that start it."""
    version: str
    """What changes when it does: its version, or the size and time of its file."""


def find(name: str, *, install: str, near: Path | None = None) -> Tool:
    """A program in the Python environment Limes runs in, then on the path.

    Args:
        name: the program.
        install: the one command that installs it, for the error.
        near: first in ``node_modules/.bin`` of this folder and of those above, as Node.js does it.

    Raises:
        NotFound: it is nowhere.
    """
    for folder in _folders(near):
        if found := shutil.which(name, path=folder):
            return Tool(name, (found,), _fingerprint(Path(found)))
    raise missing(name, install)


def find_module(module: str, distribution: str, *, install: str) -> Tool:
    """A program that is a Python module, such as ``python -m ziglang``.

    Raises:
        NotFound: its distribution is not installed.
    """
    from importlib import metadata

    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise missing(distribution, install) from None
    return Tool(distribution, (sys.executable, "-m", module), version)


def missing(name: str, install: str) -> NotFound:
    """The error for a tool that is not installed."""
    return NotFound(
        f"{name} is not installed, and this build needs it: {install}",
        operation=OPERATION,
        context={"tool": name, "install": install},
    )


def run(
    command: Sequence[object],
    *,
    cwd: Path,
    what: str,
    env: Mapping[str, str | None] | None = None,
    speaks_on_stdout: bool = True,
) -> str:
    """Run a tool and give what it wrote to stdout.

    Args:
        command: its words, paths among them.
        cwd: where it runs.
        what: what it does, for the error: ``compiling 'hello'``.
        env: variables set on top of this process's; None takes one away.
        speaks_on_stdout: whether what it writes there is for people; otherwise it is left out of the error.

    Raises:
        BadComponent: it failed; the message is what it wrote.
        LimesIOError: it cannot be started.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, **(env or {})}
    try:
        done = subprocess.run(  # noqa: S603 (the commands are those of the languages)
            words,
            cwd=cwd,
            env={name: value for name, value in environment.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        from limes.errors import from_os

        raise from_os(error, OPERATION, f"cannot start '{words[0]}'") from error
    if done.returncode != 0:
        said = (done.stderr, done.stdout if speaks_on_stdout else "")
        written = "\n".join(part.strip("\n") for part in said if part.strip())
        program = Path(words[0]).name
        raise BadComponent(
            f"{what} failed: {program} ended with {done.returncode}\n{written}".rstrip(),
            operation=OPERATION,
            context={"tool": program, "output": written},
        )
    return done.stdout


def _folders(near: Path | None) -> list[str]:
    nearby = [near, *near.parents] if near else []
    modules = [str(folder / "node_modules" / ".bin") for folder in nearby]
    return [*modules, sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]


def _fingerprint(program: Path) -> str:
    stat = program.resolve().stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"
