"""What every suite shares: the guests, one runtime, and nodes that run as processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from limes import Runtime

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell has it that runs the tests in its background; what they start would not hear Ctrl-C either.
    signal.signal(signal.SIGINT, signal.default_int_handler)

GUESTS = Path(__file__).resolve().parents[1] / "guests"
DEADLINE = 30.0
"""Seconds after which an event that a test waits for counts as never coming."""
SANDBOXES = ["wasm", *(f"microvm-{vmm}" for vmm in os.environ.get("LIMES_TEST_VMMS", "builtin").split(","))]
"""Where the cases that hold for every sandbox are run; `LIMES_TEST_VMMS` names the monitors, with commas between.

A monitor may be followed by what runs its machines: `qemu-tcg`, `qemu-kvm`; `qemu` takes KVM where it works.
"""


def machine_settings(sandbox: str) -> dict[str, str]:
    """What `[microvm]` of `limes.toml` has for one of `SANDBOXES`; empty for one that is no microVM."""
    return dict(zip(("vmm", "accelerator"), sandbox.split("-")[1:], strict=False))


def eventually(check: Callable[[], Any], what: str = "the event", seconds: float = DEADLINE) -> Any:
    """Ask `check` until its answer is true, and give that answer; fail when it does not come."""
    end = time.monotonic() + seconds
    pause = 0.001
    while not (answer := check()):
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return answer


def guest_path(name: str) -> Path:
    """The built component of a guest; of `wat_echo` and other text guests too."""
    path = GUESTS / "build" / f"{name}.wasm"
    if not path.is_file():
        pytest.fail(f"the guest '{name}' is not built ({path} is missing); run `make guests`")
    return path


class Node:
    """A running `limes serve`, and what a test does with it."""

    def __init__(self, home: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.home = home
        self.environment = {**os.environ, **(env or {}), "LIMES_HOME": str(home)}
        self._log = (home.parent / f"{home.name}.stderr").open("a+b")
        addresses = [] if "--listen" in options else ["--listen", "127.0.0.1:0"]
        if "--admin" not in options:
            addresses += ["--admin", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "limes", "serve", "--home", home, *addresses, *options, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=self.environment,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.kill()
            pytest.fail(f"the node did not start:\n{self.stderr}")
        self.started: dict[str, Any] = json.loads(line)
        self.pid: int = self.process.pid
        self.url = f"http://{self.started['listen']}"
        self.admin = f"http://{self.started['admin']}"
        self.token = (home / "token").read_text().strip()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the listener, for a raw socket."""
        host, _, port = self.started["listen"].rpartition(":")
        return host, int(port)

    @property
    def stderr(self) -> str:
        """What the node wrote to its log."""
        self._log.flush()
        return Path(self._log.name).read_text(errors="replace")

    @property
    def authorization(self) -> dict[str, str]:
        """The header that the admin API asks for."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def function_url(self, name: str, rest: str = "") -> str:
        return f"{self.url}/function/{name}{rest}"

    def limes(
        self, *args: str | Path, check: bool = True, stdin: bytes | None = None, timeout: float = DEADLINE
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `limes ARGS` against this node; its output as bytes."""
        done = subprocess.run(
            [sys.executable, "-m", "limes", *args],
            capture_output=True,
            input=stdin if stdin is not None else b"",
            env=self.environment,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            pytest.fail(f"limes {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr.decode()}")
        return done

    def json(self, *args: str | Path) -> Any:
        """Run `limes ARGS --json` and decode what it wrote."""
        return json.loads(self.limes(*args, "--json").stdout)

    def deploy(self, component: str | Path, name: str | None = None, *options: str) -> dict[str, Any]:
        """Deploy a guest by its name, or a file by its path; gives what `limes deploy --json` says."""
        path = component if isinstance(component, Path) else guest_path(component)
        named = ["--name", name or re.sub(r"[^a-z0-9]+", "-", path.stem)]
        answer: dict[str, Any] = self.json("deploy", path, *named, *options)
        return answer

    def put(self, component: str | Path, name: str, limits: dict[str, Any], sandbox: str = "wasm") -> None:
        """Deploy by the admin API itself, to one of `SANDBOXES`: as `deploy`, without starting a process for it."""
        path = component if isinstance(component, Path) else guest_path(component)
        config: dict[str, Any] = {"limits": limits, "sandbox": sandbox.partition("-")[0]}
        if machine := machine_settings(sandbox):
            config["microvm"] = machine
        answer = httpx.put(
            f"{self.admin}/v1/functions/{name}",
            content=path.read_bytes(),
            headers={
                **self.authorization,
                "Content-Type": "application/wasm",
                "Limes-Config": json.dumps(config),
            },
            timeout=DEADLINE,
        )
        assert answer.is_success, answer.text

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """Ask the process to end, as a service manager would; gives its exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self._ended()
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the node did not end on SIGTERM:\n{self.stderr}")

    def _ended(self) -> int:
        code = self.process.wait(DEADLINE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def close(self) -> None:
        """End the process if it runs, and let go of its log."""
        try:
            self.stop()
        finally:
            self._log.close()


StartNode = Callable[..., Node]


@pytest.fixture
def guest() -> Callable[[str], Path]:
    """The path of a guest, by its name."""
    return guest_path


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compile cache that the whole run shares, so that each guest is compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def runtime(cache_dir: Path) -> Runtime:
    return Runtime(cache_dir)


@pytest.fixture(scope="session")
def problems(cache_dir: Path) -> dict[str, str]:
    """Why each monitor does not work here; empty for one that does."""
    return {probed["vmm"]: probed["problem"] for probed in json.loads(Runtime(cache_dir).engine.microvms())}


@pytest.fixture(scope="session", params=SANDBOXES)
def sandbox(request: pytest.FixtureRequest) -> str:
    """Each of `SANDBOXES` in turn; a monitor that does not work here is skipped with the reason."""
    vmm = machine_settings(request.param).get("vmm")
    if vmm and (problem := request.getfixturevalue("problems")[vmm]):
        pytest.skip(f"no microVM on {vmm}: {problem}")
    return str(request.param)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that the tests of a module share."""
    node = Node(tmp_path_factory.mktemp("node") / "home")
    yield node
    node.close()


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[StartNode]:
    """Starts nodes, each with options of its own; a second one of the same home goes on where it was."""
    nodes: list[Node] = []

    def start(*options: str, home: Path | None = None, env: dict[str, str] | None = None) -> Node:
        nodes.append(Node(home or tmp_path / "home", *options, env=env))
        return nodes[-1]

    yield start
    for node in nodes:
        node.close()


@pytest.fixture
def fresh_node(start_node: StartNode) -> Node:
    """A node of this test alone."""
    return start_node()
