"""What every monitor does, in each of its modes."""

import json

import pytest
from tests.conftest import guest_path
from tests.microvm.conftest import MODES

from limes import InvalidArgument, LimesTimeout, Runtime, UnsupportedContract


@pytest.mark.parametrize("mode", ["end-to-end", "pre-configured", "snapshot", "reset", "warm"])
def test_a_function_answers_in_every_mode_of_every_monitor(runtime: Runtime, vmm: str, mode: str) -> None:
    settings = {"vmm": vmm, "mode": mode}
    if mode not in MODES[vmm]:
        with pytest.raises(InvalidArgument, match=r"microvm\.mode"):
            runtime.load(guest_path("hello"), sandbox="microvm", microvm=settings)
        return
    hello = runtime.load(guest_path("hello"), sandbox="microvm", microvm=settings)
    for name in ("Ada", "Bob", "Eve"):
        assert hello.run(name).output == f"Hello, {name}!"


def test_a_handler_answers_on_every_monitor(runtime: Runtime, vmm: str) -> None:
    handler = runtime.load(guest_path("http_echo"), sandbox="microvm", microvm={"vmm": vmm})
    body = bytes(range(256)) * 2000
    assert handler.http("POST", "/x?y", (), body).body == body


def test_random_bytes_differ_between_machines_of_one_snapshot(runtime: Runtime, vmm: str) -> None:
    mode = {"vmm": vmm, "mode": "snapshot"}
    random = runtime.load(guest_path("random"), sandbox="microvm", microvm=mode)
    drawn = [json.loads(random.run().output)["bytes"] for _ in range(10)]
    assert len(set(drawn)) == len(drawn)


def test_the_timeout_ends_the_machine_on_every_monitor(runtime: Runtime, vmm: str) -> None:
    spin = runtime.load(guest_path("spin"), sandbox="microvm", microvm={"vmm": vmm}, timeout="300ms")
    with pytest.raises(LimesTimeout):
        spin.run()


@pytest.mark.parametrize("name", ["http3_hello", "cli3_hello"])
def test_a_component_of_wasi_03_is_sent_to_the_other_sandbox(runtime: Runtime, name: str) -> None:
    with pytest.raises(UnsupportedContract, match='needs sandbox = "wasm"'):
        runtime.load(guest_path(name), sandbox="microvm")


def test_a_setting_without_meaning_is_named(runtime: Runtime) -> None:
    with pytest.raises(InvalidArgument, match=r"microvm\.mode"):
        runtime.load(guest_path("hello"), sandbox="microvm", microvm={"mode": "fastest"})
    with pytest.raises(InvalidArgument, match="sandbox"):
        runtime.load(guest_path("hello"), sandbox="chroot")
