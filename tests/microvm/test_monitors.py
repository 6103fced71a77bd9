"""What every monitor does, in each of its modes."""

import json
from pathlib import Path

import pytest
from tests.conftest import guest_path
from tests.microvm.conftest import MODES

from limes import GuestTrap, InvalidArgument, LimesTimeout, LimitExceeded, Runtime, UnsupportedContract


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


def test_a_large_body_passes_both_ways_on_every_monitor(runtime: Runtime, vmm: str) -> None:
    handler = runtime.load(
        guest_path("http_echo"), sandbox="microvm", microvm={"vmm": vmm}, request="4MiB", response="4MiB"
    )
    body = bytes(range(256)) * 12_000
    assert handler.http("POST", "/x?y", (), body).body == body


def test_no_byte_of_a_long_answer_is_lost(runtime: Runtime, vmm: str) -> None:
    # Faster than it is taken: where bytes were lost the call ended as garbage, or waited for credit.
    machine = {"vmm": vmm, "accelerator": "tcg"}
    flood = runtime.load(guest_path("http_flood"), sandbox="microvm", microvm=machine, response="4MiB")
    with pytest.raises(LimitExceeded, match="response"):
        flood.http("GET", "/")


def test_a_handler_that_fails_after_its_head_has_not_answered(runtime: Runtime, vmm: str) -> None:
    machine = {"vmm": vmm, "accelerator": "tcg"}
    twice = runtime.load(guest_path("http_double_set"), sandbox="microvm", microvm=machine)
    for _ in range(3):
        with pytest.raises(GuestTrap):
            twice.http("GET", "/")


def test_a_machine_that_waits_takes_no_processor_time(runtime: Runtime, vmm: str) -> None:
    # What its process computes counts against the limit.
    machine = {"vmm": vmm, "accelerator": "tcg"}
    sleep = runtime.load(guest_path("sleep"), sandbox="microvm", microvm=machine, cpu="1s", timeout="30s")
    assert sleep.run("3000").output == "awake"


@pytest.mark.parametrize("mode", ["snapshot", "reset"])
def test_random_bytes_differ_between_machines_of_one_snapshot(runtime: Runtime, vmm: str, mode: str) -> None:
    if mode not in MODES[vmm]:
        pytest.skip(f"{vmm} has no mode {mode}")
    random = runtime.load(guest_path("random"), sandbox="microvm", microvm={"vmm": vmm, "mode": mode})
    drawn = [json.loads(random.run().output)["bytes"] for _ in range(10)]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("mode", ["end-to-end", "snapshot"])
@pytest.mark.parametrize("accelerator", ["tcg", "kvm", "auto"])
def test_qemu_runs_on_what_was_asked_for(
    runtime: Runtime, problems: dict[str, str], accelerator: str, mode: str
) -> None:
    if problem := problems["qemu"]:
        pytest.skip(f"no microVM on qemu: {problem}")
    if accelerator == "kvm" and (problem := problems["builtin"]):
        pytest.skip(f"no KVM: {problem}")
    machine = {"vmm": "qemu", "accelerator": accelerator, "mode": mode}
    hello = runtime.load(guest_path("hello"), sandbox="microvm", microvm=machine)
    assert hello.run("Ada").output == "Hello, Ada!"


def test_what_was_found_out_about_monitors_is_kept_for_the_next_process(
    cache_dir: Path, builtin: str
) -> None:
    Runtime(cache_dir).load(guest_path("hello"), sandbox="microvm", microvm={"vmm": builtin})
    kept = cache_dir / "monitors.json"
    assert any(name.startswith("builtin") for name in json.loads(kept.read_text())["monitors"])
    assert kept.stat().st_mode & 0o777 == 0o600


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
