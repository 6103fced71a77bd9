"""The library: loading, calling, and what a call costs."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conftest import eventually, guest_path

from limes import (
    GuestTrap,
    LimesIOError,
    LimesTimeout,
    LimitExceeded,
    Limits,
    Request,
    Result,
    Runtime,
)


@pytest.fixture
def hello() -> Path:
    return guest_path("hello")


def test_a_component_is_loaded_from_a_path_or_its_bytes(runtime: Runtime, hello: Path) -> None:
    data = hello.read_bytes()
    for component in (str(hello), hello, data, bytearray(data), memoryview(data)):
        assert runtime.load(component).run("world").output == "Hello, world!"


def test_a_file_that_is_not_there_is_an_oserror_with_its_path(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(LimesIOError, match="missing") as failed:
        runtime.load(tmp_path / "missing.wasm")
    assert isinstance(failed.value, OSError)


def test_the_name_is_what_the_guest_sees(runtime: Runtime) -> None:
    path = guest_path("cli_cat")
    assert runtime.load(path).command(["--args"]).output.splitlines()[0] == b"cli_cat"
    assert runtime.load(path, name="other").command(["--args"]).output.splitlines()[0] == b"other"


def test_the_first_load_compiles_and_the_second_does_not(tmp_path: Path, hello: Path) -> None:
    first = Runtime(tmp_path).load(hello).timing
    assert first.cache == "miss"
    assert first.compile > 0
    second = Runtime(tmp_path).load(hello).timing
    assert second.cache == "hit"
    assert second.compile == 0
    assert second.load > 0


def test_the_same_bytes_hit_the_cache_whatever_their_name(tmp_path: Path, hello: Path) -> None:
    runtime = Runtime(tmp_path / "cache")
    runtime.load(hello)
    copy = tmp_path / "copy.wasm"
    copy.write_bytes(hello.read_bytes())
    assert runtime.load(copy).timing.cache == "hit"
    assert runtime.load(hello.read_bytes()).timing.cache == "hit"


def test_jit_compiles_every_time_and_writes_nothing(
    tmp_path: Path, hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMES_CACHE_DIR", str(tmp_path / "default"))
    runtime = Runtime(tmp_path / "cache", jit=True)
    for _ in range(2):
        function = runtime.load(hello)
        assert function.timing.cache == "unused"
        assert function.timing.compile > 0
        assert function.run("x").timing.cache == "unused"
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_without_a_cache_writes_nothing(
    tmp_path: Path, hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMES_CACHE_DIR", str(tmp_path / "default"))
    assert Runtime(cache=False).load(hello).run("x").output == "Hello, x!"
    assert list(tmp_path.iterdir()) == []


def test_the_default_cache_is_where_the_environment_says(
    tmp_path: Path, hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMES_CACHE_DIR", str(tmp_path / "chosen"))
    Runtime().load(hello)
    assert len(list((tmp_path / "chosen").iterdir())) > 1


def test_a_result_has_every_field(runtime: Runtime) -> None:
    result = runtime.load(guest_path("p1_reactor")).run("/missing")
    assert isinstance(result, Result)
    assert result.output == "error: No such file or directory"
    assert (result.stdout, result.stderr, result.exit_code) == (b"reading /missing\n", b"", 0)
    assert result.to_json()["kind"] == "run"


def test_timing_has_the_phases_that_happened(runtime: Runtime, hello: Path) -> None:
    function = runtime.load(hello)
    timing = function.run("x").timing
    assert timing.instantiate > 0
    assert timing.execute > 0
    assert timing.reset > 0
    assert timing.route == timing.queue == 0
    phases = (timing.compile, timing.load, timing.instantiate, timing.execute, timing.reset)
    assert timing.total == sum(phases)


def test_an_http_response_says_when_its_first_byte_came(runtime: Runtime) -> None:
    timing = runtime.load(guest_path("http_hello")).http().timing
    assert 0 < timing.first_byte <= timing.execute
    assert timing.reset > 0


@pytest.mark.parametrize("name", ["http_stream", "http3_client"])
def test_the_timing_of_a_streamed_response_is_whole(runtime: Runtime, name: str) -> None:
    function = runtime.load(guest_path(name))
    for _ in range(100):
        timing = function.http("GET", "/?url=http://127.0.0.1:1/").timing
        assert timing.execute >= timing.first_byte > 0
        assert timing.reset > 0


def test_a_trap_names_the_functions_it_went_through(runtime: Runtime) -> None:
    with pytest.raises(GuestTrap) as failed:
        runtime.load(guest_path("trap")).run()
    error = failed.value
    assert (error.kind, error.http_status, error.retryable) == ("guest_trap", 500, False)
    assert "unreachable" in str(error)
    names = [error.context["backtrace"].find(f"{name}_call") for name in ("inner", "middle", "outer")]
    assert -1 not in names
    assert names == sorted(names)


def test_an_error_survives_pickling(runtime: Runtime) -> None:
    with pytest.raises(LimitExceeded) as failed:
        runtime.load(guest_path("memory_bomb"), memory="4MiB").run()
    copy = pickle.loads(pickle.dumps(failed.value))
    assert type(copy) is LimitExceeded
    assert (str(copy), copy.context) == (str(failed.value), failed.value.context)


def test_limits_are_given_as_a_whole_or_by_keyword_but_not_both(runtime: Runtime, hello: Path) -> None:
    assert runtime.load(hello, limits=Limits(memory="8MiB")).run("x").output == "Hello, x!"
    with pytest.raises(ValueError, match="memory"):
        runtime.load(hello, limits=Limits(), memory="8MiB")


def test_an_unknown_option_is_refused_with_the_nearest(runtime: Runtime, hello: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'memory'"):
        runtime.load(hello, memmory="8MiB")  # type: ignore[call-arg]


def test_asyncio_runs_guests_at_the_same_time(runtime: Runtime) -> None:
    sleep = runtime.load(guest_path("sleep"))

    async def first_of_two() -> str:
        # Were they run in turn, the one begun first would be the first to end.
        slow = asyncio.create_task(sleep.arun("600000"))
        await asyncio.sleep(0)
        fast = asyncio.create_task(sleep.arun("1"))
        await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
        assert not slow.done()
        slow.cancel()
        return (await fast).output

    assert asyncio.run(first_of_two()) == "awake"


def test_asyncio_has_every_method(runtime: Runtime, hello: Path) -> None:
    async def call() -> tuple[str, bytes, bytes]:
        run = await runtime.load(hello).arun("you")
        response = await runtime.load(guest_path("http_echo")).ahttp(Request("POST", "/", body="body"))
        command = await runtime.load(guest_path("cli_cat")).acommand(stdin="in")
        return run.output, response.body, command.output

    assert asyncio.run(call()) == ("Hello, you!", b"body", b"in")


def test_asyncio_raises_what_the_guest_did(runtime: Runtime) -> None:
    with pytest.raises(GuestTrap):
        asyncio.run(runtime.load(guest_path("trap")).arun())


def test_start_takes_each_kind_of_call(runtime: Runtime, hello: Path) -> None:
    assert runtime.load(hello).start("you").result(30).output == "Hello, you!"
    assert runtime.load(guest_path("http_hello")).start(Request()).result(30).status == 200
    assert runtime.load(guest_path("cli_cat")).start([], stdin="in").result(30).output == b"in"


def _cores_of_running_threads() -> set[str]:
    """The cores on which threads of this process other than the one that asks run now."""
    cores = set()
    me = threading.get_native_id()
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "R" and int(task.name) != me:
            cores.add(fields[36])
    return cores


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_threads_use_every_core(runtime: Runtime) -> None:
    spin = runtime.load(guest_path("spin"))
    seen = threading.Event()

    def compute() -> None:
        while not seen.is_set():
            with pytest.raises(LimesTimeout):
                spin.run(timeout="50ms")

    with ThreadPoolExecutor(8) as threads:
        runs = [threads.submit(compute) for _ in range(8)]
        try:
            eventually(lambda: len(_cores_of_running_threads()) >= 2, "guests on two cores")
        finally:
            seen.set()
        for run in runs:
            run.result()


def _cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


@pytest.mark.parametrize("guest", ["spin", "sleep"])
def test_ctrl_c_stops_a_running_guest(cache_dir: Path, guest: str) -> None:
    program = (
        "import sys\nfrom limes import Runtime\n"
        "function = Runtime(sys.argv[1]).load(sys.argv[2], timeout='10m', cpu='10m')\n"
        "print('ready', flush=True)\nfunction.run('600000')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, cache_dir, guest_path(guest)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"ready\n"
            if guest == "spin":
                start = _cpu_ticks(process.pid)
                eventually(lambda: _cpu_ticks(process.pid) > start + 5, "the guest to compute")
            process.send_signal(signal.SIGINT)
            assert b"KeyboardInterrupt" in process.stderr.read()
            assert process.wait(30) == -signal.SIGINT
        finally:
            process.kill()


def test_a_runtime_can_be_dropped_right_after_a_task_was_cancelled(cache_dir: Path) -> None:
    program = """
import asyncio, sys
from limes import Runtime

async def cancel(function):
    try:
        async with asyncio.timeout(0.002):
            await function.arun("600000")
    except TimeoutError:
        pass

for _ in range(400):
    asyncio.run(cancel(Runtime(sys.argv[1]).load(sys.argv[2])))
"""
    subprocess.run([sys.executable, "-c", program, cache_dir, guest_path("sleep")], check=True, timeout=60)


def test_a_system_without_room_for_an_instance_is_overloaded(cache_dir: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from limes import Overloaded, Runtime

function = Runtime(sys.argv[1]).load(sys.argv[2])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
unlimited = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), unlimited[1]))
try:
    function.run("nobody")
except Overloaded as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, unlimited)
print(function.run("again").output)
"""
    command = [sys.executable, "-c", program, cache_dir, guest_path("hello")]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "the system has no room for another instance: Cannot allocate memory" in said
    assert said.endswith("Hello, again!\n")
