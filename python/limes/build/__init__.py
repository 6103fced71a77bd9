"""From source to component: one module a language, behind one small interface.

:mod:`~limes.build.project` finds out what a folder holds, :mod:`~limes.build.builder` builds it unless that
was done already, and :mod:`~limes.build.language` says what a language has to do. The compilers are
existing ones; :mod:`~limes.build.toolchain` finds them and says how to get the one that is missing.
:mod:`~limes.build.scaffold` makes a new project from a template, :mod:`~limes.build.watch` builds again on
each change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limes.build.builder import Built, build
    from limes.build.project import Project

__all__ = ["Built", "Project", "build"]

_HOMES = {"Built": "limes.build.builder", "build": "limes.build.builder", "Project": "limes.build.project"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
