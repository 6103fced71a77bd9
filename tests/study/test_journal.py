"""The file of raw records."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.study.conftest import cell

from limes.errors import CorruptedState, LimesIOError
from limes.study.journal import COLUMNS, Journal, Record, read
from limes.study.target import Resources, Sample

SAMPLE = Sample(123, {"load": 100, "execute": 23}, Resources(1, 2, 3, 4, 5, 6), 4096, b"abc")
RECORD = Record(cell(), 0, "measured", 1, SAMPLE)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    unfilled = Record(cell("microvm", "warm", "qemu"), 3, "unfilled", 2, Sample(0), 'no "QEMU", at all; a=b')
    with Journal(path) as journal:
        journal.append(RECORD)
        journal.append(unfilled)
    assert read(path) == [RECORD, unfilled]
    with Journal(path) as journal:
        assert journal.records == [RECORD, unfilled]
        journal.append(RECORD)
    assert read(path) == [RECORD, unfilled, RECORD]


def test_a_reason_of_several_lines_stays_one_record(tmp_path: Path) -> None:
    with Journal(tmp_path / "r.csv") as journal:
        journal.append(replace(RECORD, reason="one\ntwo\r\nthree"))
    assert [record.reason for record in read(tmp_path / "r.csv")] == ["one two three"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "records.csv"
    with Journal(path) as journal:
        journal.append(RECORD)
        journal.append(RECORD)
    path.write_bytes(path.read_bytes()[:-cut])
    assert read(path) == [RECORD]
    with Journal(path) as journal:
        journal.append(RECORD)
    assert read(path) == [RECORD, RECORD]


def test_a_file_cut_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text("cell,rou")
    with Journal(path) as journal:
        journal.append(RECORD)
    assert read(path) == [RECORD]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b,c\n1,2,3\n", "does not hold the records"),
        (",".join(COLUMNS) + "\nnonsense\n", ":2: not a record"),
        (",".join(COLUMNS) + "\nnoop/wasm/jit,x,measured,1,1,,0,0,0,0,0,0,0,,\n", ":2: not a record"),
        (",".join(COLUMNS) + "\nnoop/wasm/jit,1,measured,1,1,load,0,0,0,0,0,0,0,,\n", ":2: not a record"),
    ],
)
def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "records.csv"
    path.write_text(text)
    with pytest.raises(CorruptedState, match=told):
        Journal(path)
    assert path.read_text() == text


def test_a_file_that_cannot_be_written_is_an_error_of_limes(tmp_path: Path) -> None:
    with pytest.raises(LimesIOError, match="cannot write"):
        Journal(tmp_path / "missing" / "records.csv")
