"""An experiment measures in the sandboxes that work, and says why not in the others."""

import pytest

from limes.errors import Unavailable
from limes.study.experiments.sandboxes import SANDBOXES, in_each


def refuse(sandbox: str) -> list[dict[str, object]]:
    raise Unavailable(f"no {sandbox} here.")


def test_one_that_does_not_work_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, missing = in_each(lambda sandbox: [{"in": sandbox}] if sandbox == "wasm" else refuse(sandbox))
    assert rows == [{"in": "wasm"}]
    assert missing == ["Not measured with microvm: no microvm here."]


def test_none_at_all_is_no_experiment() -> None:
    with pytest.raises(Unavailable) as told:
        in_each(refuse)
    for sandbox in SANDBOXES:
        assert f"Not measured with {sandbox}: no {sandbox} here." in told.value.message
