"""Load by ``wrk``: requests a second over many connections, and the median latency over one."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from servers import Address, BenchError, request

CONNECTIONS = 32
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True)
class Load:
    """What one server did in one round."""

    rps: float
    """Requests a second at 32 connections."""
    p50_us: float
    """Median latency at one connection, in microseconds."""


def measure(address: Address, path: str, answer: bytes, seconds: tuple[int, int]) -> Load:
    """Load one server, after checking that it answers as it should and warming it up.

    Args:
        address: the server.
        path: what to ask for.
        answer: the body that a right answer has.
        seconds: how long at 32 connections, and how long at one.

    Raises:
        BenchError: the answer is another, or a request failed.
    """
    status, body = request(address, "GET", path)
    if status != 200 or body != answer:
        raise BenchError(f"http://{address}{path} answered {status} {body[:80]!r}, not 200 {answer!r}")
    url = f"http://{address}{path}"
    _wrk(url, CONNECTIONS, 1)
    many = _wrk(url, CONNECTIONS, seconds[0])
    one = _wrk(url, 1, seconds[1])
    return Load(rps=_rps(many), p50_us=_p50(one))


def _wrk(url: str, connections: int, seconds: int) -> str:
    if shutil.which("wrk") is None:
        raise BenchError("wrk is missing: install it (apt-get install wrk)")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 (the command is ours)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
    failed = re.search(r"(Socket errors|Non-2xx or 3xx responses):.*", done.stdout)
    if failed is not None:
        raise BenchError(f"{' '.join(command)}: {failed[0]}")
    return done.stdout


def _rps(output: str) -> float:
    match = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if match is None:
        raise BenchError(f"wrk said no rate:\n{output}")
    return float(match[1])


def _p50(output: str) -> float:
    match = re.search(r"50%\s+([\d.]+)(us|ms|s)\b", output)
    if match is None:
        raise BenchError(f"wrk said no median:\n{output}")
    return float(match[1]) * _UNITS[match[2]]
