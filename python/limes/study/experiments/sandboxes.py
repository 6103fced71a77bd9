"""The sandboxes that an experiment compares, whichever of them work here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from limes.errors import LimesError, Unavailable

SANDBOXES = ("wasm", "microvm")

Rows = list[dict[str, Any]]


def in_each(measure: Callable[[str], Rows]) -> tuple[Rows, list[str]]:
    """Measure in every sandbox.

    Args:
        measure: given the name of a sandbox, gives its rows.

    Returns:
        All rows, and a sentence for each sandbox that could not be measured.

    Raises:
        Unavailable: none could be.
    """
    rows: Rows = []
    missing = []
    for sandbox in SANDBOXES:
        try:
            rows += measure(sandbox)
        except LimesError as error:
            missing.append(f"Not measured with {sandbox}: {error.message.rstrip('.')}.")
    if not rows:
        raise Unavailable(" ".join(missing), operation="study")
    return rows, missing
