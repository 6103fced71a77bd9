"""The references in docs/ are those the code makes, and the README has the figures that were measured."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_references_are_what_the_code_says() -> None:
    command = [sys.executable, str(ROOT / "docs" / "reference.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
