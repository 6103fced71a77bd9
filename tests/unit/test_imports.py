import subprocess
import sys

import pytest

HEAVY = (
    "fastapi",
    "pydantic",
    "typer",
    "uvicorn",
    "structlog",
    "prometheus_client",
    "rich",
    "asyncio",
    "sqlite3",
)


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import limes", set()),
        ("from limes import Runtime, Request, LimesError", set()),
        ("import limes.cli.app, limes.cli.run", {"typer"}),
        ("import limes.cli.app, limes.cli.list", {"typer"}),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str, allowed: set[str]):
    assert loaded_after(statement) <= allowed


def test_every_public_name_is_there():
    import limes

    for name in limes.__all__:
        assert getattr(limes, name) is not None
    with pytest.raises(AttributeError):
        limes.no_such_name  # noqa: B018
