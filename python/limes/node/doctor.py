"""What this machine offers a node, and what to do where it falls short. Each check tries the thing itself."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import shutil
import struct
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from limes.node import kvm
from limes.units import format_size

Level = Literal["ok", "warn", "fail"]

MIN_KERNEL = (5, 10)
PAGEMAP_SCAN_KERNEL = (6, 7)
MIN_MAPS = 65_530
MIN_OPEN_FILES = 4_096
MIN_MEMORY = 512 << 20
MIN_DISK = 1 << 30

_PAGEMAP_SCAN = 0xC0606610
_PAGE_IS_PRESENT = 1 << 3


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    level: Level
    found: str
    advice: str = ""
    """What to do; empty when nothing needs doing."""


@dataclass(frozen=True)
class Report:
    """Everything looked at."""

    checks: list[Check]

    @property
    def level(self) -> Level:
        """The worst of the checks."""
        levels = {check.level for check in self.checks}
        return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"

    def to_json(self) -> dict[str, object]:
        """The report as JSON values."""
        return {"level": self.level, "checks": [asdict(check) for check in self.checks]}


def examine(home: Path, cache_dir: Path) -> Report:
    """Look at the machine.

    Args:
        home: where a node would keep its state.
        cache_dir: where the library keeps machine code.
    """
    checks: list[Callable[[], Check]] = [
        check_kernel,
        check_processor,
        check_memory,
        check_pagemap_scan,
        check_swap,
        check_kvm,
        check_map_count,
        check_open_files,
        check_overcommit,
        check_cgroup,
        lambda: check_directory("home", home),
        lambda: check_directory("cache", cache_dir),
    ]
    return Report([*(check() for check in checks), *check_microvms(cache_dir)])


def check_kernel() -> Check:
    """Which Linux."""
    release = platform.release()
    if platform.system() != "Linux":
        return Check("kernel", "fail", f"{platform.system()} {release}", "a node runs on Linux only")
    version = kernel_version(release)
    if version < MIN_KERNEL:
        wanted = ".".join(map(str, MIN_KERNEL))
        return Check("kernel", "warn", release, f"use Linux {wanted} or later; older ones are not tested")
    return Check("kernel", "ok", release)


def kernel_version(release: str) -> tuple[int, ...]:
    """``(6, 18)`` from ``6.18.44-generic``."""
    numbers = []
    for part in release.split(".")[:2]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(int(digits or 0))
    return tuple(numbers)


def check_processor() -> Check:
    """How many cores this process may use, and whether machine code can be made for them."""
    cores = len(os.sched_getaffinity(0))
    machine = platform.machine()
    found = f"{cores} of {os.cpu_count()} cores, {machine}"
    if machine not in ("x86_64", "aarch64"):
        return Check("processor", "fail", found, "use x86_64 or aarch64: Wasmtime compiles for no other here")
    return Check("processor", "ok", found)


def check_memory() -> Check:
    """How much memory is free for guests."""
    available = _meminfo("MemAvailable")
    found = f"{format_size(available)} available of {format_size(_meminfo('MemTotal'))}"
    if available < MIN_MEMORY:
        return Check(
            "memory", "warn", found, "stop something else, or lower `limits.memory` of the functions"
        )
    return Check("memory", "ok", found)


def check_pagemap_scan() -> Check:
    """Whether a used instance can be cleaned cheaply."""
    name = "PAGEMAP_SCAN"
    try:
        found = pagemap_scan()
    except OSError as error:
        wanted = ".".join(map(str, PAGEMAP_SCAN_KERNEL))
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return Check(
                name, "warn", "not offered", f"use Linux {wanted} or later: requests then cost about half"
            )
        return Check(name, "warn", f"refused: {error.strerror}", "let the process read /proc/self/pagemap")
    if found != 1:
        return Check(name, "warn", f"reports {found} pages where 1 is present", "use another kernel")
    return Check(name, "ok", "works")


def pagemap_scan() -> int:
    """Ask the kernel which pages of a fresh mapping of 16 are present, after writing one: 1 is right.

    Raises:
        OSError: the kernel does not know the call, or refuses it.
    """
    page = mmap.PAGESIZE
    with mmap.mmap(-1, 16 * page) as memory:
        memory[page] = 1
        anchor = ctypes.c_char.from_buffer(memory)
        start = ctypes.addressof(anchor)
        regions = ctypes.create_string_buffer(24 * 16)
        argument = bytearray(
            struct.pack(
                "<12Q",
                96,  # size of this structure
                0,  # flags
                start,
                start + 16 * page,
                0,  # where the walk ended
                ctypes.addressof(regions),
                16,  # regions there is room for
                0,  # pages at most: any
                0,  # inverted categories
                _PAGE_IS_PRESENT,
                0,  # any of
                _PAGE_IS_PRESENT,
            )
        )
        try:
            with Path("/proc/self/pagemap").open("rb") as pagemap:
                count = fcntl.ioctl(pagemap, _PAGEMAP_SCAN, argument, True)
        finally:
            del anchor  # the mapping can be closed only when nothing points into it
        pages = 0
        for index in range(count):
            first, end, _ = struct.unpack_from("<3Q", regions, 24 * index)
            pages += (end - first) // page
        return pages


def check_swap() -> Check:
    """Whether memory may be swapped out, where Wasmtime does not look for what a call wrote."""
    count = len((_read_text("/proc/swaps") or "").splitlines()[1:])
    if count:
        return Check(
            "swap",
            "warn",
            f"{count} on: large instances are reset as a whole, which takes longer",
            "swapoff -a before a node starts; never turn swap on while one runs that was started without",
        )
    return Check("swap", "ok", "off")


def check_kvm() -> Check:
    """Whether a virtual machine runs; only functions in microVMs need one."""
    try:
        ran = kvm.probe()
    except OSError as error:
        # An OSError of the system has its number, one of the probe's own has only its words.
        what = error.strerror or str(error)
        return Check("KVM", "warn", what, _kvm_advice(error.errno))
    found = f"works: a guest ran and halted ({ran.nanoseconds / 1e6:.2f} ms)"
    if ran.interpreted:
        return Check(
            "KVM",
            "warn",
            f"{found}, but kernel-mode code is interpreted",
            "microVMs that leave kernel mode at once run at full speed; others need hardware virtualisation",
        )
    return Check("KVM", "ok", found)


def _kvm_advice(number: int | None) -> str:
    needed = "only functions in microVMs need it"
    if number == errno.ENOENT:
        return f"load the module kvm_intel or kvm_amd, or allow nested virtualisation ({needed})"
    if number in (errno.EACCES, errno.EPERM):
        return f"add the user to the group that owns {kvm.DEVICE}, mostly `kvm` ({needed})"
    return f"use a machine with hardware virtualisation ({needed})"


def check_microvms(cache_dir: Path) -> list[Check]:
    """Which monitors run the unikernel: each boots it once, to a function that is ready.

    What is found is kept in `cache_dir`, where it tells ``vmm = "auto"`` which to take.
    """
    from limes.runtime import Runtime

    checks = []
    for probed in json.loads(Runtime(cache_dir).engine.microvms()):
        name = f"microVM: {probed['vmm']}"
        if probed["works"]:
            note = f", {probed['note']}" if probed["note"] else ""
            checks.append(
                Check(name, "ok", f"a function was ready after {probed['took'] / 1e6:.1f} ms{note}")
            )
        else:
            advice = 'only functions with sandbox = "microvm" need one, and one is enough'
            checks.append(Check(name, "warn", probed["problem"], advice))
    return checks


def check_map_count() -> Check:
    """How many memory mappings a process may have; each instance slot needs some."""
    value = _read_number("/proc/sys/vm/max_map_count")
    if value is not None and value < MIN_MAPS:
        return Check(
            "vm.max_map_count",
            "warn",
            f"{value:,}",
            f"sysctl vm.max_map_count={MIN_MAPS * 4} for many functions",
        )
    return Check("vm.max_map_count", "ok", "unknown" if value is None else f"{value:,}")


def check_open_files() -> Check:
    """How many files and sockets a process may have open; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_limit(soft)} (at most {_limit(hard)})"
    if soft != resource.RLIM_INFINITY and soft < MIN_OPEN_FILES:
        return Check(
            "open files",
            "warn",
            found,
            f"ulimit -n {MIN_OPEN_FILES * 16}, or LimitNOFILE= in the systemd unit",
        )
    return Check("open files", "ok", found)


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"


def check_overcommit() -> Check:
    """Whether the address space that instance slots reserve is refused."""
    value = _read_number("/proc/sys/vm/overcommit_memory")
    if value == 2:
        return Check(
            "overcommit",
            "warn",
            "vm.overcommit_memory is 2: reserved address space counts as used",
            "sysctl vm.overcommit_memory=0, or run nodes with few slots",
        )
    return Check("overcommit", "ok", "unknown" if value is None else f"vm.overcommit_memory is {value}")


def check_cgroup() -> Check:
    """What the control group allows this process."""
    group = _cgroup()
    if group is None:
        return Check("cgroup", "ok", "no limits found")
    memory, cpu = _read_text(group / "memory.max"), _read_text(group / "cpu.max")
    found = []
    level: Level = "ok"
    advice = ""
    if memory and memory.isdecimal():
        found.append(f"memory {format_size(int(memory))}")
        if int(memory) < MIN_MEMORY:
            level, advice = "warn", f"give the control group {format_size(MIN_MEMORY)} of memory or more"
    if cpu and not cpu.startswith("max"):
        quota, period = cpu.split()
        found.append(f"{int(quota) / int(period):g} cores")
    return Check("cgroup", level, ", ".join(found) or "no limits", advice)


def _cgroup() -> Path | None:
    lines = (_read_text("/proc/self/cgroup") or "").splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return None
    group = Path("/sys/fs/cgroup") / own.lstrip("/")
    return group if group.is_dir() else None


def check_directory(name: str, directory: Path) -> Check:
    """Whether a directory can be written to durably, and what room it has. Leaves nothing behind."""
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".limes-doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Check(
            name,
            "fail",
            f"{directory}: {error.strerror}",
            f"make {existing} writable, or choose another directory",
        )
    found = f"{directory}, {format_size(free)} free"
    if free < MIN_DISK:
        return Check(name, "warn", found, "free some disk space")
    return Check(name, "ok", found)


def _meminfo(key: str) -> int:
    for line in (_read_text("/proc/meminfo") or "").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


def _read_text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _read_number(path: str) -> int | None:
    text = _read_text(path)
    return int(text) if text is not None and text.lstrip("-").isdecimal() else None
