"""Every case of this folder is run on every sandbox."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from limes import Function, Runtime, UnsupportedContract

VMMS = os.environ.get("LIMES_TEST_VMMS", "builtin").split(",")
"""The monitors that the cases run on: all of them on the built-in one, in CI a part on QEMU too."""


class OnMicroVm(Runtime):
    """A runtime whose functions run in virtual machines, and that is otherwise no different."""

    def __init__(self, cache_dir: Path, vmm: str) -> None:
        super().__init__(cache_dir)
        self.vmm = vmm

    def load(self, component: Any, **options: Any) -> Function:
        try:
            return super().load(component, sandbox="microvm", microvm={"vmm": self.vmm}, **options)
        except UnsupportedContract as refused:
            if 'needs sandbox = "wasm"' in str(refused):
                pytest.skip("this component speaks WASI 0.3, which a microVM refuses (tests/microvm)")
            raise


@pytest.fixture(scope="session")
def microvms(cache_dir: Path) -> dict[str, str]:
    """Why each monitor does not work here; empty for one that does."""
    return {probed["vmm"]: probed["problem"] for probed in json.loads(Runtime(cache_dir).engine.microvms())}


@pytest.fixture(scope="session", params=["wasm", *(f"microvm-{vmm}" for vmm in VMMS)])
def runtime(request: pytest.FixtureRequest, cache_dir: Path) -> Runtime:
    sandbox, _, vmm = request.param.partition("-")
    if sandbox == "wasm":
        return Runtime(cache_dir)
    if problem := request.getfixturevalue("microvms")[vmm]:
        pytest.skip(f"no microVM on {vmm}: {problem}")
    return OnMicroVm(cache_dir, vmm)
