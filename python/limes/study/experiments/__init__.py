"""What the paper left open: long runs, density, load, many starts at once, input and output, and idle policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Experiment(Protocol):
    """One question that the cells of a plan do not answer."""

    name: str

    def run(self, work: Path) -> dict[str, Any]:
        """Measure, and give JSON values: at least `title`, `question` and `finding` in words, and `rows`.

        What cannot be measured here has `reason` instead of a finding.

        Args:
            work: a folder for whatever it needs, removed afterwards.
        """
