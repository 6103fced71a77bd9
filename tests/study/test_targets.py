"""Real sandboxes, measured: the phases each mode has, and what the floor is."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import guest_path
from tests.study.conftest import cell

from limes import Runtime
from limes.errors import GuestFailure, LimesIOError, Unavailable
from limes.study import microvm
from limes.study.microvm import LargestGrowth, MicrovmTarget, wait_for_rest
from limes.study.process import ProcessTarget, children, private_bytes, resident_at_exit
from limes.study.target import Sample
from limes.study.wasm import WasmTarget
from limes.study.workloads import Call, Workload


def echo(**more: object) -> Workload:
    return Workload("echo", guest_path("run_echo"), call=Call("hi"), **more)  # type: ignore[arg-type]


def measured(mode: str, workspace: Path) -> Sample:
    target = WasmTarget(echo(), mode, workspace, lambda: Runtime(workspace / "cache"))
    target.prepare()
    try:
        target.measure()
        return target.measure()
    finally:
        target.close()


@pytest.mark.parametrize(
    ("mode", "phases"),
    [
        ("jit", ["engine", "compile", "load", "instantiate", "execute", "reset", "boundary"]),
        ("aot", ["load", "instantiate", "execute", "reset", "boundary"]),
        ("pre-instantiated", ["instantiate", "execute", "reset", "boundary"]),
        ("reused", ["instantiate", "execute", "reset", "boundary"]),
    ],
)
def test_each_mode_has_the_phases_it_leaves_for_the_call(
    tmp_path: Path, mode: str, phases: list[str]
) -> None:
    sample = measured(mode, tmp_path)
    assert list(sample.phases) == phases
    assert all(sample.phases[name] > 0 for name in phases)
    assert sum(sample.phases.values()) == sample.wall_ns
    assert sample.cold_ns == sum(
        sample.phases[name] for name in phases if name not in ("execute", "reset", "boundary")
    )
    assert sample.answer == b"hi"
    assert sample.resources.cpu_user_ns + sample.resources.cpu_system_ns > 0


def test_tiered_is_measured_or_says_why_not(tmp_path: Path) -> None:
    target = WasmTarget(echo(), "tiered", tmp_path, Runtime)
    try:
        target.prepare()
    except Unavailable as error:
        assert "no tiered compilation here" in error.message
    else:
        assert target.measure().answer == b"hi"


@pytest.mark.parametrize(("guest", "answer"), [("cli_cat", b""), ("http_hello", b"Hello, World!\n")])
def test_every_contract_is_called(tmp_path: Path, guest: str, answer: bytes) -> None:
    target = WasmTarget(
        Workload("other", guest_path(guest)), "reused", tmp_path, lambda: Runtime(tmp_path / "cache")
    )
    target.prepare()
    assert target.measure().answer == answer


def test_a_workload_gets_a_folder_of_its_own(tmp_path: Path, runtime: Runtime) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "in").write_text("from the folder")
    workload = Workload("files", guest_path("fs"), call=Call("read /data/in"), folder=given)
    for mode in ("aot", "reused"):
        target = WasmTarget(workload, mode, tmp_path, lambda: runtime)
        target.prepare()
        assert target.measure().answer == b"from the folder"
    writing = Workload("files", guest_path("fs"), call=Call("write /data/out x"), folder=given)
    target = WasmTarget(writing, "reused", tmp_path, lambda: runtime)
    target.prepare()
    assert target.measure().answer == b"ok"
    assert not (given / "out").exists()


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def native(path: Path, workspace: Path, **more: object) -> ProcessTarget:
    return ProcessTarget(echo(native=path, **more), workspace)


def test_a_native_program_is_the_floor(tmp_path: Path) -> None:
    target = native(program(tmp_path / "p", 'printf "%s" "$1"'), tmp_path)
    target.prepare()
    sample = target.measure()
    assert sample.answer == b"hi"
    assert list(sample.phases) == ["process", "execute", "boundary"]
    assert sample.resident_bytes > 0


def test_a_program_that_times_itself_is_believed(tmp_path: Path) -> None:
    script = 'if [ "$1" = --time ]; then echo 12345; else echo "$1"; fi'
    target = native(program(tmp_path / "p", script), tmp_path, native_times=True)
    target.prepare()
    sample = target.measure()
    assert sample.phases["execute"] == 12345
    assert sample.phases["process"] + 12345 + sample.phases["boundary"] == sample.wall_ns
    # The answer, without the newline that a program ends it with.
    assert sample.answer == b"hi"


@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$"])
def test_a_program_that_fails_is_no_measurement(tmp_path: Path, script: str) -> None:
    target = native(program(tmp_path / "p", script), tmp_path)
    target.prepare()
    with pytest.raises(GuestFailure, match=r"ended with (exit code 3|signal 9)"):
        target.measure()


def test_without_a_program_there_is_no_floor(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="echo has no native program"):
        ProcessTarget(echo(), tmp_path).prepare()


def test_a_program_that_cannot_be_run_is_an_error_of_limes(tmp_path: Path) -> None:
    target = native(tmp_path / "missing", tmp_path)
    target.prepare()
    with pytest.raises(LimesIOError, match="cannot run"):
        target.measure()


def test_memory_of_a_program_is_what_it_holds_at_its_end(tmp_path: Path) -> None:
    small = resident_at_exit(["/usr/bin/head", "-c", "1", "/dev/zero"])
    large = resident_at_exit(["/usr/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=16M", "count=1"])
    if small == 0:
        pytest.skip("ptrace is not allowed here, so memory of programs is not measured")
    assert large - small > 12 << 20
    assert private_bytes(os.getpid()) > 1 << 20
    assert private_bytes(2**22 + 1) == 0


@pytest.mark.parametrize("sandbox", ["microvm", "unikernel"])
def test_a_microvm_is_measured_or_says_why_not(tmp_path: Path, runtime: Runtime, sandbox: str) -> None:
    target = MicrovmTarget(echo(), cell(sandbox, "end-to-end", "qemu", "echo"), tmp_path, lambda: runtime)
    try:
        target.prepare()
    except Unavailable as error:
        assert error.message
    else:
        assert target.measure().answer == b"hi"
    finally:
        target.close()


def test_memory_of_a_machine_is_that_of_its_process(tmp_path: Path) -> None:
    holds = "x = bytearray(b'x' * (32 << 20)); print('ready', flush=True); input()"
    with LargestGrowth() as largest:
        process = subprocess.Popen(
            [sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert process.pid in children(os.getpid())
    with LargestGrowth() as nothing:
        pass
    process.communicate(b"\n")
    assert nothing.private_bytes < 1 << 20
    assert 32 << 20 < largest.private_bytes < 128 << 20


def test_a_call_waits_until_what_was_begun_before_is_done() -> None:
    works = "import time\nend = time.monotonic() + 0.3\nwhile time.monotonic() < end: pass\ninput()"
    process = subprocess.Popen([sys.executable, "-c", works], stdin=subprocess.PIPE)
    began = time.monotonic()
    wait_for_rest()
    rested = time.monotonic() - began
    process.communicate(b"\n")
    assert rested >= 0.3


def test_a_process_that_has_ended_has_no_children() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert children(process.pid) == []


def test_a_process_that_ends_while_it_is_looked_at_is_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    monkeypatch.setattr(microvm, "children", lambda _: [ended.pid])
    # It was still there a moment ago.
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    wait_for_rest()
