"""Nothing passes from one call to the next."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conftest import guest_path

from limes import GuestTrap, LimesTimeout, LimitExceeded, Runtime

COUNTER = Path(__file__).with_name("counter.wat")
GROWS = Path(__file__).with_name("grows.wat")


def test_memory_and_globals_are_new_for_every_call(runtime: Runtime) -> None:
    counter = runtime.load(COUNTER)
    assert {counter.run().output for _ in range(100)} == {"11"}


def test_memory_and_globals_are_new_for_calls_at_the_same_time(runtime: Runtime) -> None:
    counter = runtime.load(COUNTER)
    with ThreadPoolExecutor(8) as threads:
        assert {result.output for result in threads.map(counter.run, [""] * 400)} == {"11"}


@pytest.mark.parametrize("pages", [1, 20, 40])
def test_memory_that_a_call_has_grown_is_not_there_for_the_next(runtime: Runtime, pages: int) -> None:
    grows = runtime.load(GROWS.read_text().replace("PAGES", str(pages)).encode())
    for _ in range(3):
        assert grows.run("g").output == chr(48 + pages + 1)
        assert grows.run().output == chr(48 + pages)
        with pytest.raises(GuestTrap, match="out of bounds"):
            grows.run("gg")


def test_calls_at_the_same_time_get_their_own_answers(runtime: Runtime) -> None:
    echo = runtime.load(guest_path("run_echo"))
    questions = [f"{number}-" * (number % 50 + 1) for number in range(400)]
    with ThreadPoolExecutor(8) as threads:
        assert [result.output for result in threads.map(echo.run, questions)] == questions


def test_handles_are_given_back_after_every_call(runtime: Runtime) -> None:
    echo = runtime.load(guest_path("http_echo"), handles=20)
    for _ in range(50):
        assert echo.http("POST", "/", (), b"x").body == b"x"


def test_handles_are_given_back_after_a_call_that_failed(runtime: Runtime) -> None:
    flood = runtime.load(guest_path("handles_flood"), handles=20)
    for _ in range(20):
        with pytest.raises(LimitExceeded, match="handles"):
            flood.run()


def test_slots_are_given_back_however_a_call_ended() -> None:
    runtime = Runtime(jit=True, slots=1)
    trap, spin = runtime.load(guest_path("trap")), runtime.load(guest_path("spin"), timeout="10ms")
    bomb, counter = runtime.load(guest_path("memory_bomb"), memory="4MiB"), runtime.load(COUNTER)
    for _ in range(5):
        with pytest.raises(GuestTrap):
            trap.run()
        with pytest.raises(LimesTimeout):
            spin.run()
        with pytest.raises(LimitExceeded):
            bomb.run()
        assert counter.run().output == "11"


def test_output_is_that_of_the_call_alone(runtime: Runtime) -> None:
    cat = runtime.load(guest_path("cli_cat"))
    assert [cat.command(stdin=str(n)).output for n in range(20)] == [str(n).encode() for n in range(20)]


def test_random_bytes_differ_from_call_to_call(runtime: Runtime) -> None:
    random = runtime.load(guest_path("random"))
    drawn = {json.loads(random.run().output)["bytes"] for _ in range(50)}
    assert len(drawn) == 50


def test_the_monotonic_clock_tells_a_guest_nothing_of_the_host(runtime: Runtime) -> None:
    # It begins with the instance: the machine's uptime is none of its business.
    random = runtime.load(guest_path("random"))
    assert json.loads(random.run().output)["monotonic"] < 60 * 10**9


def test_two_functions_of_one_component_keep_their_own_grants(runtime: Runtime) -> None:
    first = runtime.load(guest_path("env"), env={"WHO": "first"})
    second = runtime.load(guest_path("env"), env={"WHO": "second"})
    none = runtime.load(guest_path("env"))
    seen = [json.loads(function.run().output)["env"] for function in (first, second, none, first)]
    assert seen == [{"WHO": "first"}, {"WHO": "second"}, {}, {"WHO": "first"}]
