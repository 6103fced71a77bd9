"""Whether KVM really works here: a virtual machine is made, and runs a few instructions.

The device file alone says little: it may be there without permission, without hardware behind it, or refuse
to run a guest. The constants are those of ``linux/kvm.h`` for x86-64.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

DEVICE = "/dev/kvm"

_GET_API_VERSION = 0xAE00
_CREATE_VM = 0xAE01
_GET_VCPU_MMAP_SIZE = 0xAE04
_SET_USER_MEMORY_REGION = 0x4020AE46
_CREATE_VCPU = 0xAE41
_RUN = 0xAE80
_SET_REGS = 0x4090AE82
_GET_SREGS = 0x8138AE83
_SET_SREGS = 0x4138AE84

_API_VERSION = 12
_EXIT_IO = 2
_EXIT_HLT = 5
_SREGS_SIZE = 312
_CS_SELECTOR = 12
_RUN_EXIT_REASON = 8
_RUN_IO = 32  # direction u8, size u8, port u16, count u32, data offset u64

_ORIGIN = 0x1000
_PORT = 0x10
_ANSWER = 42
_LOOPS = 20_000
# Real mode: mov ecx, LOOPS; dec ecx; jnz -4; mov al, ANSWER; out PORT, al; hlt
_CODE = (
    b"\x66\xb9" + struct.pack("<I", _LOOPS) + b"\x66\x49\x75\xfc" + bytes([0xB0, _ANSWER, 0xE6, _PORT, 0xF4])
)

SLOW_NANOSECONDS_A_LOOP = 100
"""A processor takes about one; more than this, and KVM interprets the instructions."""


@dataclass(frozen=True)
class Ran:
    """A guest that ran."""

    nanoseconds: int
    """What its loop took, entry and exit included."""

    @property
    def interpreted(self) -> bool:
        """Whether KVM interpreted the guest's kernel-mode code instead of letting the processor run it."""
        return self.nanoseconds > _LOOPS * SLOW_NANOSECONDS_A_LOOP


def probe() -> Ran:
    """Run a guest of six instructions to its halt.

    Raises:
        OSError: it cannot be run; the message says at which step, and what the system answered.
    """
    if platform.machine() != "x86_64":
        raise OSError(f"this probe knows x86_64 only, not {platform.machine()}")
    with ExitStack() as stack:
        system = stack.enter_context(_held(_open_device()))
        version = _ioctl("ask for KVM's version", system, _GET_API_VERSION)
        if version != _API_VERSION:
            raise OSError(f"KVM has API version {version}, not {_API_VERSION}")
        machine = stack.enter_context(_held(_ioctl("create a VM", system, _CREATE_VM)))
        size = _ioctl("ask for the size of a vCPU's state", system, _GET_VCPU_MMAP_SIZE)
        memory = stack.enter_context(mmap.mmap(-1, mmap.PAGESIZE))
        memory[: len(_CODE)] = _CODE
        cpu = stack.enter_context(_held(_ioctl("create a vCPU", machine, _CREATE_VCPU)))
        state = stack.enter_context(mmap.mmap(cpu, size))
        anchor = ctypes.c_char.from_buffer(memory)
        try:
            region = struct.pack("<IIQQQ", 0, 0, _ORIGIN, mmap.PAGESIZE, ctypes.addressof(anchor))
            _ioctl("give the VM memory", machine, _SET_USER_MEMORY_REGION, region)
            _set_registers(cpu)
            return _run(cpu, state)
        finally:
            del anchor  # the mapping can be closed only when nothing points into it


def _set_registers(cpu: int) -> None:
    special = bytearray(_SREGS_SIZE)
    _ioctl("read the vCPU's segments", cpu, _GET_SREGS, special)
    struct.pack_into("<Q", special, 0, 0)  # code segment at 0
    struct.pack_into("<H", special, _CS_SELECTOR, 0)
    _ioctl("set the vCPU's segments", cpu, _SET_SREGS, bytes(special))
    instruction_pointer, flags = _ORIGIN, 0x2
    _ioctl(
        "set the vCPU's registers", cpu, _SET_REGS, struct.pack("<18Q", *[0] * 16, instruction_pointer, flags)
    )


def _run(cpu: int, state: mmap.mmap) -> Ran:
    begin = time.perf_counter_ns()
    _ioctl("run the vCPU", cpu, _RUN, 0)
    took = time.perf_counter_ns() - begin
    reason = struct.unpack_from("<I", state, _RUN_EXIT_REASON)[0]
    _, _, port, _, offset = struct.unpack_from("<BBHIQ", state, _RUN_IO)
    if reason != _EXIT_IO or port != _PORT or state[offset] != _ANSWER:
        raise OSError(f"the guest did not answer: KVM_RUN ended with exit reason {reason}")
    _ioctl("run the vCPU", cpu, _RUN, 0)
    reason = struct.unpack_from("<I", state, _RUN_EXIT_REASON)[0]
    if reason != _EXIT_HLT:
        raise OSError(f"the guest did not halt: KVM_RUN ended with exit reason {reason}")
    return Ran(took)


def _open_device() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"cannot open {DEVICE}: {error.strerror}") from error


@contextmanager
def _held(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _ioctl(step: str, descriptor: int, request: int, argument: int | bytes | bytearray = 0) -> int:
    try:
        result = fcntl.ioctl(descriptor, request, argument)
    except OSError as error:
        raise OSError(error.errno, f"cannot {step}: {error.strerror}") from error
    return result if isinstance(result, int) else 0
