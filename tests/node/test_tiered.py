"""A node serves a large component before its optimised code is ready."""

from pathlib import Path

import httpx
import pytest
from tests.conftest import Node, eventually

LARGE = Path(__file__).resolve().parents[2] / "functions" / "build" / "image.wasm"


def test_a_deploy_is_acknowledged_with_the_fast_code_and_the_optimised_takes_its_place(node: Node) -> None:
    if not LARGE.is_file():
        pytest.fail(f"{LARGE} is not built; run `make functions`")
    answer = node.deploy(LARGE, "image", "--compile", "tiered", "--timeout", "60s", "--cpu", "60s")
    assert answer["timing"]["tier"] == "baseline"
    first = httpx.post(node.function_url("image"), timeout=60)
    assert first.status_code == 200
    eventually(
        lambda: node.json("describe", "image")["tier"] == "optimized", "the optimised code", seconds=60
    )
    assert node.json("describe", "image")["compile"] == "tiered"
    assert httpx.post(node.function_url("image"), timeout=60).text == first.text
