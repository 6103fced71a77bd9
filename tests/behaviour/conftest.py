"""Every case of this folder is run on every sandbox."""

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import machine_settings

from limes import Function, Runtime, UnsupportedContract


class OnMicroVm(Runtime):
    """A runtime whose functions run in virtual machines, and that is otherwise no different."""

    def __init__(self, cache_dir: Path, machine: dict[str, str]) -> None:
        super().__init__(cache_dir)
        self.machine = machine

    def load(self, component: Any, **options: Any) -> Function:
        try:
            return super().load(component, sandbox="microvm", microvm=self.machine, **options)
        except UnsupportedContract as refused:
            if 'needs sandbox = "wasm"' in str(refused):
                pytest.skip("this component speaks WASI 0.3, which a microVM refuses (tests/microvm)")
            raise


@pytest.fixture(scope="session")
def runtime(sandbox: str, cache_dir: Path) -> Runtime:
    machine = machine_settings(sandbox)
    return OnMicroVm(cache_dir, machine) if machine else Runtime(cache_dir)
