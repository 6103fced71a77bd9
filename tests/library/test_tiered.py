"""A large component answers before its optimised code is ready, and answers the same afterwards."""

from pathlib import Path

import pytest
from tests.conftest import eventually, guest_path

from limes import InvalidArgument, Runtime

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions" / "build"


def large() -> Path:
    path = FUNCTIONS / "image.wasm"
    if not path.is_file():
        pytest.fail(f"{path} is not built; run `make functions`")
    return path


def test_the_fast_compilers_code_answers_until_the_optimised_code_is_there(tmp_path: Path) -> None:
    function = Runtime(tmp_path / "cache").load(large(), compile="tiered", timeout="60s", cpu="60s")
    assert function.timing.tier == "baseline"
    first = function.run()
    eventually(lambda: function.tier == "optimized", "the optimised code")
    second = function.run()
    assert second.timing.tier == "optimized"
    assert first.output == second.output


def test_the_optimised_code_is_kept_for_the_next_load(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path / "cache")
    function = runtime.load(large(), compile="tiered")
    eventually(lambda: function.tier == "optimized", "the optimised code")
    again = runtime.load(large(), compile="tiered")
    assert (again.tier, again.timing.cache, again.timing.compile) == ("optimized", "hit", 0)


def test_a_small_component_is_optimised_at_once(tmp_path: Path) -> None:
    function = Runtime(tmp_path / "cache").load(guest_path("run_echo"), compile="tiered")
    assert (function.tier, function.timing.tier) == ("optimized", "optimized")


def test_by_default_every_component_is_optimised_at_once(tmp_path: Path) -> None:
    function = Runtime(tmp_path / "cache").load(large())
    assert (function.tier, function.run(timeout="60s").timing.tier) == ("optimized", "optimized")


def test_another_word_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="'optimized' or 'tiered'"):
        Runtime(tmp_path / "cache").load(large(), compile="fast")  # type: ignore[arg-type]
