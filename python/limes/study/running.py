"""A node as a process of its own on 127.0.0.1, asked through its admin API: for experiments and benches."""

from __future__ import annotations

import http.client
import json
import selectors
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limes.errors import Unavailable, from_http

START_SECONDS = 60.0
"""How long a node may take until it serves, and for one answer of its API."""

Address = tuple[str, int]


@dataclass(frozen=True)
class Running:
    """A node that serves."""

    pid: int
    listen: Address
    admin: Address
    token: str

    def api(
        self, method: str, path: str, body: bytes | None = None, settings: Mapping[str, Any] | None = None
    ) -> Any:
        """One request to the admin API; its JSON answer, or None where that is empty.

        Args:
            method: of the request.
            path: of the request, from ``/v1`` on.
            body: a component, for a deploy.
            settings: what is deployed beside it, by the names of ``limes.toml``.

        Raises:
            LimesError: the node refused.
        """
        headers = {"Authorization": f"Bearer {self.token}"}
        if settings is not None:
            headers["Limes-Config"] = json.dumps(settings)
        connection = http.client.HTTPConnection(*self.admin, timeout=START_SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            payload = json.loads(text) if text else None
        except ValueError:
            payload = None
        if answer.status >= 300:
            raise from_http(payload, answer.status)
        return payload


@contextmanager
def process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A child whose output is a pipe and whose errors go to `log`; asked to end with the block, then made to.

    Raises:
        OSError: it cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603 (ours)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


def first_line(child: subprocess.Popen[str]) -> str:
    """The line by which a server says that it serves; empty when it ended, or said nothing in `START_SECONDS`."""
    assert child.stdout is not None  # a pipe was asked for
    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout, selectors.EVENT_READ)
        return child.stdout.readline() if ready.select(START_SECONDS) else ""


@contextmanager
def running(home: Path, log: Path) -> Iterator[Running]:
    """A node with its state below `home` and its errors in `log`, until the block ends.

    The block begins when the node serves everything that is deployed.

    Raises:
        Unavailable: it did not start.
    """
    command = [sys.executable, "-m", "limes", "serve", "--home", str(home), "--json"]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with process(command, log) as child:
        try:
            told: dict[str, Any] = json.loads(first_line(child))
        except ValueError:
            last = log.read_text(errors="replace").strip()[-500:]
            raise Unavailable(
                f"a node did not start: {last or 'it said nothing'}", operation="study"
            ) from None
        listen, admin = _address(told["listen"]), _address(told["admin"])
        yield Running(told["pid"], listen, admin, (home / "token").read_text().strip())


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)
