"""How far a study is, on a terminal; nothing in a pipe."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from limes.study.runner import Progress


class StudyProgress:
    """A bar with the time left. It is drawn between calls only: a thread that draws would be measured too."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bar: Any = None
        self._task: Any = None

    def cells(self, progress: Progress) -> None:
        """Before each visit of a cell."""
        if self._bar is not None:
            left = "" if progress.seconds_left is None else f"{_minutes(progress.seconds_left)} left"
            self._bar.update(
                self._task, completed=progress.done, total=progress.visits, cell=str(progress.cell), left=left
            )
            self._bar.refresh()

    def experiment(self, name: str) -> None:
        """Before each experiment."""
        if self._bar is not None:
            self._bar.update(self._task, completed=1, total=1, cell=f"experiment: {name}", left="")
            self._bar.refresh()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.fields[cell]}"),
            )
            bar = Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
            self._bar = self._stack.enter_context(bar)
            self._task = bar.add_task("study", total=None, cell="", left="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
