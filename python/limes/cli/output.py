"""What commands write: tables for people, plain columns for pipes, JSON for programs, errors for both."""

import functools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec

import typer

from limes.errors import LimesError

P = ParamSpec("P")

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
PIPE_CLOSED = 141
"""Exit code when the reader of stdout went away, as shells have it."""

SPINNER_DELAY = 0.3
"""Seconds something must take before a spinner shows."""


def new_app(text: str | None = None) -> typer.Typer:
    """The Typer of one command; `text` is its help when it has subcommands."""
    return typer.Typer(add_completion=False, rich_markup_mode="markdown", help=text)


def guarded(function: Callable[P, None]) -> Callable[P, None]:
    """A command whose errors become a message on stderr and an exit code.

    With ``--json`` (the parameter `as_json`) the message is the error's JSON.
    """

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except LimesError as error:
            report(error, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Python would try to flush once more at exit, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(PIPE_CLOSED) from None

    return command


def report(error: LimesError, *, as_json: bool) -> None:
    """Write an error to stderr."""
    if as_json:
        print(json.dumps(error.to_json()), file=sys.stderr)
        return
    first, *more = str(error).splitlines() or [error.kind]
    print(f"{_red('error')}: {first}", file=sys.stderr)
    for line in more:
        print(f"  {line}", file=sys.stderr)
    if backtrace := error.context.get("backtrace"):
        print("  wasm backtrace:", file=sys.stderr)
        for line in backtrace.splitlines():
            print(f"    {line}", file=sys.stderr)


def _red(text: str) -> str:
    colored = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    return f"\x1b[1;31m{text}\x1b[0m" if colored else text


def note(text: str) -> None:
    """Write a line to stderr."""
    print(text, file=sys.stderr)


def write_json(value: Any) -> None:
    """Write one JSON document to stdout: indented on a terminal, on one line in a pipe."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None), flush=True)


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout as they are; a terminal gets a newline after them."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    if data and not data.endswith(b"\n") and sys.stdout.isatty():
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def write_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "") -> None:
    """Write a table to stdout: drawn on a terminal, plain columns in a pipe.

    Args:
        columns: the headings.
        rows: a cell for each heading.
        empty: what to tell a person, on stderr, when there are no rows.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells and empty:
        note(empty)
    if sys.stdout.isatty():
        if cells:
            _write_rich_table(columns, cells)
        return
    lines = [[column.upper().replace(" ", "_") for column in columns], *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _write_rich_table(columns: Sequence[str], rows: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def write_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Write names and values to stdout, one pair a line; values that are empty are left out."""
    width = max(len(name) for name, _ in facts)
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for name, value in facts:
        if value not in ("", None, [], {}):
            label = name.ljust(width)
            print(f"\x1b[1m{label}\x1b[0m  {value}" if bold else f"{label}  {value}")


@contextmanager
def progress(text: str) -> Iterator[None]:
    """A spinner with the time elapsed, on a terminal's stderr, when it takes long enough to be wanted."""
    if not sys.stderr.isatty():
        yield
        return
    shown: list[Any] = []
    lock = threading.Lock()

    def show() -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        with lock:
            if not timer.finished.is_set():
                bar.add_task(text, total=None)
                bar.start()
                shown.append(bar)

    timer = threading.Timer(SPINNER_DELAY, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            timer.cancel()
        for bar in shown:
            bar.stop()
