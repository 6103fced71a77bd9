"""The machine a study ran on, as far as figures depend on it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from limes import _native
from limes.node import kvm

EMULATED = "under emulation (QEMU's TCG): many times slower than on a processor's own virtualisation"
UNASSISTED = (
    "KVM without hardware assist: the guest's kernel-mode code was interpreted, and each exit is slow"
)

_PROGRAMS = {
    "qemu": ("LIMES_QEMU", "qemu-system-x86_64"),
    "firecracker": ("LIMES_FIRECRACKER", "firecracker"),
}
"""Each is where the variable says, or on PATH."""


def describe() -> dict[str, Any]:
    """Processor, memory, kernel, accelerator and versions, as JSON values; what cannot be told is empty."""
    return {
        "cpu": _cpuinfo("model name"),
        "cores": len(os.sched_getaffinity(0)),
        "frequency_governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "hypervisor": "hypervisor" in _cpuinfo("flags").split(),
        "kernel": platform.release(),
        "system": _os_name(),
        "transparent_huge_pages": _chosen(_read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "kvm": kvm_state(),
        "versions": {
            "limes": _native.__version__,
            "wasmtime": _native.WASMTIME_VERSION,
            "python": platform.python_version(),
            **{name: _version(*where) for name, where in _PROGRAMS.items()},
        },
    }


@cache
def kvm_state() -> str:
    """``works``, :data:`UNASSISTED`, or why a VM cannot be run. A VM is run to find out, once."""
    try:
        ran = kvm.probe()
    except OSError as error:
        return f"no KVM: {error.strerror or error}"
    return UNASSISTED if ran.interpreted else "works"


def virtualisation_caveat(vmm: str) -> str:
    """What must stand beside every figure of a VM run by `vmm` here; empty when nothing must."""
    if vmm == "qemu":
        return EMULATED
    state = kvm_state()
    return "" if state == "works" else state


def settings_changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two descriptions so that their figures must not be put together."""
    return [key for key in before if key != "load_average_at_start" and before[key] != now.get(key)]


def _cpuinfo(key: str) -> str:
    found = re.search(rf"^{key}\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else ""


def _os_name() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', _read("/etc/os-release"), re.MULTILINE)
    return found[1] if found else platform.system()


def _chosen(text: str) -> str:
    """The word in brackets, as the kernel writes a choice."""
    found = re.search(r"\[(\w+)\]", text)
    return found[1] if found else ""


def _version(variable: str, program: str) -> str:
    path = os.environ.get(variable) or shutil.which(program)
    if path is None:
        return ""
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"v?(\d+\.\d+[\w.]*)", told.stdout)
    return found[1] if found else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
