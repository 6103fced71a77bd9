"""A native function, a unikernel that is the function, runs as a component does."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import StartNode
from tests.microvm.conftest import MODES, image_path

from limes import BadComponent, GuestTrap, InvalidArgument, LimesError, LimesTimeout, LimitExceeded, Runtime
from limes.runtime import Function

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions" / "build"


def load(runtime: Runtime, vmm: str, mode: str = "auto", **limits: str | int) -> Function:
    return runtime.load(image_path("native"), sandbox="microvm", microvm={"vmm": vmm, "mode": mode}, **limits)


@pytest.mark.parametrize("mode", MODES["builtin"])
def test_a_native_function_answers_in_every_mode_of_every_monitor(
    runtime: Runtime, vmm: str, mode: str
) -> None:
    if mode not in MODES[vmm]:
        with pytest.raises(InvalidArgument, match=r"microvm\.mode"):
            load(runtime, vmm, mode)
        return
    function = load(runtime, vmm, mode)
    assert function.contract == "run"
    for word in ("one", "two", "three"):
        assert function.run(f"echo {word}").output == word


def test_an_argument_and_an_answer_longer_than_every_buffer_pass(runtime: Runtime, builtin: str) -> None:
    text = "grün " * 400_000
    assert load(runtime, builtin).run(f"echo {text}").output == text


@pytest.mark.parametrize("name", ["noop", "mandelbrot", "image"])
def test_the_shipped_functions_answer_natively_as_their_components_do(
    runtime: Runtime, builtin: str, name: str
) -> None:
    native, component = FUNCTIONS / "unikernel" / name, FUNCTIONS / f"{name}.wasm"
    if not native.is_file():
        pytest.fail(f"{native} is not built; run `make functions`")
    answers = [
        runtime.load(native, sandbox="microvm", microvm={"vmm": builtin}).run("x"),
        runtime.load(component).run("x"),
    ]
    assert answers[0].output == answers[1].output
    assert answers[0].timing.execute > 0


@pytest.mark.parametrize("call", ["allocate 100000000", "pieces 100000"])
def test_memory_past_the_limit_is_named(runtime: Runtime, builtin: str, call: str) -> None:
    function = load(runtime, builtin, memory="48MiB")
    with pytest.raises(LimitExceeded, match="memory is 50331648"):
        function.run(call)
    assert function.run("allocate 40000000").output == "40000000"
    assert function.run("pieces 30000").output == "30000"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("fail", GuestTrap, "the function trapped: it was told to"),
        ("panic", GuestTrap, "(?s)unikernel panicked: .*it was told to"),
        ("spin", LimesTimeout, "500 ms"),
        ("recurse", LimesError, "machine"),
    ],
)
def test_what_goes_wrong_costs_its_own_call(
    runtime: Runtime, builtin: str, call: str, error: type[LimesError], message: str
) -> None:
    function = load(runtime, builtin, timeout="500ms")
    with pytest.raises(error, match=message):
        function.run(call)
    assert function.run("echo still here").output == "still here"


def test_computing_past_the_limit_ends_it(runtime: Runtime, builtin: str) -> None:
    with pytest.raises(LimitExceeded, match="cpu"):
        load(runtime, builtin, cpu="100ms").run("spin")


def test_a_node_serves_it_and_logs_what_it_prints(start_node: StartNode, builtin: str) -> None:
    node = start_node()
    node.deploy(image_path("native"), "native", "--sandbox", "microvm")
    assert node.limes("invoke", "native", "echo", "deployed").stdout == b"deployed\n"
    node.limes("invoke", "native", "print", "a line for the log")
    assert b"a line for the log" in node.limes("logs", "native").stdout


def test_the_command_says_what_it_is(builtin: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "limes", "inspect", image_path("native")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "native" in told
    assert "component:run/run" in told


def test_the_other_sandbox_names_this_one(runtime: Runtime) -> None:
    with pytest.raises(BadComponent, match=r'a native function runs with\s+sandbox = "microvm"'):
        runtime.load(image_path("native"))


def test_a_note_of_another_release_is_refused(runtime: Runtime, builtin: str) -> None:
    note = b"\6\0\0\0\4\0\0\0\2\0\0\0Limes\0\0\0"
    program = image_path("native").read_bytes()
    at = program.index(note) + len(note)
    other = program[:at] + (77).to_bytes(4, "little") + program[at + 4 :]
    with pytest.raises(BadComponent, match="version 77"):
        runtime.load(other, sandbox="microvm")


def test_a_broken_program_is_refused(runtime: Runtime, builtin: str) -> None:
    program = image_path("native").read_bytes()
    headers = int.from_bytes(program[32:40], "little")
    size, count = (int.from_bytes(program[at : at + 2], "little") for at in (54, 56))
    refused = 0
    for header in range(headers, headers + size * count, size):
        # Each field that says where bytes are, or go to, or how many.
        for field in (8, 24, 32, 40):
            broken = bytearray(program)
            broken[header + field : header + field + 8] = b"\xff" * 7 + b"\x7f"
            try:
                load_bytes = runtime.load(bytes(broken), sandbox="microvm", microvm={"vmm": builtin})
            except LimesError:
                refused += 1
            else:
                assert load_bytes.run("echo unharmed").output == "unharmed"
    assert refused > 0
