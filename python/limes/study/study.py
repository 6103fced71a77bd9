"""One study from beginning to end: plan, run, experiments, summary."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limes.errors import InvalidArgument, LimesError
from limes.study import journal, machine
from limes.study.experiments import Experiment
from limes.study.folder import FORMAT, StudyFolder, workspace, write_json
from limes.study.plan import Plan
from limes.study.runner import Progress, Runner
from limes.study.targets import Targets
from limes.study.workloads import Workload

INSTALL = "pip install 'limes[study]'"


def require_packages() -> None:
    """See that what a study needs beyond Limes itself is installed, before anything is measured.

    Raises:
        InvalidArgument: it is not; the message names the command that installs it.
    """
    try:
        import matplotlib as _m  # noqa: F401
        import numpy as _n  # noqa: F401
    except ImportError as error:
        raise InvalidArgument(
            f"a study needs the package {error.name}, which is not installed: {INSTALL}", operation="study"
        ) from None


@dataclass
class Study:
    """What is studied, and where it is kept."""

    folder: StudyFolder
    workloads: Sequence[Workload]
    plan: Plan
    experiments: Sequence[Experiment] = ()
    command: str = "limes study"
    """How to make it again, for the report."""

    def run(
        self,
        *,
        fresh: bool = False,
        tell: Callable[[Progress], None] = lambda _: None,
        tell_experiment: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Measure what is not measured yet, and write the summary.

        Args:
            fresh: begin anew, whatever the folder holds.
            tell: told before each visit of a cell how far the study is.
            tell_experiment: told the name of each experiment before it begins.

        Returns:
            The summary.

        Raises:
            InvalidArgument: the folder holds another study, or one of another machine.
            LimesIOError: the folder cannot be written.
        """
        require_packages()
        self.folder.create()
        with workspace(self.folder.path) as work:
            study = self.folder.begin(self._described(), fresh=fresh)
            self._same_machine(study)
            self._cells(study, work, tell)
            for experiment in self.experiments:
                if experiment.name not in self.folder.read_experiments():
                    tell_experiment(experiment.name)
                    self.folder.keep_experiment(experiment.name, _result(experiment, work))
        return summarised(self.folder)

    def _cells(self, study: dict[str, Any], work: Path, tell: Callable[[Progress], None]) -> None:
        workloads = {workload.name: workload for workload in self.workloads}
        with journal.Journal(self.folder.records) as records:
            runner = Runner(self.plan, records, Targets(workloads, work).open, tell=tell)
            try:
                runner.run()
            finally:
                told = {str(cell): caveat for cell, caveat in runner.caveats.items() if caveat}
                study["caveats"] = {**study.get("caveats", {}), **told}
                write_json(self.folder.study, study)

    def _described(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "plan": self.plan.to_json(),
            "workloads": {
                workload.name: {
                    "component": workload.component.name,
                    "paper": workload.paper,
                    "args": workload.call.args,
                }
                for workload in self.workloads
            },
            "machine": machine.describe(),
            "command": self.command,
            "caveats": {},
        }

    def _same_machine(self, study: dict[str, Any]) -> None:
        changed = machine.settings_changed(study["machine"], machine.describe())
        if changed:
            raise InvalidArgument(
                f"{self.folder.path} was begun on another machine, or with other versions "
                f"({', '.join(changed)} changed): figures of the two must not be put together; give "
                "--fresh, or another --out",
                operation="study",
            )


def _result(experiment: Experiment, work: Path) -> dict[str, Any]:
    """What an experiment gave, or why it gave nothing."""
    try:
        return experiment.run(work)
    except LimesError as error:
        return {
            "title": experiment.title,
            "question": experiment.question,
            "reason": error.message,
            "rows": [],
        }


def summarised(folder: StudyFolder) -> dict[str, Any]:
    """Make the summary from what the folder holds, and write it.

    Raises:
        NotFound: there is no study.
        LimesIOError: the summary cannot be written.
    """
    from limes.study.summary import summarise

    summary = summarise(folder.read_study(), journal.read(folder.records), folder.read_experiments())
    write_json(folder.summary, summary)
    return summary


def checked(folder: StudyFolder, required: Sequence[str] = ()) -> list[str]:
    """What is wrong with the study in a folder; empty when every cell is filled and the verdicts follow.

    Raises:
        NotFound: there is no study, or no summary.
    """
    from limes.study.summary import check

    return check(
        folder.read_summary(),
        folder.read_study(),
        journal.read(folder.records),
        folder.read_experiments(),
        required,
    )


def command_of(arguments: Sequence[str]) -> str:
    """The command line that makes a study again."""
    return shlex.join(["limes", "study", *arguments])
