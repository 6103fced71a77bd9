"""What the tests of virtual machines share."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import GUESTS

MODES = {
    "builtin": ["end-to-end", "pre-configured", "snapshot", "reset", "warm"],
    "firecracker": ["end-to-end", "pre-configured", "snapshot"],
    "qemu": ["end-to-end", "pre-configured", "snapshot"],
}
"""The modes of each monitor."""


def image_path(name: str) -> Path:
    """A built native function or image of `guests/unikernel/images`."""
    path = GUESTS / "build" / "images" / name
    if not path.is_file():
        pytest.fail(f"the image '{name}' is not built ({path} is missing); run `make guests`")
    return path


def machines_of(pid: int) -> list[int]:
    """Processes that a process has started and that still run, monitors of machines among them."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat[1]) == pid and stat[0] not in "ZX":
            found.append(int(entry.name))
    return found


@pytest.fixture(params=["builtin", "firecracker", "qemu"])
def vmm(request: pytest.FixtureRequest, problems: dict[str, str]) -> str:
    """Each monitor in turn; those that do not work here are skipped with the reason."""
    if request.param == "firecracker" and not os.environ.get("LIMES_FIRECRACKER"):
        pytest.skip("LIMES_FIRECRACKER names no binary of Firecracker")
    if problem := problems[request.param]:
        pytest.skip(f"no microVM on {request.param}: {problem}")
    return str(request.param)


@pytest.fixture
def builtin(problems: dict[str, str]) -> str:
    """The built-in monitor, or a skip with the reason."""
    if problem := problems["builtin"]:
        pytest.skip(f"no microVM on builtin: {problem}")
    return "builtin"


@pytest.fixture
def children() -> Callable[[], list[int]]:
    """The processes of machines that this process has now."""
    return lambda: machines_of(os.getpid())


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where machines keep sockets and snapshots, for this test alone; short, as a socket's path must be."""
    with tempfile.TemporaryDirectory(prefix="vm-") as made:
        monkeypatch.setenv("TMPDIR", made)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(made)
