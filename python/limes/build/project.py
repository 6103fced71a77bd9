"""A folder with the source of one function."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from limes.build.language import LANGUAGES
from limes.errors import InvalidArgument

OPERATION = "build"
OUTPUT = "build"
"""The folder of a project that all that is made goes to."""

_NOT_SOURCE = {OUTPUT, "target", "node_modules", "__pycache__", "tests"}


@dataclass(frozen=True)
class Project:
    """Source, its language, and where its component goes."""

    folder: Path
    """The folder, absolute."""
    language: str
    """One of :data:`limes.build.language.LANGUAGES`."""
    component: Path
    """The file that is built: `component` of the manifest, or ``build/NAME.wasm`` without one."""

    @classmethod
    def find(cls, path: Path) -> Project | None:
        """The project in a folder, or that of a ``limes.toml``; None when there is no source.

        Raises:
            InvalidArgument: the source is of several languages.
            LimesIOError: its manifest cannot be read.
        """
        folder = (path if path.is_dir() else path.parent).absolute()
        found = [language for language, marker in LANGUAGES.items() if (folder / marker).is_file()]
        if not found:
            return None
        if len(found) > 1:
            raise InvalidArgument(
                f"'{folder}' holds functions in {' and '.join(found)}; give each a folder of its own",
                operation=OPERATION,
            )
        return cls(folder, found[0], _component(folder))

    @property
    def name(self) -> str:
        """The function's name, as its component's file has it."""
        return self.component.stem

    @property
    def output(self) -> Path:
        """The folder for what is made."""
        return self.folder / OUTPUT

    def sources(self) -> Iterator[Path]:
        """Every file that may matter to the build: none that is made, hidden, or a test or environment."""
        for root, folders, files in os.walk(self.folder):
            folders[:] = sorted(
                name
                for name in folders
                if name not in _NOT_SOURCE
                and not name.startswith(".")
                and not Path(root, name, "pyvenv.cfg").exists()
            )
            for name in sorted(files):
                file = Path(root, name)
                # A project's component may lie anywhere in it.
                if not name.startswith(".") and file != self.component and file.is_file():
                    yield file

    def is_source(self, file: Path) -> bool:
        """Whether a file, which may be gone by now, is or was one of :meth:`sources`."""
        try:
            inside = file.relative_to(self.folder).parts
        except ValueError:
            return False
        hidden = any(part.startswith(".") for part in inside)
        return not hidden and not _NOT_SOURCE.intersection(inside[:-1]) and file != self.component


def _component(folder: Path) -> Path:
    from limes.manifest import MANIFEST_NAME

    file = folder / MANIFEST_NAME
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return folder / OUTPUT / f"{folder.name}.wasm"
    except (OSError, ValueError):
        values = {}
    named = values.get("component")
    if isinstance(named, str):
        return folder / Path(named).expanduser()
    from limes.manifest import Manifest

    # It says nothing that can be used: the manifest's own reader knows what to tell.
    return Manifest.read(file).component
