"""Functions built once for a whole run, and kept beside their source for the next."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from limes import NotFound
from limes.build import Built, build

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

BuildFunction = Callable[[Path], Built]


@pytest.fixture(scope="session", autouse=True)
def tool_chains() -> None:
    """Put the repository's own tools on the path, and keep Rust's compiled crates with them."""
    tools = ROOT / ".tools"
    os.environ["PATH"] = os.pathsep.join(
        [str(tools / "bin"), str(tools / "node_modules" / ".bin"), os.environ["PATH"]]
    )
    os.environ.setdefault("CARGO_TARGET_DIR", str(tools / "rust-functions"))


@pytest.fixture(scope="session")
def built() -> BuildFunction:
    """Builds a function's folder; the test is skipped when a tool of its language is missing."""

    def make(folder: Path) -> Built:
        try:
            return build(folder)
        except NotFound as missing:
            pytest.skip(str(missing))

    return make
