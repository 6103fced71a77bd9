"""The floor: the same function as a native program, a process for each call."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from limes.errors import GuestFailure, Unavailable, from_os
from limes.study.target import Meter, Sample, with_boundary
from limes.study.workloads import Workload

_PTRACE_TRACEME = 0
_PTRACE_CONT = 7
_PTRACE_SETOPTIONS = 0x4200
_TRACE_EXIT = 0x40
_EVENT_EXIT = 6


class ProcessTarget:
    """One native program.

    A program that can say what its function took (``--time 1``, as those of ``functions/`` can) is asked to:
    all else is the process. Of any other, the process is what passes until the kernel has made it and its
    image (``posix_spawn`` returns then), and the dynamic loader and all that follows count as execution.
    """

    caveat = ""

    def __init__(self, workload: Workload, workspace: Path) -> None:
        """Nothing happens yet; the program runs in the workload's own folder below `workspace`."""
        self._workload = workload
        self._workspace = workspace
        self._folder = workspace
        self._command: list[str] = []
        self._resident = 0
        self._answer = b""

    def prepare(self) -> None:
        """Find the program, take its answer, and see once how much memory it holds at its end."""
        workload = self._workload
        if workload.native is None:
            raise Unavailable(f"{workload.name} has no native program", operation="study")
        workload.granted(self._workspace)
        if workload.folder is not None:
            self._folder = self._workspace / workload.name
        args = [workload.call.args] if workload.call.args else []
        self._command = [str(workload.native), *args]
        with chdir(self._folder):
            self._resident = resident_at_exit(self._command)
        if workload.native_times:
            self._answer = self._run(Meter()).answer.rstrip(b"\n")
            self._command = [str(workload.native), "--time", "1", *args]

    def measure(self) -> Sample:
        """Run the program to its end."""
        meter = Meter()
        ran = self._run(meter)
        execute, answer = ran.after_spawn_ns, ran.answer
        if self._workload.native_times:
            execute, answer = int(ran.answer), self._answer
        phases = {"process": ran.wall_ns - execute, "execute": execute}
        return Sample(
            meter.wall_ns, with_boundary(phases, meter.wall_ns), meter.resources, self._resident, answer
        )

    def close(self) -> None:
        """Nothing is held."""

    def _run(self, meter: Meter) -> _Ran:
        # A file in memory takes all of the answer without anyone reading along.
        output = os.memfd_create("answer")
        try:
            with chdir(self._folder), meter.running():
                began = time.perf_counter_ns()
                process = self._spawn(output)
                spawned = time.perf_counter_ns() - began
                _, status = os.waitpid(process, 0)
                ended = time.perf_counter_ns() - began
            _check(status, self._command)
            return _Ran(ended, ended - spawned, os.pread(output, os.fstat(output).st_size, 0))
        finally:
            os.close(output)

    def _spawn(self, output: int) -> int:
        try:
            return os.posix_spawn(
                self._command[0],
                self._command,
                {},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                ],
            )
        except OSError as error:
            raise from_os(error, "study", f"cannot run '{self._command[0]}'") from error


@dataclass(frozen=True)
class _Ran:
    wall_ns: int
    after_spawn_ns: int
    answer: bytes


def resident_at_exit(command: list[str]) -> int:
    """Bytes that only this program holds, at its end: what one more of it would take.

    The program is stopped by ptrace when it exits, while its memory is still there. 0 where that is not
    allowed.
    """
    child = os.fork()
    if child == 0:
        _be_traced(command)
    try:
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            return 0
        _ptrace(_PTRACE_SETOPTIONS, child, _TRACE_EXIT)
        return _follow(child)
    except OSError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return 0


def private_bytes(pid: int) -> int:
    """Bytes of memory that only this process holds; 0 when they cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def children(pid: int) -> list[int]:
    """Every process that descends from this one, as far as they can be seen; those that end meanwhile have none."""
    found: list[int] = []
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return found
    for thread in threads:
        try:
            own = [int(child) for child in (thread / "children").read_text().split()]
        except OSError:
            continue
        for child in own:
            found += [child, *children(child)]
    return found


def _be_traced(command: list[str]) -> None:
    """In the child: let the parent follow, and become the program. Never returns."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        _ptrace(_PTRACE_TRACEME, 0, 0)
        os.execve(command[0], command, {})  # noqa: S606 (no shell is wanted)
    finally:
        os._exit(127)


def _follow(child: int) -> int:
    """Pass signals on until the program is about to exit; what it holds then."""
    held, passed_on = 0, 0
    while True:
        _ptrace(_PTRACE_CONT, child, passed_on)
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            return held
        stopped_by, passed_on = os.WSTOPSIG(status), 0
        if status >> 16 == _EVENT_EXIT:
            held = private_bytes(child)
        elif stopped_by != signal.SIGTRAP:
            passed_on = stopped_by


def _ptrace(request: int, pid: int, data: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    call.restype = ctypes.c_long
    if call(request, pid, None, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _check(status: int, command: list[str]) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        how = f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise GuestFailure(f"the native program {command[0]} {how}", operation="study")
