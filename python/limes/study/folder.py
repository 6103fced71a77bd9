"""Where a study lives: a folder with what was planned, what was measured, and what follows from it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limes.errors import CorruptedState, InvalidArgument, NotFound, Unavailable, from_os

DEFAULT = Path("limes-study")
_WORK = "work-"
FORMAT = 1
"""Of the files in the folder; goes up when older ones can no longer be read."""


class StudyFolder:
    """The files of one study."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study = path / "study.json"
        """What was planned, on which machine, and the caveats of its cells."""
        self.records = path / "records.csv"
        self.experiments = path / "experiments.json"
        """What was measured beyond the cells: soak, density, load and the rest."""
        self.summary = path / "summary.json"
        self.report = path / "report.html"
        self.figures = path / "figures"

    def create(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            LimesIOError: the system refused.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise from_os(error, "study", f"cannot use '{self.path}'") from error

    def begin(self, study: dict[str, Any], *, fresh: bool = False) -> dict[str, Any]:
        """Start a study here, or go on with the same one; gives what the folder says of it.

        Args:
            study: what is planned; of it, `plan` and `call` must be the same to go on.
            fresh: throw away what is here.

        Raises:
            InvalidArgument: another study is here.
            LimesIOError: the folder cannot be written.
        """
        if fresh:
            self._clear()
        if not self.study.exists():
            write_json(self.study, study)
            return study
        found = self.read_study()
        for key in ("plan", "workloads"):
            if found.get(key) != study[key]:
                raise InvalidArgument(
                    f"{self.path} holds another study (its {key} differ); give --fresh to replace it, "
                    "or --out to begin this one elsewhere",
                    operation="study",
                )
        return found

    def _clear(self) -> None:
        try:
            for file in (self.study, self.records, self.experiments, self.summary, self.report):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise from_os(error, "study", f"cannot clear '{self.path}'") from error

    def read_study(self) -> dict[str, Any]:
        """What was planned here.

        Raises:
            NotFound: there is no study here.
            CorruptedState: the file is not one of a study.
        """
        found = self._read(self.study)
        if found.get("format") != FORMAT:
            raise CorruptedState(
                f"{self.study} has format {found.get('format')}, this version of Limes reads {FORMAT}; "
                "`--fresh` begins anew, another `--out` leaves it alone",
                operation="study",
            )
        return found

    def read_summary(self) -> dict[str, Any]:
        """What follows from the measurements.

        Raises:
            NotFound: there is none here.
            CorruptedState: the file is not one of a study.
        """
        return self._read(self.summary)

    def read_experiments(self) -> dict[str, Any]:
        """The experiments that were run, by name; empty when none was."""
        return self._read(self.experiments) if self.experiments.exists() else {}

    def keep_experiment(self, name: str, result: dict[str, Any]) -> None:
        """Keep what one experiment gave."""
        write_json(self.experiments, {**self.read_experiments(), name: result})

    def _read(self, file: Path) -> dict[str, Any]:
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotFound(
                f"{self.path} holds no {file.name}; `limes study --out {self.path}` makes it",
                operation="study",
            ) from None
        except OSError as error:
            raise from_os(error, "study", f"cannot read '{file}'") from error
        except ValueError as error:
            raise CorruptedState(
                f"{file} is no JSON: {error}; `--fresh` begins anew", operation="study"
            ) from None
        if not isinstance(value, dict):
            raise CorruptedState(f"{file} is not that of a study; `--fresh` begins anew", operation="study")
        return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all.

    Raises:
        LimesIOError: it cannot be written.
    """
    write_whole(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        LimesIOError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
            try:
                part.write(data)
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).chmod(0o644)
                Path(part.name).replace(path)
            except OSError:
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise from_os(error, "study", f"cannot write '{path}'") from error


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A folder for caches and for what functions write, below the study's, removed afterwards.

    It also is the study's for as long as the block runs: one of a study that was killed is removed.

    Raises:
        Unavailable: another process has it.
        LimesIOError: it cannot be made.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise from_os(error, "study", f"cannot use '{folder}'") from error
    try:
        _lock(descriptor, folder)
        for left in folder.glob(f"{_WORK}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_WORK, dir=folder) as made:
            yield Path(made).absolute()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Unavailable(
            f"another process runs the study in {folder}; wait for it, or choose another --out",
            operation="study",
        ) from None
