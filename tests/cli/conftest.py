"""The command line as a process of its own, without a node unless a test starts one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import DEADLINE

from limes.cli.app import run as run_command_line

RunLimes = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def limes(tmp_path: Path, cache_dir: Path) -> RunLimes:
    """Runs `limes ARGS` with a home that no node runs with, and the shared compile cache."""
    environment = {**os.environ, "LIMES_HOME": str(tmp_path / "home"), "LIMES_CACHE_DIR": str(cache_dir)}

    def run(
        *args: str | Path, stdin: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "limes", *args],
            capture_output=True,
            text=True,
            input=stdin,
            env={**environment, **(env or {})},
            cwd=tmp_path,
            timeout=DEADLINE,
        )

    return run


@pytest.fixture
def limes_here(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunLimes:
    """The same within this process, which is quicker: for commands that leave its stdio alone."""
    monkeypatch.setenv("LIMES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LIMES_CACHE_DIR", str(cache_dir))
    monkeypatch.chdir(tmp_path)

    def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = run_command_line([str(arg) for arg in args])
        written = capsys.readouterr()
        return subprocess.CompletedProcess(args, code, written.out, written.err)

    return run
