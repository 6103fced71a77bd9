"""A node of its own for an experiment: a process on 127.0.0.1 with one function deployed."""

from __future__ import annotations

import http.client
import json
import os
import resource
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limes.errors import Unavailable, from_http
from limes.study.experiments.client import request
from limes.study.process import private_bytes
from limes.study.workloads import Call, Workload

NAME = "studied"
START_SECONDS = 60.0
MANY_FILES = 65_536
"""For thousands of connections, or of machines with some files each."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Node:
    """A node that runs, with what the system tells of its process."""

    def __init__(self, pid: int, address: tuple[str, int], admin: tuple[str, int], token: str) -> None:
        self.pid = pid
        self.address = address
        self._admin = admin
        self._token = token

    def deploy(self, workload: Workload, settings: dict[str, Any]) -> None:
        """Deploy a function under the one name that an experiment has.

        Raises:
            LimesError: the node refused.
        """
        connection = http.client.HTTPConnection(*self._admin, timeout=START_SECONDS)
        headers = {"Authorization": f"Bearer {self._token}", "Limes-Config": json.dumps(settings)}
        try:
            connection.request("PUT", f"/v1/functions/{NAME}", workload.component.read_bytes(), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            try:
                payload = json.loads(text)
            except ValueError:
                payload = None
            raise from_http(payload, answer.status)

    def message(self, call: Call) -> bytes:
        """The request that makes a call of the deployed function."""
        body = call.body or call.args.encode()
        host = f"{self.address[0]}:{self.address[1]}"
        method = call.method if call.body or not body else "POST"
        path = f"/function/{NAME}" + (call.path if call.path != "/" else "")
        return request(host, path, body, call.headers, method)

    def memory_mib(self) -> float:
        """Memory that only the node holds."""
        return private_bytes(self.pid) / (1 << 20)

    def handles(self) -> int:
        """Files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def cpu_seconds(self) -> float:
        """Processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def node(home: Path) -> Iterator[Node]:
    """A node with its state below `home`, until the block ends.

    Raises:
        Unavailable: it did not start.
    """
    allow_many_files()
    command = [sys.executable, "-m", "limes", "serve", "--home", str(home), "--json"]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    home.mkdir(parents=True, exist_ok=True)
    log = home / "node.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603 (ours)
    try:
        told = _first_line(process, log)
        listen, admin = _address(told["listen"]), _address(told["admin"])
        yield Node(told["pid"], listen, admin, (home / "token").read_text().strip())
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def settings_of(workload: Workload, sandbox: str, concurrency: int) -> dict[str, Any]:
    """What is deployed beside the component, with room for so many calls at once."""
    from limes.manifest import Configuration, check, from_keywords

    limits, grants = from_keywords(dict(workload.options), operation="study")
    limits |= {"concurrency": concurrency, "queue": max(1024, concurrency)}
    settings = {"sandbox": sandbox, "limits": limits, "grants": grants}
    checked = check(Configuration, settings, base=Path.cwd(), operation="study")
    return checked.model_dump(mode="json")


def _first_line(process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    assert process.stdout is not None  # a pipe was asked for
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if ready.select(START_SECONDS) else ""
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        last = log.read_text(errors="replace").strip()[-500:]
        raise Unavailable(f"a node did not start: {last or 'it said nothing'}", operation="study") from None
    return told


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def allow_many_files() -> None:
    """Raise this process's limit of open files; a node that is started gets it from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, MANY_FILES) if hard != resource.RLIM_INFINITY else MANY_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
