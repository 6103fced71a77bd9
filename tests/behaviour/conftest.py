"""Every case of this folder is run on every sandbox."""

from pathlib import Path
from typing import Any

import pytest

from limes import Function, Runtime, UnsupportedContract


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
def runtime(sandbox: str, cache_dir: Path) -> Runtime:
    _, _, vmm = sandbox.partition("-")
    return OnMicroVm(cache_dir, vmm) if vmm else Runtime(cache_dir)
