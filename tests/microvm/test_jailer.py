"""Firecracker in its jail: with a stand-in for the jailer that takes its arguments and lays its layout."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import eventually, guest_path
from tests.microvm.conftest import image_path

from limes import Runtime

JAILER = Path(__file__).resolve().parent / "jailer"


@pytest.fixture
def jail(
    tmp_path: Path, problems: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Path]]:
    """The stand-in in use: where it writes down how it was called, and where machines are."""
    if os.geteuid() != 0:
        pytest.skip("only root can use the jailer")
    if not os.environ.get("LIMES_FIRECRACKER"):
        pytest.skip("LIMES_FIRECRACKER names no binary of Firecracker")
    if problem := problems["firecracker"]:
        pytest.skip(f"no microVM on firecracker: {problem}")
    # Short, as a socket's path must be; it must permit devices.
    folder = Path(tempfile.mkdtemp(prefix="jail-", dir="/tmp"))
    log = tmp_path / "calls"
    log.touch()
    monkeypatch.setenv("LIMES_JAILER", str(JAILER))
    monkeypatch.setenv("LIMES_TEST_JAILER_LOG", str(log))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield log, folder
    shutil.rmtree(folder)


def _jailed(folder: Path) -> dict[int, int]:
    """Processes whose root is below `folder`, and their users."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "root").readlink().is_relative_to(folder):
                found[int(entry.name)] = entry.stat().st_uid
        except OSError:
            continue
    return found


@pytest.mark.parametrize("mode", ["end-to-end", "pre-configured", "snapshot"])
def test_firecracker_answers_out_of_its_jail_and_leaves_nothing(
    cache_dir: Path, jail: tuple[Path, Path], mode: str
) -> None:
    log, folder = jail
    runtime = Runtime(cache_dir)
    settings = {"vmm": "firecracker", "mode": mode}
    hello = runtime.load(guest_path("hello"), sandbox="microvm", microvm=settings)
    for name in ("Ada", "Bob"):
        assert hello.run(name).output == f"Hello, {name}!"
    calls = [line.split() for line in log.read_text().splitlines()]
    assert len(calls) >= 2
    for call in calls:
        assert call[call.index("--exec-file") + 1] == os.environ["LIMES_FIRECRACKER"]
        assert call[call.index("--chroot-base-dir") + 1].startswith(str(folder))
    users = [int(call[call.index("--uid") + 1]) for call in calls]
    assert 0 not in users
    assert len(set(users)) == len(users), "two machines may not be of one user"
    del hello, runtime
    eventually(lambda: not _jailed(folder), "the end of the jailed processes")
    eventually(lambda: not list(folder.glob("limes-*")), "the removal of their roots")


def test_an_image_of_ones_own_is_jailed_with_its_vsock(cache_dir: Path, jail: tuple[Path, Path]) -> None:
    log, folder = jail
    runtime = Runtime(cache_dir)
    image = {"protocol": "spare", "arguments": ""}
    settings = {"vmm": "firecracker", "mode": "warm", "memory": "64MiB", "image": image}
    upper = runtime.load(image_path("spare"), sandbox="microvm", microvm=settings)
    assert upper.run("one").output == "ONE"
    assert all(
        user >= 0x7000_0000 for user in eventually(lambda: _jailed(folder), "a jailed process").values()
    )
    assert log.read_text()
    del upper, runtime
    eventually(lambda: not _jailed(folder), "the end of the jailed processes")
    eventually(lambda: not list(folder.glob("limes-*")), "the removal of their roots")


def test_an_image_of_ones_own_is_jailed_with_its_drive_and_its_network_card(
    cache_dir: Path, jail: tuple[Path, Path], tmp_path: Path
) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("there is no /dev/net/tun")
    _, folder = jail
    drive = tmp_path / "root.raw"
    drive.write_bytes(b"a drive in a jail".ljust(1 << 20, b"\0"))
    runtime = Runtime(cache_dir)
    image = {"protocol": "http", "arguments": "ip={ip}", "drive": str(drive)}
    settings = {"vmm": "firecracker", "mode": "warm", "memory": "64MiB", "image": image}
    web = runtime.load(image_path("http"), sandbox="microvm", microvm=settings)
    assert web.http("GET", "/drive").body == b"a drive in a jail"
    assert all(
        user >= 0x7000_0000 for user in eventually(lambda: _jailed(folder), "a jailed process").values()
    )


def test_the_process_in_the_jail_is_of_its_own_user_and_root(
    cache_dir: Path, jail: tuple[Path, Path]
) -> None:
    _, folder = jail
    runtime = Runtime(cache_dir)
    sleep = runtime.load(
        guest_path("sleep"), sandbox="microvm", microvm={"vmm": "firecracker", "mode": "end-to-end"}
    )
    running = sleep.start("1500")
    users = eventually(lambda: _jailed(folder), "a jailed process")
    assert all(user >= 0x7000_0000 for user in users.values())
    assert running.result(30).output == "awake"


def test_jailed_machines_of_a_killed_process_are_ended_by_the_next(
    cache_dir: Path, jail: tuple[Path, Path]
) -> None:
    _, folder = jail
    program = (
        "import sys; from limes import Runtime\n"
        "sleep = Runtime(sys.argv[1]).load(sys.argv[2], sandbox='microvm',"
        " microvm={'vmm': 'firecracker', 'mode': 'end-to-end'})\n"
        "sleep.run('60000')"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(cache_dir), guest_path("sleep")])
    try:
        eventually(lambda: _jailed(folder), "a jailed process")
    finally:
        process.kill()
        process.wait()
    again = Runtime(cache_dir)
    hello = again.load(guest_path("hello"), sandbox="microvm", microvm={"vmm": "firecracker"})
    assert hello.run("you").output == "Hello, you!"
    del hello, again
    eventually(lambda: not _jailed(folder), "the end of what was left")
    eventually(lambda: not list(folder.glob("limes-*")), "the removal of what was left")
