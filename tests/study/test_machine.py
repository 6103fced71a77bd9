"""What is said of the machine, and beside figures of virtual machines."""

import platform

import pytest

from limes.node import kvm
from limes.study import machine


@pytest.fixture(autouse=True)
def forgotten() -> None:
    machine.kvm_state.cache_clear()


def test_the_machine_is_described() -> None:
    told = machine.describe()
    assert told["kernel"] == platform.release()
    assert told["cores"] >= 1
    assert told["memory_bytes"] > 1 << 28
    assert told["cpu"]
    assert told["versions"]["python"] == platform.python_version()
    assert told["versions"]["wasmtime"]


@pytest.mark.parametrize("nanoseconds", [20_000, 200_000_000])
def test_kvm_without_assist_is_said_beside_its_figures(
    monkeypatch: pytest.MonkeyPatch, nanoseconds: int
) -> None:
    monkeypatch.setattr(kvm, "probe", lambda: kvm.Ran(nanoseconds))
    expected = machine.UNASSISTED if nanoseconds > 1_000_000 else ""
    assert machine.virtualisation_caveat("builtin") == expected
    assert machine.virtualisation_caveat("firecracker") == expected


def test_qemu_is_emulation_whatever_kvm_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "probe", lambda: kvm.Ran(20_000))
    assert "under emulation" in machine.virtualisation_caveat("qemu")


def test_without_kvm_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> kvm.Ran:
        raise OSError(13, "cannot open /dev/kvm: Permission denied")

    monkeypatch.setattr(kvm, "probe", refuse)
    assert machine.kvm_state() == "no KVM: cannot open /dev/kvm: Permission denied"


def test_load_is_no_change_of_machine() -> None:
    now = machine.describe()
    assert machine.settings_changed({**now, "load_average_at_start": 99.0}, now) == []
    assert machine.settings_changed({**now, "kernel": "2.4"}, now) == ["kernel"]
