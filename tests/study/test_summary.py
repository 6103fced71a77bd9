"""What follows from records: figures, verdicts, and whether a summary is true to them."""

from typing import Any

import pytest
from tests.study.conftest import Bench, KnownTarget, cell, known, plan_of

from limes.study import paper
from limes.study.plan import Cell
from limes.study.summary import check, summarise
from limes.study.verdict import milliseconds

NATIVE = cell("process", "spawn")
AOT, JIT, REUSED = cell(mode="aot"), cell(mode="jit"), cell(mode="reused")
SNAPSHOT, WARM = cell("microvm", "snapshot", "builtin"), cell("microvm", "warm", "builtin")


def study_of(bench: Bench, targets: dict[Cell, KnownTarget], application: str = "noop") -> dict[str, Any]:
    """Run a study over targets; what its folder would hold."""
    bench.targets = targets
    plan = plan_of(*targets)
    records = bench.run(plan)
    study = {
        "plan": plan.to_json(),
        "workloads": {"noop": {"paper": application}},
        "machine": {"cpu": "test"},
        "command": "limes study",
        "caveats": {name: text for name, text in bench.caveats.items() if text},
    }
    return {"study": study, "records": records, "summary": summarise(study, records, {})}


def verdict(bench: Bench, targets: dict[Cell, KnownTarget]) -> dict[str, Any]:
    told: dict[str, Any] = study_of(bench, targets)["summary"]["verdicts"]["noop"]
    return told


def row_of(summary: dict[str, Any], wanted: Cell) -> dict[str, Any]:
    (row,) = [row for row in summary["cells"] if row["cell"] == str(wanted)]
    return row


def test_a_cell_has_the_figures_of_its_calls(bench: Bench) -> None:
    summary = study_of(bench, {AOT: known(1500, 250)})["summary"]
    row = row_of(summary, AOT)
    assert row["calls"] == 18
    assert row["discarded"] == 7
    assert {**row["cold_ms"]} == dict.fromkeys(("value", "low", "high", "p5", "p95", "p99"), 1.5)
    assert row["execute_ms"]["value"] == 0.25
    assert row["total_ms"]["value"] == 1.75
    assert row["phases_ms"] == {"load": 1.5, "execute": 0.25, "reset": 0.0005}
    assert (row["minor_faults"], row["context_switches"], row["resident_mib"]) == (3, 11, 1.0)


def test_every_planned_cell_is_in_the_summary(bench: Bench) -> None:
    told = study_of(bench, {AOT: known(1, 1), WARM: known(1, 1, broken="no KVM")})
    assert row_of(told["summary"], WARM)["reason"] == "unavailable: no KVM"
    assert check(told["summary"], told["study"], told["records"], {}) == []


def test_execution_is_set_against_the_native_process(bench: Bench) -> None:
    summary = study_of(bench, {NATIVE: known(1000, 1000), AOT: known(300, 1070)})["summary"]
    assert row_of(summary, AOT)["execute_vs_native"]["value"] == 1.07
    assert row_of(summary, NATIVE)["execute_vs_native"] is None


def test_a_verdict_names_what_starts_fastest_and_says_why(bench: Bench) -> None:
    told = verdict(
        bench,
        {
            NATIVE: known(1000, 1000),
            JIT: known(5600, 1070),
            AOT: known(300, 1070),
            REUSED: known(20, 1070),
            SNAPSHOT: known(31_000, 1090),
        },
    )
    assert told["text"] == (
        "Use Wasm AOT: it starts in 0.3 ms against 31 ms with a microVM (builtin, snapshot). "
        "Execution takes 1.07x of native (95 %: 1.07 to 1.07). "
        "Kept ready, Wasm reused starts in 20 us. "
        "Isolation by hardware, with a microVM (builtin, snapshot), costs 30.7 ms more at each start."
    )
    assert (told["use"], told["against"]) == (str(AOT), str(SNAPSHOT))


def test_an_execution_as_fast_as_native_is_not_called_slower(bench: Bench) -> None:
    told = verdict(bench, {NATIVE: known(1000, 1000), AOT: known(300, 1000)})
    assert (
        "Execution cannot be told apart from native by these runs (1.00x, 95 %: 1.00 to 1.00)."
        in told["text"]
    )


def test_the_verdict_turns_with_the_figures(bench: Bench) -> None:
    told = verdict(bench, {AOT: known(31_000, 1000), SNAPSHOT: known(300, 1000)})
    assert told["use"] == str(SNAPSHOT)
    assert told["text"].startswith(
        "Use a microVM (builtin, snapshot): it starts in 0.3 ms against 31 ms with Wasm AOT."
    )


def test_a_slower_execution_has_a_break_even(bench: Bench) -> None:
    # 9 ms less to start, 1 ms more a call: after nine calls a start it is even.
    told = verdict(bench, {AOT: known(1000, 3000), SNAPSHOT: known(10_000, 2000)})
    assert told["break_even_calls"] == 9.0
    assert (
        "executes 1 ms faster: where one start serves more than 9 calls, it is faster in all." in told["text"]
    )


def test_what_is_slower_even_for_one_call_is_said(bench: Bench) -> None:
    told = verdict(bench, {AOT: known(1000, 30_000), SNAPSHOT: known(10_000, 2000)})
    assert "Even for a single call a microVM (builtin, snapshot) is faster in all" in told["text"]


def test_what_cannot_be_told_apart_is_not_told_apart(bench: Bench) -> None:
    told = verdict(bench, {AOT: known(1000, 1000), SNAPSHOT: known(1000, 1000)})
    assert "cannot be told apart by these runs: 1 ms against 1 ms" in told["text"]


def test_emulation_is_said_beside_the_verdict(bench: Bench) -> None:
    told = verdict(
        bench, {AOT: known(300, 1000), SNAPSHOT: known(9000, 1000, caveat="under emulation (TCG)")}
    )
    assert told["text"].endswith("Mind that a microVM (builtin, snapshot) ran here under emulation (TCG).")


def test_emulation_is_said_of_every_cell_a_verdict_names(bench: Bench) -> None:
    qemu, ready = cell("microvm", "snapshot", "qemu"), cell("microvm", "warm", "qemu")
    emulated = "under emulation (TCG)"
    told = verdict(
        bench,
        {
            AOT: known(300, 1000),
            cell("unikernel", "snapshot", "builtin"): known(900, 1000),
            qemu: known(9000, 1000, caveat=emulated),
            ready: known(100, 1000, caveat=emulated),
        },
    )
    assert (told["ready"], told["isolation"]) == (str(ready), str(qemu))
    both = "a microVM (qemu, warm) and a microVM (qemu, snapshot)"
    assert told["text"].endswith(f"Mind that {both} ran here {emulated}.")


def test_what_is_ready_at_once_has_nothing_to_start(bench: Bench) -> None:
    told = verdict(bench, {AOT: known(300, 1000), WARM: known(0, 1000)})
    assert "Kept ready, a microVM (builtin, warm) has nothing to start." in told["text"]


def test_what_is_kept_ready_is_named_only_where_it_starts_faster(bench: Bench) -> None:
    assert "ready" not in verdict(bench, {AOT: known(300, 1000), WARM: known(900, 1000)})


def test_without_a_sandbox_there_is_no_verdict(bench: Bench) -> None:
    assert verdict(bench, {NATIVE: known(1000, 1000)})["use"] is None


def test_a_native_unikernel_counts_as_a_rival_but_is_not_recommended(bench: Bench) -> None:
    unikernel = cell("unikernel", "snapshot", "builtin")
    told = verdict(bench, {AOT: known(5000, 1000), unikernel: known(300, 1000)})
    assert told["use"] == str(AOT)
    assert told["against"] == str(unikernel)


@pytest.mark.parametrize("tamper", ["verdict", "figure", "cell", "answer"])
def test_a_summary_that_does_not_follow_is_found(bench: Bench, tamper: str) -> None:
    told = study_of(bench, {AOT: known(300, 1000), SNAPSHOT: known(9000, 1000)})
    summary, study, records = told["summary"], told["study"], told["records"]
    assert check(summary, study, records, {}) == []
    if tamper == "verdict":
        summary["verdicts"]["noop"]["text"] = "Use a microVM."
    elif tamper == "figure":
        summary["cells"][0]["cold_ms"]["value"] = 0.1
    elif tamper == "cell":
        summary["cells"].pop()
    else:
        summary["answers"] = {}
    assert check(summary, study, records, {})


def test_a_cell_that_must_be_filled_has_no_excuse(bench: Bench) -> None:
    told = study_of(bench, {AOT: known(1, 1), WARM: known(1, 1, broken="no KVM")})
    arguments = (told["summary"], told["study"], told["records"], {})
    assert check(*arguments, ["*/wasm/*", "*/process/*"]) == []
    assert check(*arguments, ["*/microvm-*"]) == [f"{WARM}: must be filled, and is not: unavailable: no KVM"]


def test_a_study_that_is_not_finished_is_found(bench: Bench) -> None:
    told = study_of(bench, {AOT: known(300, 1000)})
    told["study"]["plan"]["cells"].append(str(JIT))
    summary = summarise(told["study"], told["records"], {})
    assert any("not run yet" in line for line in check(summary, told["study"], told["records"], {}))


def test_sandboxes_that_answer_differently_are_found(bench: Bench) -> None:
    told = study_of(bench, {AOT: known(1, 1), SNAPSHOT: known(1, 1, answer=b"another")})
    (line,) = check(told["summary"], told["study"], told["records"], {})
    assert "do not answer the same" in line
    assert str(SNAPSHOT) in line


def test_the_papers_figures_stand_beside_ours(bench: Bench) -> None:
    end_to_end = cell("unikernel", "end-to-end", "builtin")
    rows = study_of(bench, {JIT: known(2000, 100), end_to_end: known(9346, 100)})["summary"]["paper"]
    by_cell = {row["paper_cell"]: row for row in rows}
    jit = by_cell["noop/wasm/jit"]
    assert (jit["our_cell"], jit["our_cold_ms"]) == (str(JIT), 2.0)
    assert jit["cold_ratio"] == pytest.approx(2.0 / 5.586, rel=1e-3)
    # Ours runs on another VMM: it is the same mode, and the row says which it is.
    assert by_cell["noop/unikernel-firecracker/end-to-end"]["our_cell"] == str(end_to_end)
    assert by_cell["noop/unikernel-firecracker/end-to-end"]["cold_ratio"] == pytest.approx(0.1, rel=1e-3)
    assert by_cell["noop/unikernel-firecracker/pre-configured"]["our_cell"] is None


def test_a_users_function_is_not_set_beside_the_paper(bench: Bench) -> None:
    assert study_of(bench, {JIT: known(2000, 100)}, application="")["summary"]["paper"] == []


def test_the_papers_data_are_the_published_ones() -> None:
    found = paper.published()
    assert {len(cell.cold_ms) for cell in found.values()} == {1000}
    from limes.study.statistics import median

    def cold(name: str) -> float:
        return median(found[Cell.parse(name)].cold_ms)

    # The abstract and section 4 of the paper: some 94 ms end to end, 30 pre-configured.
    assert cold("noop/unikernel-firecracker/end-to-end") == pytest.approx(93.5, abs=0.1)
    assert cold("noop/unikernel-firecracker/pre-configured") == pytest.approx(29.4, abs=0.1)
    assert cold("noop/wasm/jit") == pytest.approx(5.59, abs=0.01)
    assert cold("image-io/wasm/jit") == pytest.approx(512, abs=0.1)
    mandelbrot = Cell.parse("mandelbrot/unikernel-firecracker/end-to-end")
    wasm = Cell.parse("mandelbrot/wasm/jit")
    # WebAssembly takes 1.07x of native there.
    assert median(found[wasm].execute_ms) / median(found[mandelbrot].execute_ms) == pytest.approx(
        1.07, abs=0.005
    )


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "12.3 us"), (0.31, "0.31 ms"), (31.04, "31 ms"), (1500.0, "1.5 s")]
)
def test_times_are_written_with_three_digits(value: float, text: str) -> None:
    assert milliseconds(value) == text
