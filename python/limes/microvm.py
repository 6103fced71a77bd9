"""Where the parts of the microVM sandbox are: the unikernel, and the programs of the monitors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

_PARTS = Path(__file__).resolve().parent / "_vm"
"""What the build puts into the package."""


def settings() -> dict[str, Any]:
    """What the core is told: files of the package, programs of the environment or on PATH, and the budget.

    ``LIMES_UNIKERNEL``, ``LIMES_VMM``, ``LIMES_FIRECRACKER``, ``LIMES_JAILER``, ``LIMES_QEMU`` and
    ``LIMES_VHOST_DEVICE_VSOCK`` name files instead; ``LIMES_MICROVM_MEMORY`` is what all machines may take
    together, such as ``8GiB``, by default three quarters of what is available.
    """
    found: dict[str, Any] = {
        "unikernel": os.environ.get("LIMES_UNIKERNEL") or str(_PARTS / "unikernel"),
        "builtin": os.environ.get("LIMES_VMM") or str(_PARTS / "limes-vmm"),
        "firecracker": os.environ.get("LIMES_FIRECRACKER") or shutil.which("firecracker"),
        "qemu": os.environ.get("LIMES_QEMU") or shutil.which("qemu-system-x86_64"),
        "vhost_vsock": os.environ.get("LIMES_VHOST_DEVICE_VSOCK") or shutil.which("vhost-device-vsock"),
    }
    if firecracker := found["firecracker"]:
        found["jailer"] = os.environ.get("LIMES_JAILER") or _jailer(Path(firecracker))
    if memory := os.environ.get("LIMES_MICROVM_MEMORY"):
        from limes.units import parse_size

        try:
            found["memory"] = parse_size(memory)
        except ValueError as error:
            from limes.errors import InvalidArgument

            raise InvalidArgument(f"LIMES_MICROVM_MEMORY: {error}", operation="start engine") from None
    return found


def _jailer(firecracker: Path) -> str | None:
    """Firecracker's jailer: beside it, as in its releases, or on PATH."""
    beside = firecracker.with_name(firecracker.name.replace("firecracker", "jailer", 1))
    if beside != firecracker and os.access(beside, os.X_OK):
        return str(beside)
    return shutil.which("jailer")
