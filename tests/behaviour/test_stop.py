"""A function that runs can be ended, and is gone then."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.conftest import DEADLINE, eventually, guest_path

from limes import Function, Invocation, LimesTimeout, Overloaded, Request, Runtime, Stopped


class OneSlot:
    """An engine for one instance at a time: whether a guest is alive shows in whether another gets in."""

    def __init__(self) -> None:
        self.runtime = Runtime(jit=True, slots=1)
        self.probe = self.runtime.load(guest_path("wat_echo"))

    def load(self, name: str) -> Function:
        return self.runtime.load(guest_path(name), timeout="5m", cpu="5m")

    def is_free(self) -> bool:
        try:
            return self.probe.run("free").output == "free"
        except Overloaded:
            return False

    def start(self, name: str, call: str | Request) -> Invocation[Any]:
        """Begin a call and wait until its guest is alive."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            invocation = self.load(name).start(call)
            while not invocation.done():
                if not self.is_free():
                    return invocation
            # The probe was faster, and took the slot: begin anew.
            with pytest.raises(Overloaded):
                invocation.result()
        pytest.fail(f"{name} never got the slot")

    async def begin(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """The same for a call of asyncio."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            task = asyncio.ensure_future(call())
            await asyncio.sleep(0)
            while not task.done():
                if not self.is_free():
                    return task
                await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await task
        pytest.fail("the call never got the slot")


@pytest.fixture(scope="module")
def engine() -> OneSlot:
    return OneSlot()


@pytest.fixture
def one(engine: OneSlot) -> OneSlot:
    eventually(engine.is_free, "the slot of the test before")
    return engine


CALLS = [
    pytest.param("spin", "", id="computes"),
    pytest.param("sleep", "600000", id="waits"),
    pytest.param("spin_http", Request(), id="handler-computes"),
    pytest.param("http_never", Request(url="/?head=1"), id="handler-waits-after-its-head"),
]


def test_one_call_more_than_there_are_slots_is_turned_away(one: OneSlot) -> None:
    invocation = one.start("sleep", "600000")
    with pytest.raises(Overloaded, match="slots"):
        one.probe.run()
    invocation.stop()
    with pytest.raises(Stopped):
        invocation.result(30)
    assert one.probe.run("free").output == "free"


@pytest.mark.parametrize(("name", "call"), CALLS)
def test_stop_from_another_thread_ends_the_guest(one: OneSlot, name: str, call: str | Request) -> None:
    invocation = one.start(name, call)
    assert not invocation.done()
    stopper = threading.Thread(target=invocation.stop)
    stopper.start()
    with pytest.raises(Stopped):
        invocation.result(30)
    stopper.join()
    assert invocation.done()
    eventually(one.is_free, "the slot of the stopped guest")


def test_stopping_again_and_after_the_end_does_nothing(one: OneSlot) -> None:
    invocation = one.load("spin").start()
    for _ in range(3):
        invocation.stop()
    with pytest.raises(Stopped):
        invocation.result(30)
    invocation.stop()
    finished = one.load("hello").start("you")
    assert eventually(finished.done, "the end of the guest")
    finished.stop()
    assert finished.result(30).output == "Hello, you!"


def test_the_result_can_be_asked_for_again(runtime: Runtime) -> None:
    invocation = runtime.load(guest_path("hello")).start("you")
    assert invocation.result(30).output == "Hello, you!"
    assert invocation.result(30).output == "Hello, you!"


def test_stopping_one_invocation_leaves_the_others(runtime: Runtime) -> None:
    sleep = runtime.load(guest_path("sleep"))
    stopped, others = sleep.start("600000"), [sleep.start("50") for _ in range(5)]
    stopped.stop()
    with pytest.raises(Stopped):
        stopped.result(30)
    assert [other.result(30).output for other in others] == ["awake"] * 5


def test_invocations_have_ids_of_their_own(runtime: Runtime) -> None:
    hello = runtime.load(guest_path("hello"))
    invocations = [hello.start("x") for _ in range(10)]
    assert len({invocation.id for invocation in invocations}) == 10
    for invocation in invocations:
        invocation.result(30)


def test_result_may_stop_waiting_while_the_guest_goes_on(one: OneSlot) -> None:
    invocation = one.load("sleep").start("600000")
    with pytest.raises(TimeoutError, match="still runs") as waited:
        invocation.result(0.01)
    assert not isinstance(waited.value, LimesTimeout)
    assert not invocation.done()
    invocation.stop()
    with pytest.raises(Stopped):
        invocation.result(30)


def test_a_guest_that_ran_out_of_time_is_gone(one: OneSlot) -> None:
    with pytest.raises(LimesTimeout):
        one.load("spin").run(timeout="20ms")
    eventually(one.is_free, "the slot of the guest")


@pytest.mark.parametrize(
    ("name", "method", "arguments"),
    [
        ("spin", "arun", ()),
        ("sleep", "arun", ("600000",)),
        ("http_never", "ahttp", ()),
        ("spin_http", "ahttp", ("GET", "/?head=1")),
    ],
)
def test_cancelling_a_task_ends_its_guest(
    one: OneSlot, name: str, method: str, arguments: tuple[str, ...]
) -> None:
    async def cancel() -> None:
        function = one.load(name)
        task = await one.begin(lambda: getattr(function, method)(*arguments))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    eventually(one.is_free, "the slot of the cancelled guest")


def test_a_timeout_of_asyncio_ends_the_guest(one: OneSlot) -> None:
    async def wait() -> None:
        async with asyncio.timeout(0.05):
            await one.load("sleep").arun("600000")

    with pytest.raises(TimeoutError):
        asyncio.run(wait())
    eventually(one.is_free, "the slot of the guest")
