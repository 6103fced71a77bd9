"""Each limit ends the guest that passes it, with an error that names it."""

from pathlib import Path

import pytest
from tests.conftest import guest_path

from limes import Function, LimesError, LimesTimeout, LimitExceeded, RequestTooLarge, Runtime

MIB = 1 << 20
TWO_MEMORIES = Path(__file__).with_name("two_memories.wat")


def _exceeds(function: Function, limit: str, allowed: int, args: str = "") -> LimitExceeded:
    with pytest.raises(LimitExceeded) as failed:
        function.http("GET", args or "/") if function.contract.startswith("http") else function.run(args)
    error = failed.value
    assert (error.context["limit"], error.context["allowed"]) == (limit, str(allowed))
    assert f"limits.{limit}" in str(error)
    return error


def test_memory_that_grows_ends_at_its_limit(runtime: Runtime) -> None:
    error = _exceeds(runtime.load(guest_path("memory_bomb"), memory="16MiB"), "memory", 16 * MIB)
    assert int(error.context["asked"]) > 16 * MIB


def test_memory_asked_for_at_the_start_counts_too(runtime: Runtime) -> None:
    error = _exceeds(runtime.load(guest_path("memory_static"), memory="64MiB"), "memory", 64 * MIB)
    assert error.context["asked"] == str(1 << 30)


def test_several_memories_grow_beside_one_another(runtime: Runtime) -> None:
    # 25 MiB each.
    assert runtime.load(TWO_MEMORIES, memory="64MiB").run("four").output == "grown"


def test_a_table_grows_no_further_than_its_limit(runtime: Runtime) -> None:
    assert runtime.load(guest_path("table_bomb"), table_elements=25_000).run().output == "20001"
    assert runtime.load(guest_path("table_bomb"), table_elements=20_000).run().output == "10001"


def test_a_component_of_many_instances_is_refused(runtime: Runtime) -> None:
    _exceeds(runtime.load(guest_path("instances_bomb"), instances=32), "instances", 32)


def test_a_component_of_many_instances_is_refused_with_how_many_it_asked_for(runtime: Runtime) -> None:
    error = _exceeds(runtime.load(guest_path("instances_bomb"), instances=32), "instances", 32)
    assert "resource limit exceeded" not in error.context["asked"]


@pytest.mark.parametrize(("name", "args"), [("spin", ""), ("sleep", "60000")])
def test_time_ends_a_guest_that_computes_or_waits(runtime: Runtime, name: str, args: str) -> None:
    with pytest.raises(LimesTimeout) as failed:
        runtime.load(guest_path(name), timeout="50ms").run(args)
    assert failed.value.context == {"limit": "timeout", "allowed": "50"}
    assert isinstance(failed.value, TimeoutError)


def test_the_timeout_of_a_call_stands_over_that_of_the_function(runtime: Runtime) -> None:
    sleep = runtime.load(guest_path("sleep"), timeout="5m")
    with pytest.raises(LimesTimeout) as failed:
        sleep.run("60000", timeout="20ms")
    assert failed.value.context["allowed"] == "20"


@pytest.mark.parametrize("name", ["http_never", "spin_http"])
def test_time_ends_a_handler_before_its_head(runtime: Runtime, name: str) -> None:
    with pytest.raises(LimesTimeout):
        runtime.load(guest_path(name), timeout="50ms").http()


@pytest.mark.parametrize("name", ["http_never", "spin_http"])
def test_time_ends_a_handler_after_its_head(runtime: Runtime, name: str) -> None:
    handler = runtime.load(guest_path(name), timeout="20ms")
    for _ in range(20):
        with pytest.raises(LimesTimeout):
            handler.http("GET", "/?head=1")


def test_cpu_ends_a_guest_that_computes(runtime: Runtime) -> None:
    _exceeds(runtime.load(guest_path("spin"), cpu="50ms"), "cpu", 50)


def test_waiting_is_no_cpu_time(runtime: Runtime) -> None:
    # Emulated, what comes before the wait computes for tens of milliseconds.
    sleep = runtime.load(guest_path("sleep"), cpu="100ms")
    assert sleep.run("1000").output == "awake"


def test_waiting_often_is_no_cpu_time_either(runtime: Runtime, sandbox: str) -> None:
    cpu = "10s" if sandbox.endswith("-tcg") else "150ms"
    stream = runtime.load(guest_path("http_stream"), cpu=cpu)
    assert len(stream.http("GET", "/?chunks=400&pause=2").body) == 400 * 8


@pytest.mark.parametrize("stack", [64 << 10, 512 << 10, 4 * MIB])
def test_recursion_ends_at_the_stack(runtime: Runtime, stack: int) -> None:
    error = _exceeds(runtime.load(guest_path("recurse"), stack=stack), "stack", stack)
    assert "deeper" in error.context["backtrace"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_ends_at_its_limit(runtime: Runtime, stream: str) -> None:
    _exceeds(runtime.load(guest_path("stdout_flood"), output="10KiB"), "output", 10 << 10, args=stream)


def test_a_command_that_floods_its_output_ends_too(runtime: Runtime) -> None:
    cat = runtime.load(guest_path("cli_cat"), output=100)
    assert cat.command(stdin=b"x" * 100).output == b"x" * 100
    with pytest.raises(LimitExceeded) as failed:
        cat.command(stdin=b"x" * 101)
    assert failed.value.context["limit"] == "output"


def test_an_answer_of_run_may_be_as_large_as_its_limit(runtime: Runtime) -> None:
    answer = runtime.load(guest_path("big_answer"), response=1000)
    assert len(answer.run("1000").output) == 1000
    _exceeds(answer, "response", 1000, args="1001")


def test_a_response_body_may_be_as_large_as_its_limit(runtime: Runtime) -> None:
    stream = runtime.load(guest_path("http_stream"), response=800)
    assert len(stream.http("GET", "/?chunks=100&size=8").body) == 800
    _exceeds(stream, "response", 800, args="/?chunks=101&size=8")


def test_a_response_without_end_ends_at_its_limit(runtime: Runtime) -> None:
    _exceeds(runtime.load(guest_path("http_flood"), response=MIB), "response", MIB)


def _call(function: Function, size: int) -> None:
    if function.contract == "run":
        function.run("x" * size)
    elif function.contract.startswith("http"):
        function.http("POST", "/", (), b"x" * size)
    else:
        function.command(stdin=b"x" * size)


@pytest.mark.parametrize("name", ["run_echo", "http_echo", "http3_echo", "cli_cat", "cli3_cat"])
def test_a_request_may_be_as_large_as_its_limit(runtime: Runtime, name: str) -> None:
    function = runtime.load(guest_path(name), request=1000)
    _call(function, 1000)
    with pytest.raises(RequestTooLarge) as failed:
        _call(function, 1001)
    assert failed.value.context == {"limit": "request", "allowed": "1000"}


@pytest.mark.parametrize("kind", ["", "fields"])
def test_handles_end_at_their_limit(runtime: Runtime, kind: str) -> None:
    _exceeds(runtime.load(guest_path("handles_flood"), handles=20), "handles", 20, args=kind)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("memory", 0),
        ("memory", "64 apples"),
        ("timeout", 0),
        ("stack", "9MiB"),
        ("handles", -1),
        ("cpu", "x"),
    ],
)
def test_a_limit_without_meaning_is_refused_by_its_name(runtime: Runtime, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option) as refused:
        runtime.load(guest_path("hello"), **{option: value})
    assert isinstance(refused.value, LimesError)
