"""What a language has to do to be built, and which there are."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

if TYPE_CHECKING:
    from limes.build.project import Project
    from limes.build.toolchain import Tool

Contract = Literal["run", "http", "cli"]
"""``component:run/run``, ``wasi:http/incoming-handler`` or ``wasi:cli/run``, by the names of `limes new`."""

CONTRACTS: tuple[Contract, ...] = ("run", "http", "cli")
LANGUAGES = {
    "python": "function.py",
    "rust": "Cargo.toml",
    "c": "function.c",
    "go": "go.mod",
    "javascript": "function.js",
}
"""The file that shows a folder's language. Each is the module of that name here, with a class called
`Toolchain`.
"""


class Language(Protocol):
    """How the sources of one language become a component."""

    def tools(self, project: Project, /) -> Sequence[Tool]:
        """The tools a build of this project will run.

        Raises:
            NotFound: one is missing; the message has the command that installs it.
        """

    def build(self, project: Project, work: Path) -> Path:
        """Build the project.

        Args:
            project: what to build.
            work: a folder for what is made on the way. It is kept from build to build.

        Returns:
            The file made: a component, or a core module that carries its component types.

        Raises:
            BadComponent: the compiler refused the source; the message is its own.
        """


def load(name: str) -> Language:
    """The language of that name; its module is imported now."""
    return cast("Language", import_module(f"limes.build.{name}").Toolchain())
