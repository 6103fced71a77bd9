"""The WIT texts that functions are built against, as they ship with the package."""

from __future__ import annotations

import shutil
from pathlib import Path

WIT = Path(__file__).resolve().parent.parent / "wit"
WORLDS_TEXT = WIT / "function" / "worlds.wit"
WORLDS = {"run": "run", "http": "http", "cli": "command"}
"""The world of each contract, in the package ``limes:function``."""


_WASI = "0.2.12"


def lay_out(work: Path, *, wasi: str = _WASI, worlds: Path = WORLDS_TEXT) -> Path:
    """Put the worlds and all they name below a folder, as tools that take one folder want it.

    Args:
        work: the folder.
        worlds: the text of the worlds.
        wasi: the version of WASI 0.2 the texts are given; they differ in nothing else that matters here.

    Returns:
        The folder ``wit`` in it.
    """
    folder = work / "wit"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "deps").mkdir(parents=True)
    copies = [(worlds, folder), (WIT / "component-run" / "run.wit", folder / "deps")]
    copies += [(text, folder / "deps") for text in sorted((WIT / "wasi-0.2" / "deps").glob("*.wit"))]
    for text, target in copies:
        content = text.read_text(encoding="utf-8").replace(_WASI, wasi)
        (target / text.name).write_text(content, encoding="utf-8")
    return folder
