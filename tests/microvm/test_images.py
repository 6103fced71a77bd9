"""An image of one's own is called by SPARE's protocol, and costs no more than its own call."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import StartNode, eventually
from tests.microvm.conftest import image_path

from limes import (
    BadComponent,
    GuestFailure,
    InvalidArgument,
    LimesError,
    LimesTimeout,
    LimitExceeded,
    Overloaded,
    Runtime,
    Unavailable,
)
from limes.runtime import Function


@pytest.fixture(params=["firecracker", "qemu"])
def vmm(request: pytest.FixtureRequest, problems: dict[str, str]) -> str:
    """Each monitor that boots images, if it works here; otherwise a skip with the reason."""
    if request.param == "firecracker" and not os.environ.get("LIMES_FIRECRACKER"):
        pytest.skip("LIMES_FIRECRACKER names no binary of Firecracker")
    if problem := problems[request.param]:
        pytest.skip(f"no microVM on {request.param}: {problem}")
    if request.param == "qemu" and not _vhost_vsock():
        pytest.skip("vhost-device-vsock is not on PATH (cargo install vhost-device-vsock --locked)")
    return str(request.param)


def _vhost_vsock() -> str | None:
    return os.environ.get("LIMES_VHOST_DEVICE_VSOCK") or shutil.which("vhost-device-vsock")


def load(
    runtime: Runtime, vmm: str, arguments: str = "", mode: str = "auto", **limits: str | int
) -> Function:
    image = {"protocol": "spare", "arguments": arguments}
    return runtime.load(
        image_path("spare"),
        sandbox="microvm",
        microvm={"vmm": vmm, "mode": mode, "memory": "64MiB", "image": image},
        **limits,
    )


@pytest.mark.parametrize("mode", ["end-to-end", "pre-configured", "warm"])
def test_an_image_answers_in_each_of_its_modes(runtime: Runtime, vmm: str, mode: str) -> None:
    image = load(runtime, vmm, mode=mode)
    assert image.contract == "run"
    for word in ("one", "two", "grün"):
        result = image.run(word)
        assert result.output == word.translate(str.maketrans("onetwgr", "ONETWGR"))
    assert result.timing.execute > 0


@pytest.mark.parametrize("mode", ["snapshot", "reset"])
def test_modes_that_would_cut_its_connection_are_refused(runtime: Runtime, vmm: str, mode: str) -> None:
    with pytest.raises(InvalidArgument, match="snapshot would cut"):
        load(runtime, vmm, mode=mode)


def test_a_large_payload_passes_both_ways(runtime: Runtime, vmm: str) -> None:
    text = "x" * 300_000
    assert load(runtime, vmm).run(text).output == text.upper()


def test_the_kernel_gets_its_arguments(runtime: Runtime, vmm: str) -> None:
    assert "behave=say colour=green" in load(runtime, vmm, "behave=say colour=green").run().output


@pytest.mark.parametrize(
    ("behave", "error", "message"),
    [
        ("lie", LimitExceeded, "response is"),
        ("cut", Unavailable, "announced 1000 bytes and sent 5"),
        ("binary", GuestFailure, "no UTF-8 text"),
        ("spin", LimesTimeout, "1000 ms"),
        ("halt", Unavailable, "ended before it answered"),
    ],
)
def test_a_hostile_image_costs_its_own_call(
    runtime: Runtime, vmm: str, behave: str, error: type[LimesError], message: str
) -> None:
    timeout = "1s" if error is LimesTimeout else "30s"
    image = load(runtime, vmm, f"behave={behave}", timeout=timeout)
    for _ in range(2):
        with pytest.raises(error, match=message):
            image.run("x")


def test_an_image_that_says_something_else_than_ready_is_refused(runtime: Runtime, vmm: str) -> None:
    with pytest.raises(BadComponent, match='said "hello" where `ready` was due'):
        load(runtime, vmm, "behave=garbage")


def test_computing_past_the_limit_ends_it(runtime: Runtime, vmm: str) -> None:
    with pytest.raises(LimitExceeded, match="cpu"):
        load(runtime, vmm, "behave=spin", cpu="200ms", timeout="20s").run("x")


def test_what_is_longer_than_the_limits_is_refused(runtime: Runtime, vmm: str) -> None:
    image = load(runtime, vmm, request=1000, response=100)
    with pytest.raises(LimesError, match="1000"):
        image.run("x" * 1001)
    with pytest.raises(LimitExceeded, match="response is 100"):
        image.run("x" * 101)
    assert image.run("x" * 100).output == "X" * 100


def test_the_console_goes_to_the_functions_log(start_node: StartNode, problems: dict[str, str]) -> None:
    if problems["qemu"] or not _vhost_vsock():
        pytest.skip(
            "the console's port works under emulation only here, and needs QEMU and vhost-device-vsock"
        )
    node = start_node()
    folder = node.home.parent / "upper"
    folder.mkdir()
    shutil.copy(image_path("spare"), folder / "kernel")
    (folder / "limes.toml").write_text(
        'name = "upper"\ncomponent = "kernel"\nsandbox = "microvm"\n'
        '[microvm]\nvmm = "qemu"\naccelerator = "tcg"\nmemory = "64MiB"\n'
        '[microvm.image]\nprotocol = "spare"\narguments = "console"\n'
    )
    node.json("deploy", folder)
    assert node.limes("invoke", "upper", "word").stdout == b"WORD\n"
    assert b"the image has booted" in node.limes("logs", "upper").stdout


def test_its_memory_is_counted_before_it_is_started(
    cache_dir: Path, vmm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMES_MICROVM_MEMORY", "40MiB")
    with pytest.raises(Overloaded, match="LIMES_MICROVM_MEMORY"):
        load(Runtime(cache_dir), vmm)


def test_nothing_is_left_of_an_image(
    cache_dir: Path, folder: Path, vmm: str, children: Callable[[], list[int]]
) -> None:
    before = set(children())
    runtime = Runtime(cache_dir)
    image = load(runtime, vmm, mode="warm")
    assert image.run("x").output == "X"
    del image, runtime
    eventually(lambda: set(children()) <= before, "the end of the machines")
    eventually(lambda: not list(folder.glob("limes-*")), "the end of their folder")


def test_the_built_in_monitor_refers_to_the_others(runtime: Runtime, builtin: str) -> None:
    with pytest.raises(InvalidArgument, match='an image of your own needs vmm = "firecracker" or "qemu"'):
        load(runtime, builtin)


def test_spares_protocol_has_one_call_a_machine(runtime: Runtime, vmm: str) -> None:
    image = {"protocol": "spare"}
    with pytest.raises(InvalidArgument, match="one call a machine"):
        runtime.load(
            image_path("spare"),
            sandbox="microvm",
            microvm={"vmm": vmm, "isolation": "reuse", "image": image},
        )


def test_a_setting_of_an_image_without_meaning_is_named(runtime: Runtime, tmp_path: Path) -> None:
    for image, message in (
        ({}, "protocol"),
        ({"protocol": "smtp"}, "protocol"),
        ({"protocol": "http", "port": 0}, "port"),
        ({"protocol": "spare", "drive": str(tmp_path / "none.img")}, "is no file"),
        ({"protocol": "spare", "kernel": "x"}, "kernel"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            runtime.load(image_path("spare"), sandbox="microvm", microvm={"image": image})
