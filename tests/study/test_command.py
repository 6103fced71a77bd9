"""`limes study` as a user runs it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import RunLimes, limes_here
from tests.conftest import eventually, guest_path

__all__ = ["limes_here"]

HERE = ("--form", "ci", "--experiment", "none", "--args", "hi", "--only", "*/wasm/*", "--only", "*/process/*")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of one function."""
    folder = tmp_path_factory.mktemp("study") / "made"
    done = limes(guest_path("run_echo"), *HERE, "--native", "/bin/echo", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def limes(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limes", "study", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=150)


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study, tmp_path / "copy"))


def test_a_study_leaves_records_a_summary_and_a_report(study: Path) -> None:
    assert {"records.csv", "study.json", "summary.json", "report.html", "figures"} == {
        path.name for path in study.iterdir()
    }
    summary = json.loads((study / "summary.json").read_text())
    filled = {row["cell"] for row in summary["cells"] if not row["reason"]}
    assert {
        "run_echo/process/spawn",
        "run_echo/wasm/jit",
        "run_echo/wasm/aot",
        "run_echo/wasm/reused",
    } <= filled
    assert summary["verdicts"]["run_echo"]["use"].startswith("run_echo/wasm/")
    assert {path.suffix for path in (study / "figures").iterdir()} == {".svg", ".png"}


def test_a_finished_study_passes_its_check(limes_here: RunLimes, study: Path) -> None:
    told = json.loads(limes_here("study", "check", study, "--json").stdout)
    # /bin/echo ends its answer with a newline, which the function does not: the check sees it.
    assert [line.split(":")[0] for line in told["wrong"]] == ["run_echo"]
    assert "do not answer the same" in told["wrong"][0]


def test_a_summary_that_was_changed_fails_the_check(limes_here: RunLimes, copy: Path) -> None:
    summary = json.loads((copy / "summary.json").read_text())
    summary["verdicts"]["run_echo"]["text"] = "Use whatever you like."
    (copy / "summary.json").write_text(json.dumps(summary))
    done = limes_here("study", "check", copy)
    assert done.returncode == 1
    assert "verdicts: the summary does not follow from the records" in done.stderr


def test_the_same_command_again_measures_nothing_again(copy: Path) -> None:
    before = (copy / "records.csv").read_bytes()
    done = limes(guest_path("run_echo"), *HERE, "--native", "/bin/echo", "--out", copy, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdicts"]["run_echo"]["use"]
    assert told["unfilled"].keys() <= {"run_echo/wasm/tiered"}
    # What did not work before may work now; all else is as it was.
    assert (copy / "records.csv").read_bytes().startswith(before)


def test_a_study_that_was_killed_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "killed"
    given = ["limes", "study", str(guest_path("run_echo")), *HERE, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    records = out / "records.csv"
    eventually(lambda: records.exists() and records.read_bytes().count(b"\n") > 12, "some records")
    process.kill()
    process.wait()
    kept = records.read_bytes().rpartition(b"\n")[0]
    done = limes(guest_path("run_echo"), *HERE, "--out", out)
    assert done.returncode == 0, done.stderr
    assert records.read_bytes().startswith(kept)
    assert [path.name for path in out.glob("work-*")] == []
    assert limes("check", out).returncode == 0


def test_another_study_is_not_mixed_in(copy: Path) -> None:
    done = limes(guest_path("hello"), *HERE, "--out", copy)
    assert done.returncode != 0
    assert "holds another study (its plan differ)" in done.stderr
    assert "--fresh" in done.stderr


def test_figures_of_two_machines_are_not_put_together(copy: Path) -> None:
    told = json.loads((copy / "study.json").read_text())
    told["machine"]["cpu"] = "another"
    (copy / "study.json").write_text(json.dumps(told))
    done = limes(guest_path("run_echo"), *HERE, "--native", "/bin/echo", "--out", copy)
    assert done.returncode != 0
    assert "begun on another machine, or with other versions (cpu changed)" in done.stderr


def test_the_report_can_be_made_anew(limes_here: RunLimes, copy: Path) -> None:
    (copy / "report.html").unlink()
    summary = (copy / "summary.json").read_bytes()
    done = limes_here("study", "report", copy)
    assert done.stdout.strip() == str(copy / "report.html")
    assert (copy / "report.html").is_file()
    assert (copy / "summary.json").read_bytes() == summary


@pytest.mark.parametrize("command", ["report", "check"])
def test_a_folder_without_a_study_is_said_to_be_one(
    limes_here: RunLimes, tmp_path: Path, command: str
) -> None:
    done = limes_here("study", command, tmp_path, "--json")
    assert done.returncode != 0
    error = json.loads(done.stderr)["error"]
    assert error["kind"] == "not_found"
    assert f"limes study --out {tmp_path}" in error["message"]


def test_a_plan_lists_every_cell(limes_here: RunLimes) -> None:
    told = json.loads(limes_here("study", "plan", guest_path("run_echo"), "--json").stdout)
    assert len(told["cells"]) == 36
    lines = limes_here("study", "plan", guest_path("run_echo"), "--only", "*/wasm/*").stdout.splitlines()
    assert lines[0].split() == ["CELL", "MODE"]
    assert len(lines) == 6


def test_policies_are_replayed_over_patterns_and_traces(limes_here: RunLimes, tmp_path: Path) -> None:
    told = json.loads(limes_here("study", "policies", "--arrivals", "poisson:0.05", "--json").stdout)
    assert {row["series"] for row in told["rows"]} == {"poisson:0.05"}
    trace = tmp_path / "trace.csv"
    trace.write_text("app,func,end_timestamp,duration\na,f,1,0\na,f,30,0\nb,g,5,0\n")
    lines = limes_here("study", "policies", "--trace", trace).stdout.splitlines()
    assert lines[0].split() == ["ARRIVALS", "POLICY", "CALLS", "COLD_%", "MEMORY_MIB"]
    rows = {line.split("  ")[1].strip(): line.split() for line in lines[1:]}
    assert rows["none"][-2:] == ["100", "0"]
    assert rows["keep 60 s"][-2] == "66.67"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--form", "huge"], "there are ci, quick, full"),
        (["--experiment", "loud"], "--experiment loud: there are load"),
        (["--only", "nothing"], "--only nothing: no cell has such a name"),
        (["missing.wasm"], "missing.wasm': No such file"),
    ],
)
def test_what_cannot_be_studied_is_said(limes_here: RunLimes, args: list[str], told: str) -> None:
    given = args if args[0].endswith(".wasm") else [str(guest_path("run_echo")), *args]
    done = limes_here("study", *given)
    assert done.returncode != 0
    assert told in done.stderr


def test_a_component_without_a_contract_is_refused(limes_here: RunLimes) -> None:
    done = limes_here("study", guest_path("no_contract"))
    assert "exports nothing that Limes can call" in done.stderr


def test_a_package_that_is_missing_is_named_with_its_command() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from limes.cli.app import run\n"
        f"sys.exit(run(['study', {str(guest_path('run_echo'))!r}, '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    error: dict[str, Any] = json.loads(done.stderr)["error"]
    assert error["kind"] == "invalid_argument"
    assert "pip install 'limes[study]'" in error["message"]


def test_nothing_heavy_is_imported_to_show_help() -> None:
    code = (
        "import sys\nfrom limes.cli.app import run\nrun(['study', 'plan', '--help'])\n"
        "print([m for m in ('numpy', 'matplotlib', 'pydantic', 'rich') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip().splitlines()[-1] in ("[]", "['rich']")
