"""The folder a study lives in."""

from pathlib import Path
from typing import Any

import pytest

from limes.errors import CorruptedState, InvalidArgument, LimesIOError, NotFound, Unavailable
from limes.study.folder import FORMAT, StudyFolder, workspace, write_whole

STUDY: dict[str, Any] = {
    "format": FORMAT,
    "plan": {"seed": 1},
    "workloads": {"noop": {}},
    "machine": {"cpu": "x"},
}


def test_the_same_study_goes_on_and_keeps_what_was_found_out(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "a" / "b")
    folder.create()
    assert folder.begin(STUDY) == STUDY
    assert folder.begin({**STUDY, "machine": {"cpu": "y"}})["machine"] == {"cpu": "x"}


@pytest.mark.parametrize("key", ["plan", "workloads"])
def test_another_study_is_refused_and_fresh_replaces_it(tmp_path: Path, key: str) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin(STUDY)
    folder.records.write_text("kept")
    another = {**STUDY, key: {"other": {}}}
    with pytest.raises(InvalidArgument, match=rf"another study \(its {key} differ\)"):
        folder.begin(another)
    assert folder.records.read_text() == "kept"
    assert folder.begin(another, fresh=True) == another
    assert not folder.records.exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 0}', ""])
def test_a_file_of_another_kind_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    folder = StudyFolder(tmp_path)
    folder.study.write_text(text)
    with pytest.raises(CorruptedState, match="--fresh"):
        folder.read_study()


def test_an_empty_folder_names_the_command_that_fills_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"limes study --out {tmp_path}"):
        StudyFolder(tmp_path).read_summary()


def test_a_folder_that_cannot_be_made_is_an_error_of_limes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LimesIOError, match="cannot use"):
        StudyFolder(tmp_path / "file" / "study").create()


def test_experiments_are_kept_one_by_one(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert folder.read_experiments() == {}
    folder.keep_experiment("load", {"rows": []})
    folder.keep_experiment("soak", {"rows": [1]})
    assert folder.read_experiments() == {"load": {"rows": []}, "soak": {"rows": [1]}}


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(LimesIOError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_workspace_is_gone_afterwards(tmp_path: Path) -> None:
    with workspace(tmp_path) as work:
        (work / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_of_a_study_that_was_killed_is_removed(tmp_path: Path) -> None:
    (tmp_path / "work-old").mkdir()
    (tmp_path / "records.csv").write_text("kept")
    with workspace(tmp_path) as work:
        assert {entry.name for entry in tmp_path.iterdir()} == {work.name, "records.csv"}


def test_two_processes_do_not_run_one_study(tmp_path: Path) -> None:
    with workspace(tmp_path) as work:
        with pytest.raises(Unavailable, match="another process runs the study"), workspace(tmp_path):
            pass
        assert work.is_dir()
    with workspace(tmp_path):
        pass
