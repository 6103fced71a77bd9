"""Changes of a project's source, as they happen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

from limes.build import toolchain
from limes.build.project import Project

INSTALL = "pip install 'limes[build]'"
_LOOK = 250
"""Milliseconds between looks at whether to stop, and until watching is sure to have begun."""
_SETTLE = 200
"""Milliseconds without a change that end a change: an editor writes several files."""


def changes(project: Project, stop: Event | None = None) -> Iterator[list[Path]]:
    """The source files that changed, each time some did; ends when `stop` is set.

    The first list, mostly empty, comes at once: from then on no change is missed.

    Raises:
        NotFound: watchfiles is not installed; the message has the command that installs it.
    """
    try:
        import watchfiles
    except ImportError:
        raise toolchain.missing("watchfiles", INSTALL) from None
    begun = False
    for seen in watchfiles.watch(
        project.folder,
        watch_filter=lambda _change, path: project.is_source(Path(path)),
        debounce=_SETTLE,
        stop_event=stop,
        rust_timeout=_LOOK,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    ):
        if seen or not begun:
            begun = True
            yield sorted({Path(path) for _, path in seen})
