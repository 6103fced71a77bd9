"""An image of one's own that listens on a port is called by HTTP."""

import os
from pathlib import Path

import httpx
import pytest
from tests.conftest import StartNode
from tests.microvm.conftest import image_path

from limes import GuestFailure, LimesError, LimesTimeout, LimitExceeded, Runtime, Unavailable
from limes.runtime import Function


@pytest.fixture(params=["firecracker", "qemu"])
def vmm(request: pytest.FixtureRequest, problems: dict[str, str]) -> str:
    """Each monitor that boots images, if it works here; otherwise a skip with the reason."""
    if request.param == "firecracker":
        if not os.environ.get("LIMES_FIRECRACKER"):
            pytest.skip("LIMES_FIRECRACKER names no binary of Firecracker")
        if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
            pytest.skip("a tap device needs root and /dev/net/tun")
    if problem := problems[request.param]:
        pytest.skip(f"no microVM on {request.param}: {problem}")
    return str(request.param)


def load(
    runtime: Runtime,
    vmm: str,
    mode: str = "auto",
    isolation: str = "fresh-state",
    drive: Path | None = None,
    **limits: str | int,
) -> Function:
    image = {"protocol": "http", "arguments": "ip={ip}", **({"drive": str(drive)} if drive else {})}
    machine = {"vmm": vmm, "mode": mode, "isolation": isolation, "memory": "64MiB", "image": image}
    return runtime.load(image_path("http"), sandbox="microvm", microvm=machine, **limits)


@pytest.mark.parametrize("mode", ["end-to-end", "pre-configured", "warm"])
def test_an_image_answers_requests_in_each_of_its_modes(runtime: Runtime, vmm: str, mode: str) -> None:
    image = load(runtime, vmm, mode)
    assert image.contract == "http02"
    for path in ("/first", "/second?x=y"):
        answer = image.http("POST", path, {"X-Sent": "yes"}, b"hello")
        # The last line counts requests: each machine has one.
        assert (answer.status, answer.body) == (200, f"POST {path} HTTP/1.1\nHELLO\n1\n".encode())
        assert ("x-image", "yes") in [(name.lower(), value) for name, value in answer.headers]


def test_a_machine_that_is_used_again_remembers(runtime: Runtime, vmm: str) -> None:
    image = load(runtime, vmm, isolation="reuse")
    counts = [image.http("GET", "/").body.splitlines()[-1] for _ in range(3)]
    assert counts == [b"1", b"2", b"3"]


@pytest.mark.parametrize("mode", ["end-to-end", "warm"])
def test_each_machine_has_the_root_drive_to_itself(
    runtime: Runtime, vmm: str, mode: str, tmp_path: Path
) -> None:
    drive = tmp_path / "root.raw"
    content = b"what the drive begins with".ljust(1 << 20, b"\0")
    drive.write_bytes(content)
    image = load(runtime, vmm, mode, drive=drive)
    # Each machine overwrites what it finds there.
    for _ in range(3):
        assert image.http("GET", "/drive").body == content.rstrip(b"\0")
    assert drive.read_bytes() == content


def test_without_a_root_drive_the_machine_has_none(runtime: Runtime, vmm: str) -> None:
    assert load(runtime, vmm).http("GET", "/drive").body == b"there is no drive"


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/halt", Unavailable, "ended before it answered"),
        ("/garbage", GuestFailure, "does not speak HTTP"),
        ("/flood", LimitExceeded, "response"),
    ],
)
def test_a_hostile_image_costs_its_own_call(
    runtime: Runtime, vmm: str, path: str, error: type[LimesError], message: str
) -> None:
    image = load(runtime, vmm, response=1000, timeout="20s")
    with pytest.raises(error, match=message):
        image.http("GET", path)
    assert image.http("GET", "/well").status == 200


def test_an_image_that_does_not_answer_is_ended_by_the_timeout(runtime: Runtime, vmm: str) -> None:
    image = load(runtime, vmm, timeout="1s")
    with pytest.raises(LimesTimeout):
        image.http("GET", "/silence")


def test_a_node_serves_it(start_node: StartNode, vmm: str, tmp_path: Path) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "kernel").write_bytes(image_path("http").read_bytes())
    (folder / "limes.toml").write_text(
        'name = "web"\ncomponent = "kernel"\nsandbox = "microvm"\n'
        f'[microvm]\nvmm = "{vmm}"\nmemory = "64MiB"\n'
        '[microvm.image]\nprotocol = "http"\nport = 8080\narguments = "ip={ip}"\n'
    )
    node = start_node()
    node.json("deploy", folder)
    answer = httpx.put(node.function_url("web", "/path?q"), content=b"word", timeout=30)
    assert (answer.status_code, answer.text.splitlines()[1]) == (200, "WORD")
