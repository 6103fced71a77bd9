"""Machines live as long as they are needed, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.conftest import StartNode, eventually, guest_path
from tests.microvm.conftest import machines_of

from limes import LimesError, LimesTimeout, Overloaded, Runtime, Unavailable

FRESH = {"vmm": "builtin", "mode": "snapshot"}


def _left(folder: Path) -> list[Path]:
    return list(folder.glob("limes-*"))


@pytest.mark.parametrize("vmm", ["builtin", "qemu"])
def test_nothing_is_left_of_a_runtime_and_its_machines(
    cache_dir: Path, folder: Path, problems: dict[str, str], vmm: str, children: Callable[[], list[int]]
) -> None:
    if problem := problems[vmm]:
        pytest.skip(f"no microVM on {vmm}: {problem}")
    before = set(children())
    runtime = Runtime(cache_dir)
    hello = runtime.load(guest_path("hello"), sandbox="microvm", microvm={"vmm": vmm})
    spin = runtime.load(guest_path("spin"), sandbox="microvm", microvm={"vmm": vmm}, timeout="200ms")
    assert hello.run("you").output == "Hello, you!"
    with pytest.raises(LimesTimeout):
        spin.run()
    assert _left(folder)
    del hello, spin, runtime
    eventually(lambda: set(children()) <= before, "the end of the machines")
    eventually(lambda: not _left(folder), "the end of their folder")


def test_a_machine_that_is_killed_costs_its_own_request_only(
    runtime: Runtime, builtin: str, children: Callable[[], list[int]]
) -> None:
    sleep = runtime.load(guest_path("sleep"), sandbox="microvm", microvm=FRESH)
    invocation = sleep.start("600000")

    def killed() -> bool:
        for pid in children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return invocation.done()

    # Processes that wait for a machine are killed too: which has it cannot be seen from outside.
    eventually(killed, "the end of the call")
    with pytest.raises(Unavailable) as failed:
        invocation.result(30)
    assert failed.value.retryable
    assert sleep.run("1").output == "awake"


def test_calls_at_once_get_machines_of_their_own(runtime: Runtime, builtin: str) -> None:
    echo = runtime.load(guest_path("run_echo"), sandbox="microvm", memory="16MiB")
    questions = [str(number) for number in range(200)]
    with ThreadPoolExecutor(16) as threads:
        assert [result.output for result in threads.map(echo.run, questions)] == questions


def test_500_machines_at_once_all_answer(
    cache_dir: Path, builtin: str, monkeypatch: pytest.MonkeyPatch, children: Callable[[], list[int]]
) -> None:
    available = next(
        int(line.split()[1]) >> 20
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable")
    )
    if available < 8:
        pytest.skip(f"{available} GiB of memory are available; 500 machines are given 8")
    # What they may use, which is more than there is; what they do use is a fraction.
    monkeypatch.setenv("LIMES_MICROVM_MEMORY", "64GiB")
    runtime = Runtime(cache_dir)
    limits = {"memory": "16MiB", "concurrency": 500, "timeout": "120s"}
    sleep = runtime.load(guest_path("sleep"), sandbox="microvm", microvm=FRESH, **limits)
    running = [sleep.start("600000") for _ in range(500)]
    eventually(lambda: len(children()) >= 500, "500 machines", seconds=90)
    for invocation in running:
        invocation.stop()
    echo = runtime.load(guest_path("run_echo"), sandbox="microvm", microvm=FRESH, **limits)
    questions = [str(number) for number in range(500)]
    started = [echo.start(question) for question in questions]
    assert [invocation.result(120).output for invocation in started] == questions


def test_memory_of_machines_is_counted_before_one_is_started(
    cache_dir: Path, builtin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMES_MICROVM_MEMORY", "150MiB")
    runtime = Runtime(cache_dir)
    sleep = runtime.load(guest_path("sleep"), sandbox="microvm", microvm=FRESH, memory="16MiB")
    with pytest.raises(Overloaded, match="LIMES_MICROVM_MEMORY"):
        runtime.load(guest_path("hello"), sandbox="microvm", memory="200MiB")
    running = [sleep.start("600000") for _ in range(2)]

    def is_full() -> bool:
        try:
            return not sleep.run("1", timeout="300ms").output
        except LimesTimeout:
            return False
        except Overloaded:
            return True

    eventually(is_full, "both machines, which leave no memory for a third")
    for invocation in running:
        invocation.stop()
        with pytest.raises(LimesError):
            invocation.result(30)
    assert sleep.run("1").output == "awake"


def test_a_node_that_is_killed_takes_its_machines_with_it_and_the_next_sweeps(
    start_node: StartNode, builtin: str, folder: Path
) -> None:
    node = start_node(env={"TMPDIR": str(folder)})
    node.deploy("sleep", "sleep", "--sandbox", "microvm")
    node.deploy("http_hello", "hello", "--sandbox", "microvm")
    assert httpx.get(node.function_url("hello"), timeout=30).text == "Hello, World!\n"
    machines = eventually(lambda: machines_of(node.pid), "the machines of the node")
    node.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in machines), "the end of the machines")
    assert _left(folder)
    again = start_node(env={"TMPDIR": str(folder)})
    assert httpx.get(again.function_url("hello"), timeout=30).text == "Hello, World!\n"
    eventually(lambda: len(_left(folder)) == 1, "the sweep of the killed node's folder")


def test_a_node_counts_what_each_phase_of_a_machine_takes(
    start_node: StartNode, builtin: str, folder: Path
) -> None:
    node = start_node(env={"TMPDIR": str(folder)})
    machine = ("--sandbox", "microvm", "--vmm", builtin, "--vm-mode", "end-to-end")
    node.deploy("http_hello", "hello", *machine)
    assert httpx.get(node.function_url("hello"), timeout=30).status_code == 200

    def phases() -> dict[str, int]:
        described = httpx.get(f"{node.admin}/v1/functions/hello", headers=node.authorization, timeout=30)
        spent: dict[str, int] = described.raise_for_status().json()["stats"]["phases_ns"]
        return spent

    counted = eventually(
        lambda: found if (found := phases()).get("teardown") else None, "the end of the machine"
    )
    assert {"create", "boot", "instantiate", "execute"} <= {
        phase for phase, spent in counted.items() if spent
    }


def test_the_command_runs_a_component_in_a_machine(builtin: str, cache_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "limes", "run", "--sandbox", "microvm", guest_path("hello"), "world"],
        capture_output=True,
        timeout=60,
        env={**os.environ, "LIMES_CACHE_DIR": str(cache_dir)},
    )
    assert (done.returncode, done.stdout) == (0, b"Hello, world!\n"), done.stderr.decode()
