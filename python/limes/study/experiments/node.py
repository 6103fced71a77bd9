"""A node of its own for an experiment: a process on 127.0.0.1 with one function deployed."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limes.study.experiments.client import request
from limes.study.process import private_bytes
from limes.study.running import Address, Running, running
from limes.study.workloads import Call, Workload

NAME = "studied"
MANY_FILES = 65_536
"""For thousands of connections, or of machines with some files each."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Node:
    """A node that runs, with what the system tells of its process."""

    def __init__(self, running: Running) -> None:
        self.pid = running.pid
        self._running = running

    @property
    def address(self) -> Address:
        """Where it listens for requests."""
        return self._running.listen

    def deploy(self, workload: Workload, settings: dict[str, Any]) -> None:
        """Deploy a function under the one name that an experiment has.

        Raises:
            LimesError: the node refused.
        """
        self._running.api("PUT", f"/v1/functions/{NAME}", workload.component.read_bytes(), settings)

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
    with running(home, home / "node.log") as started:
        yield Node(started)


def settings_of(workload: Workload, sandbox: str, concurrency: int) -> dict[str, Any]:
    """What is deployed beside the component, with room for so many calls at once."""
    from limes.manifest import Configuration, check, from_keywords

    limits, grants = from_keywords(dict(workload.options), operation="study")
    limits |= {"concurrency": concurrency, "queue": max(1024, concurrency)}
    settings = {"sandbox": sandbox, "limits": limits, "grants": grants}
    checked = check(Configuration, settings, base=Path.cwd(), operation="study")
    return checked.model_dump(mode="json")


def allow_many_files() -> None:
    """Raise this process's limit of open files; a node that is started gets it from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, MANY_FILES) if hard != resource.RLIM_INFINITY else MANY_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
