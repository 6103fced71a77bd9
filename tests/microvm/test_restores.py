"""A machine is restored from a snapshot as often as it is asked for, many at once, and each one answers."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conftest import guest_path
from tests.microvm.conftest import MODES

from limes import Runtime

RESTORES = 100
AT_ONCE = 10
SNAPSHOTS = 20


def test_every_machine_of_a_snapshot_answers(runtime: Runtime, vmm: str) -> None:
    assert "snapshot" in MODES[vmm]
    hello = runtime.load(
        guest_path("hello"), sandbox="microvm", microvm={"vmm": vmm, "mode": "snapshot"}, timeout="60s"
    )
    with ThreadPoolExecutor(AT_ONCE) as callers:
        answers = list(callers.map(lambda number: hello.run(str(number)).output, range(RESTORES)))
    assert answers == [f"Hello, {number}!" for number in range(RESTORES)]


def test_every_snapshot_is_one_that_machines_can_be_restored_from(
    cache_dir: Path, problems: dict[str, str]
) -> None:
    # What a guest has on its way to its host when it is stopped is lost, for all who are restored from there.
    if not os.environ.get("LIMES_FIRECRACKER"):
        pytest.skip("LIMES_FIRECRACKER names no binary of Firecracker")
    if problem := problems["firecracker"]:
        pytest.skip(f"no microVM on firecracker: {problem}")
    settings = {"vmm": "firecracker", "mode": "snapshot"}
    for number in range(SNAPSHOTS):
        runtime = Runtime(cache_dir)
        hello = runtime.load(guest_path("hello"), sandbox="microvm", microvm=settings)
        assert hello.run(str(number)).output == f"Hello, {number}!"
