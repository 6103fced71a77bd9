"""New projects, from the templates that ship with the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from limes.build.language import CONTRACTS, LANGUAGES, Contract
from limes.errors import InvalidArgument, LimesIOError, from_os

OPERATION = "new"
TEMPLATES = Path(__file__).resolve().parent / "templates"

_SHARED = "shared"
_CALLS = {
    "run": 'function.run("world").output == "Hello, world!"',
    "http": 'function.http("GET", "/").body == b"Hello, world!\\n"',
    "cli": 'function.command(["world"]).output == b"Hello, world!\\n"',
}
_TRY = {"run": "limes run . world", "http": "limes run .", "cli": "limes run . world"}
_SOURCES = {
    "python": "function.py",
    "rust": "src/",
    "c": "function.c",
    "go": "function.go",
    "javascript": "function.js",
}


def create(folder: Path, language: str, contract: Contract) -> list[Path]:
    """Make a project: source, ``limes.toml``, a test, a README.

    Args:
        folder: what is made; its name is the function's. It must not exist, or be empty.
        language: one of :data:`limes.build.language.LANGUAGES`.
        contract: one of :data:`limes.build.language.CONTRACTS`.

    Returns:
        The files made.

    Raises:
        InvalidArgument: the name, language or contract is not one.
        LimesIOError: the folder holds something already, or cannot be written.
    """
    _check(folder, language, contract)
    name = folder.absolute().name
    words = {
        "@NAME@": name,
        "@CRATE@": name.replace(".", "-"),
        "@CALL@": _CALLS[contract],
        "@TRY@": _TRY[contract],
        "@SOURCE@": _SOURCES[language],
    }
    made = []
    try:
        if folder.exists() and any(folder.iterdir()):
            raise LimesIOError(
                f"'{folder}' holds something already; choose another name, or empty it", operation=OPERATION
            )
        for template, relative in _files(language, contract):
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            text = template.read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace(word, value)
            target.write_text(text, encoding="utf-8")
            made.append(target)
    except OSError as error:
        if isinstance(error, LimesIOError):
            raise
        raise from_os(error, OPERATION, f"cannot make '{folder}'") from error
    return made


def _check(folder: Path, language: str, contract: str) -> None:
    from limes.manifest import check_name

    for value, known, what in ((language, LANGUAGES, "language"), (contract, CONTRACTS, "contract")):
        if value not in known:
            raise InvalidArgument(
                f"'{value}' is no {what} Limes has a template for; there are {', '.join(known)}",
                operation=OPERATION,
            )
    try:
        check_name(folder.absolute().name)
    except ValueError as error:
        raise InvalidArgument(str(error), operation=OPERATION) from None


def _files(language: str, contract: str) -> Iterator[tuple[Path, Path]]:
    """Each template with where it goes.

    A name is as it will be, but for `dot-` instead of a leading dot, and `.in` at its end.
    The ending keeps other tools from taking a template for a source of the package.
    """
    for base in (TEMPLATES / _SHARED, TEMPLATES / language / contract):
        for file in sorted(path for path in base.rglob("*.in") if path.is_file()):
            relative = file.relative_to(base)
            name = relative.name.removesuffix(".in")
            if name.startswith("dot-"):
                name = "." + name.removeprefix("dot-")
            yield file, relative.with_name(name)
