"""What the paper left open: long runs, density, load, many starts at once, I/O, and idle policies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from limes.errors import InvalidArgument
from limes.study.folder import StudyFolder
from limes.study.plan import Form
from limes.study.workloads import Workload

NAMES = ("load", "starts", "soak", "density", "io", "idle")


class Experiment(Protocol):
    """One question that the cells of a plan do not answer."""

    @property
    def name(self) -> str:
        """One of :data:`NAMES`."""

    @property
    def title(self) -> str:
        """Its heading in the report."""

    @property
    def question(self) -> str:
        """What it answers."""

    def run(self, work: Path) -> dict[str, Any]:
        """Measure, and give JSON values: `title`, `question`, `finding` in words, `rows`, how to draw them.

        Raises:
            LimesError: it cannot be measured here.

        Args:
            work: a folder for whatever it needs, removed afterwards.
        """


def chosen(
    form: Form, workloads: Sequence[Workload], folder: StudyFolder, names: Sequence[str] | None
) -> list[Experiment]:
    """The experiments of a form, or only those named.

    Args:
        form: how much is measured.
        workloads: the first of them is the one that the experiments call.
        folder: where the study is kept; the idle policies take their costs from it.
        names: some of :data:`NAMES`; ``none`` for none; None for all.

    Raises:
        InvalidArgument: a name is none.
    """
    from limes.study.experiments.density import Density
    from limes.study.experiments.idle import Idle
    from limes.study.experiments.io import InputOutput
    from limes.study.experiments.load import Load
    from limes.study.experiments.soak import Soak
    from limes.study.experiments.starts import Starts

    wanted = NAMES if names is None else [name for name in names if name != "none"]
    for name in wanted:
        if name not in NAMES:
            raise InvalidArgument(
                f"--experiment {name}: there are {', '.join(NAMES)}, and none", operation="study"
            )
    studied = workloads[0]
    every: list[Experiment] = [
        Load(form.name, studied),
        Starts(form.name, studied),
        Soak(form.name, studied),
        Density(form.name),
        InputOutput(form.name),
        Idle(folder, studied.name),
    ]
    return [experiment for experiment in every if experiment.name in wanted]
