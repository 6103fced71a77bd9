"""Make the calls from which the compiler learns what is often run: ``python bench/train.py``, with a core that counts (``make dist``).

Every contract and both sandboxes are called, through the node and through the library. Much is called and little is compiled, so that
what the counts say is hot is a request's way and not the code generator's. The numbers of calls stand in for those of production; what
the benches measure is one of several.
"""

from __future__ import annotations

import http.client
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from servers import Address, BenchError, guest, node

from limes import Runtime

OUT = Path(__file__).resolve().parent / "out"
CONNECTIONS = 32
ROUNDS = 800
BODIES: Mapping[str, bytes] = {
    "http_hello": b"",
    "http_echo": b"x" * 1000,
    "run_echo": b"world",
    "cli_cat": b"x" * 1000,
}
"""Guests and what they are called with; without a body by GET."""


def load(address: Address, name: str, body: bytes, rounds: int) -> None:
    """Ask for a function on all connections at once, again and again.

    Raises:
        BenchError: an answer is not 200.
    """
    connections = [http.client.HTTPConnection(address.host, address.port, 30) for _ in range(CONNECTIONS)]
    try:
        for _ in range(rounds):
            for connection in connections:
                connection.request("POST" if body else "GET", f"/function/{name}", body or None)
            for connection in connections:
                response = connection.getresponse()
                answer = response.read()
                if response.status != 200:
                    raise BenchError(f"{name} answered {response.status}: {answer[:200]!r}")
    finally:
        for connection in connections:
            connection.close()


def serve(home: Path) -> None:
    """Calls that come over HTTP, to each sandbox that works here."""
    with node(home, OUT) as limes:
        for sandbox, rounds in (("wasm", ROUNDS), ("microvm", ROUNDS // 20)):
            for guest_name, body in BODIES.items():
                name = f"{guest_name}-{sandbox}"
                try:
                    limes.deploy(name, guest(guest_name).read_bytes(), {"sandbox": sandbox})
                except BenchError as error:
                    print(f"not trained with {name}: {error}", file=sys.stderr)
                    continue
                load(limes.listen, name, body, rounds)
                print(f"{name}: {CONNECTIONS * rounds:,} requests", flush=True)


def library(cache: Path) -> None:
    """Calls within the process."""
    function = Runtime(cache).load(guest("run_echo"))
    for _ in range(CONNECTIONS * ROUNDS):
        function.run("world")
    print(f"library: {CONNECTIONS * ROUNDS:,} calls", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="limes-train-") as folder:
        serve(Path(folder, "home"))
        library(Path(folder, "cache"))
