"""The experiments past the paper, in their short form, against a real node and real instances."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import guest_path

from limes.errors import InvalidArgument, Unavailable
from limes.study.experiments import NAMES, Experiment, chosen
from limes.study.experiments.density import Density
from limes.study.experiments.io import InputOutput
from limes.study.experiments.load import Load
from limes.study.experiments.soak import Soak
from limes.study.experiments.starts import Starts
from limes.study.folder import StudyFolder
from limes.study.plan import FORMS
from limes.study.study import Study
from limes.study.workloads import Call, Workload

ECHO = Workload("echo", guest_path("run_echo"), call=Call("x"))

pytestmark = pytest.mark.timeout(180)


def run(experiment: Experiment, work: Path) -> dict[str, Any]:
    told = experiment.run(work)
    assert told["finding"]
    assert told["rows"]
    for panel in told.get("figure", {"panels": []})["panels"]:
        assert all(column in row for row in told["rows"] for column in [*panel["y"], told["figure"]["x"]])
    return told


def test_load_rises_until_the_node_cannot_keep_up(tmp_path: Path) -> None:
    for attempt in range(5):
        (work := tmp_path / str(attempt)).mkdir()
        told = run(Load("ci", ECHO), work)
        # A machine that stands still for a tenth of a second just then keeps up with no rate at all.
        if len(told["rows"]) > 1:
            break
    offered = [row["offered_rps"] for row in told["rows"]]
    assert offered == sorted(offered)
    assert [row["kept_up"] for row in told["rows"]] == [True] * (len(offered) - 1) + [False]
    assert told["knee_rps"] == offered[-2]


def test_starts_at_once_all_get_their_answer(tmp_path: Path) -> None:
    told = run(Starts("ci", ECHO), tmp_path)
    own = [row for row in told["rows"] if row["series"] == "wasm"]
    assert [row["at_once"] for row in own] == [1, 10, 100]
    assert all(row["failed"] == 0 for row in own)
    assert all(row["first_ms"] <= row["p50_ms"] <= row["last_ms"] for row in own)


def test_a_long_run_is_tested_for_drift(tmp_path: Path) -> None:
    told = run(Soak("ci", ECHO), tmp_path)
    assert len(told["rows"]) == 12
    assert set(told["trends"]) == {"throughput_rps", "p99_ms", "memory_mib", "handles"}
    assert sum(row["failed"] for row in told["rows"]) == 0
    assert not told["trends"]["handles"]["drifts"]


def test_instances_are_alive_together(tmp_path: Path) -> None:
    # Compiled by another process: what a compilation has taken goes back to the system some time later.
    component = files("limes.study") / "data" / "waiting.wat"
    load = "import sys; from limes import Runtime; Runtime(sys.argv[1]).load(sys.argv[2])"
    subprocess.run([sys.executable, "-c", load, tmp_path / "cache", str(component)], check=True, timeout=60)
    told = run(Density("ci"), tmp_path)
    own = [row for row in told["rows"] if row["series"] == "wasm"]
    assert [row["instances"] for row in own] == [10, 100, 500]
    # Each touches a page of its memory, so it cannot hold less; the first ten may do so a moment late.
    assert all(row["one_more_kib"] >= 4 for row in own[1:])


def test_input_and_output_come_through_whole(tmp_path: Path) -> None:
    told = run(InputOutput("ci"), tmp_path)
    assert {row["what"] for row in told["rows"]} == {
        "reading a file",
        "writing a file",
        "fetching over HTTP",
        "echoing a body",
    }


def test_an_experiment_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMES_ROOT", str(tmp_path))
    with pytest.raises(Unavailable, match=r"lacks fs\.wasm.*run `make guests`"):
        InputOutput("ci").run(tmp_path)


def test_idle_policies_use_the_measured_costs(tmp_path: Path) -> None:
    from limes.study.plan import Plan, every_cell, matching

    folder = StudyFolder(tmp_path / "study")
    cells = matching(every_cell(["echo"]), ["echo/wasm/aot", "echo/wasm/pre-instantiated"])
    experiments = chosen(FORMS["ci"], [ECHO], folder, ["idle"])
    summary = Study(folder, [ECHO], Plan(cells, FORMS["ci"], 1), experiments).run()
    told = summary["experiments"]["idle"]
    assert {row["series"].split(", ")[0] for row in told["rows"]} == {"wasm"}
    none = next(row for row in told["rows"] if row["policy"] == "none")
    cold = summary["cells"][0]["cold_ms"]["value"]
    assert none["cold_percent"] == 100.0
    assert none["seconds_lost_to_starts"] == pytest.approx(none["calls"] * cold / 1e3, rel=1e-3)


def test_experiments_are_chosen_by_name(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert [experiment.name for experiment in chosen(FORMS["ci"], [ECHO], folder, None)] == list(NAMES)
    assert chosen(FORMS["ci"], [ECHO], folder, ["none"]) == []
    with pytest.raises(InvalidArgument, match="--experiment loud: there are load"):
        chosen(FORMS["ci"], [ECHO], folder, ["loud"])
