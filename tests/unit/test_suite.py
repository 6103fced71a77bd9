"""That the tests are run: a folder whose name pytest passes over would be missed by nobody."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


def test_every_folder_of_tests_is_collected(pytestconfig: pytest.Config) -> None:
    folders = {file.parent for file in TESTS.rglob("test_*.py")}
    assert TESTS / "build" in folders
    passed_over = {
        folder.name
        for folder in folders
        for pattern in pytestconfig.getini("norecursedirs")
        if fnmatch(folder.name, pattern)
    }
    assert not passed_over
