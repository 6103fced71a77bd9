"""The runner, with sandboxes whose delays are known."""

from collections import Counter
from dataclasses import replace

import pytest
from tests.study.conftest import FORM, Bench, SleepingTarget, cell, known, plan_of

from limes.study.journal import Journal, read
from limes.study.plan import Cell
from limes.study.runner import Progress, Runner

JIT, REUSED, WARM = cell(mode="jit"), cell(mode="reused"), cell("microvm", "warm", "builtin")


def test_what_is_recorded_is_what_it_took(bench: Bench) -> None:
    bench.targets = {JIT: known(1500, 250), REUSED: known(20, 250)}
    records = bench.run(plan_of(JIT, REUSED))
    for record in records:
        assert record.sample.cold_ns == (1_500_000 if record.cell == JIT else 20_000)
        assert record.sample.phases["execute"] == 250_000
        assert record.sample.resources.minor_faults == 3


def test_time_that_passes_is_found_in_its_phase(bench: Bench) -> None:
    target = SleepingTarget(start=0.004, execute=0.001)
    sample = target.measure()
    # The system may sleep longer, never shorter.
    assert sample.phases["create"] >= 4_000_000
    assert sample.phases["execute"] >= 1_000_000
    assert sum(sample.phases.values()) == sample.wall_ns
    assert sample.cold_ns == sample.phases["create"]


def test_every_cell_is_called_as_often_as_planned(bench: Bench) -> None:
    bench.targets = {JIT: known(1, 1), REUSED: known(1, 1), WARM: known(1, 1)}
    made = Counter((record.cell, record.kind) for record in bench.run(plan_of(JIT, REUSED, WARM)))
    assert made == {
        (JIT, "measured"): 6,
        (JIT, "warm-up"): 2,
        (REUSED, "measured"): 18,
        (REUSED, "warm-up"): 2 + 5,
        (WARM, "measured"): 6,
        (WARM, "warm-up"): 2 + 5,
    }


def test_warming_up_comes_first(bench: Bench) -> None:
    bench.targets = {REUSED: known(1, 1)}
    kinds = [record.kind for record in bench.run(plan_of(REUSED)) if record.round == 0]
    assert kinds == ["warm-up"] * 2 + ["measured"] * 3


@pytest.mark.parametrize("interrupted_at", [1, 2, 3, 7, 12])
def test_an_interrupted_study_goes_on_where_it_stopped(bench: Bench, interrupted_at: int) -> None:
    plan = plan_of(JIT, REUSED)
    bench.targets = {JIT: known(1, 1), REUSED: known(1, 1, interrupted_at=interrupted_at)}
    with pytest.raises(KeyboardInterrupt):
        bench.run(plan)
    before = [record for record in read(bench.path) if record.kind == "measured"]
    bench.targets = {JIT: known(1, 1), REUSED: known(1, 1)}
    after = [record for record in bench.run(plan) if record.kind == "measured"]
    assert after[: len(before)] == before
    assert Counter((record.cell, record.round) for record in after) == {
        **{(JIT, number): 1 for number in range(6)},
        **{(REUSED, number): 3 for number in range(6)},
    }


def test_a_finished_study_is_not_run_again(bench: Bench) -> None:
    bench.targets = {JIT: known(1, 1)}
    bench.run(plan_of(JIT))
    bench.targets = {}
    assert len(bench.run(plan_of(JIT))) == 8


def test_targets_are_closed_whatever_happens(bench: Bench) -> None:
    bench.targets = {JIT: known(1, 1), REUSED: known(1, 1, interrupted_at=9)}
    with pytest.raises(KeyboardInterrupt):
        bench.run(plan_of(JIT, REUSED))
    assert [target.closed for target in bench.targets.values()] == [1, 1]


def test_a_sandbox_that_does_not_work_here_says_why_and_others_go_on(bench: Bench) -> None:
    bench.targets = {JIT: known(1, 1), WARM: known(1, 1, broken="no KVM here")}
    records = bench.run(plan_of(JIT, WARM))
    (reason,) = [record.reason for record in records if record.cell == WARM]
    assert reason == "unavailable: no KVM here"
    assert bench.targets[WARM].closed == 1
    assert sum(record.cell == JIT for record in records) == 8
    assert bench.targets[WARM].prepared == 1


def test_a_sandbox_that_breaks_on_the_way_is_given_up(bench: Bench) -> None:
    bench.targets = {JIT: known(1, 1, fails_at=4)}
    records = bench.run(plan_of(JIT))
    assert [record.kind for record in records] == ["warm-up", "warm-up", "measured", "unfilled"]
    assert records[-1].reason == "unavailable: it broke on the way"


def test_a_cell_is_left_out_once_its_time_is_spent(bench: Bench) -> None:
    second = known(1_000_000, 0)
    bench.targets = {JIT: second, REUSED: known(1, 1)}
    records = bench.run(plan_of(JIT, REUSED, form=replace(FORM, total_seconds=5.0)))
    # Each has half of it. Two calls to warm up and one measured take three seconds; the least is two visits.
    assert sum(record.cell == JIT and record.kind == "measured" for record in records) == 2
    assert sum(record.cell == REUSED and record.kind == "measured" for record in records) == 18


def test_cells_that_do_not_work_leave_their_time_to_the_others(bench: Bench) -> None:
    bench.targets = {JIT: known(1_000_000, 0), WARM: known(1, 1, broken="no KVM here")}
    records = bench.run(plan_of(JIT, WARM, form=replace(FORM, total_seconds=4.5)))
    # Alone it has all of it: two seconds to warm up, and three visits until it is over.
    assert sum(record.cell == JIT and record.kind == "measured" for record in records) == 3


def test_a_visit_ends_when_it_takes_too_long(bench: Bench) -> None:
    form = replace(FORM, visit_seconds=1.5)
    bench.targets = {REUSED: known(1_000_000, 0, interrupted_at=9)}
    with pytest.raises(KeyboardInterrupt):
        bench.run(plan_of(REUSED, form=form))
    bench.targets = {REUSED: known(1_000_000, 0)}
    measured = [record.round for record in bench.run(plan_of(REUSED, form=form)) if record.kind == "measured"]
    # Two calls of a second each instead of three, also where it was interrupted and went on.
    assert measured == sorted([*range(6), *range(6)])


def test_progress_says_what_is_left(bench: Bench) -> None:
    told: list[Progress] = []
    seconds = iter(range(1000))
    targets = {JIT: known(1, 1), REUSED: known(1, 1)}
    with Journal(bench.path) as journal:
        plan = plan_of(JIT, REUSED)
        Runner(plan, journal, targets.__getitem__, tell=told.append, clock=lambda: float(next(seconds))).run()
    assert [progress.done for progress in told] == list(range(12))
    assert told[0].seconds_left is None
    # Each visit takes one tick of this clock.
    assert [progress.seconds_left for progress in told[1:]] == [float(12 - done) for done in range(1, 12)]
    assert {progress.visits for progress in told} == {12}


def test_caveats_of_a_target_are_kept(bench: Bench) -> None:
    bench.targets = {WARM: known(1, 1, caveat="under emulation")}
    bench.run(plan_of(WARM))
    assert bench.caveats == {str(WARM): "under emulation"}


def test_an_answer_is_kept_as_its_digest(bench: Bench) -> None:
    bench.targets = {JIT: known(1, 1, answer=b"Hello")}
    # printf Hello | sha256sum
    assert bench.run(plan_of(JIT))[0].sample.answer == b"185f8db32271"


def test_cells_have_one_name(bench: Bench) -> None:
    for one in (JIT, WARM, cell("process", "spawn"), Cell("a.b-c", "unikernel", "qemu", "end-to-end")):
        assert Cell.parse(str(one)) == one
