"""The raw records of a study, one line of CSV for each call, kept so that an interrupted study goes on.

A line is written whole and handed to the system before the next call, and synced to disk every second: a
study that is killed loses nothing, one that lost power at most a second.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from limes.errors import CorruptedState, from_os
from limes.study.plan import Cell
from limes.study.target import Resources, Sample

COUNTED = (
    "cpu_user_ns",
    "cpu_system_ns",
    "minor_faults",
    "major_faults",
    "voluntary_switches",
    "involuntary_switches",
)
COLUMNS = (
    "cell",
    "round",
    "kind",
    "started_unix_ns",
    "wall_ns",
    "phases",
    *COUNTED,
    "resident_bytes",
    "answer",
    "reason",
)
SYNC_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Record:
    """One line: a call, or why a cell cannot be filled."""

    cell: Cell
    round: int
    kind: str
    """``warm-up``, ``measured``, or ``unfilled`` when the cell does not work here."""
    started_unix_ns: int
    sample: Sample
    """`answer` is the first 12 digits of the SHA-256 of what the function answered."""
    reason: str = ""
    """Why the cell is unfilled."""

    def to_row(self) -> list[str]:
        """The record in the order of the columns."""
        sample = self.sample
        phases = ";".join(f"{name}={ns}" for name, ns in sample.phases.items())
        counted = [str(getattr(sample.resources, name)) for name in COUNTED]
        head = [str(self.cell), str(self.round), self.kind, str(self.started_unix_ns), str(sample.wall_ns)]
        return [*head, phases, *counted, str(sample.resident_bytes), sample.answer.decode(), self.reason]

    @classmethod
    def from_row(cls, row: dict[str, str]) -> Record:
        """The record that `to_row` wrote.

        Raises:
            ValueError, KeyError: it is none.
        """
        phases = dict(pair.split("=") for pair in row["phases"].split(";") if pair)
        sample = Sample(
            int(row["wall_ns"]),
            {name: int(ns) for name, ns in phases.items()},
            Resources(*(int(row[name]) for name in COUNTED)),
            int(row["resident_bytes"]),
            row["answer"].encode(),
        )
        started = int(row["started_unix_ns"])
        return cls(Cell.parse(row["cell"]), int(row["round"]), row["kind"], started, sample, row["reason"])


class Journal:
    """The file of records of one study: read once, then appended to."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it. A last line that was cut off is dropped.

        Raises:
            LimesIOError: the system refused.
            CorruptedState: it holds something else.
        """
        self.path = path
        self.records = read(path) if path.exists() else []
        try:
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._drop_torn_line()
            if self._file.tell() == 0:
                self._write(COLUMNS)
        except OSError as error:
            raise from_os(error, "open records", f"cannot write '{path}'") from error
        self._synced = time.monotonic()

    def append(self, record: Record) -> None:
        """Keep a record.

        Raises:
            LimesIOError: the system refused.
        """
        try:
            self._write(record.to_row())
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise from_os(error, "write records", f"cannot write '{self.path}'") from error
        self.records.append(record)

    def sync(self) -> None:
        """Wait until everything is on disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sync()
        self._file.close()

    def _write(self, row: tuple[str, ...] | list[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow([" ".join(cell.splitlines()) for cell in row])
        self._file.write(line.getvalue().encode())
        self._file.flush()

    def _drop_torn_line(self) -> None:
        whole = self._file.read().rpartition(b"\n")
        keep = len(whole[0]) + len(whole[1])
        self._file.seek(keep)
        self._file.truncate()


def read(path: Path) -> list[Record]:
    """The records of a file; a last line that was cut off is left out.

    Raises:
        LimesIOError: it cannot be read.
        CorruptedState: it holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise from_os(error, "read records", f"cannot read '{path}'") from error
    whole = text[: text.rfind("\n") + 1]
    return list(_parsed(whole, path)) if whole else []


def _parsed(text: str, path: Path) -> Iterator[Record]:
    reader = csv.DictReader(io.StringIO(text))
    if reader.fieldnames is None or tuple(reader.fieldnames) != COLUMNS:
        raise CorruptedState(
            f"{path} does not hold the records of a study: its first line is {reader.fieldnames}; move it "
            "away, or choose another --out",
            operation="read records",
        )
    for number, row in enumerate(reader, start=2):
        try:
            yield Record.from_row(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptedState(
                f"{path}:{number}: not a record of a study ({error}); remove that line, or choose another "
                "--out",
                operation="read records",
            ) from error
