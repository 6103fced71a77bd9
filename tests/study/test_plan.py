"""What is run, in which order."""

import pytest
from tests.study.conftest import cell, plan_of

from limes.errors import InvalidArgument
from limes.study.plan import FORMS, MODES, every_cell, form_named, matching

CELLS = every_cell(["noop", "image"])


def test_every_sandbox_and_mode_is_planned_for_each_function() -> None:
    assert len(CELLS) == len(set(CELLS)) == 2 * (1 + 5 + 2 * 3 * 5)
    assert {cell.mode for cell in CELLS} == set(MODES)


def test_each_round_visits_every_cell_once_in_an_order_of_its_own() -> None:
    plan = plan_of(*CELLS)
    rounds = [
        [visit.cell for visit in plan.visits() if visit.round == number] for number in range(plan.form.rounds)
    ]
    assert all(sorted(one) == sorted(CELLS) for one in rounds)
    assert len({tuple(one) for one in rounds}) == plan.form.rounds


def test_the_same_seed_gives_the_same_order() -> None:
    assert list(plan_of(*CELLS).visits()) == list(plan_of(*CELLS).visits())
    assert list(plan_of(*CELLS).visits()) != list(plan_of(*CELLS, seed=2).visits())


def test_cells_are_chosen_by_pattern() -> None:
    assert matching(CELLS, ["noop/wasm/aot"]) == (cell(mode="aot"),)
    assert len(matching(CELLS, ["noop/*"])) == len(CELLS) // 2
    assert len(matching(CELLS, ["*/wasm/*", "*/process/*"])) == 2 * 6
    assert matching(CELLS, []) == CELLS


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"nooop/\*: no cell has such a name.*limes study plan"):
        matching(CELLS, ["noop/*", "nooop/*"])


def test_an_unknown_form_names_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="ci, quick, full"):
        form_named("huge")
    assert form_named("ci") is FORMS["ci"]
