"""A node at rest and at its start: first request, idle memory, ten thousand functions."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from statistics import median

import table
from servers import BenchError, Node, guest, node, request

OUT = Path(__file__).resolve().parent / "out"
RESTARTS = 7
SMALL_FUNCTIONS = 100
MANY_FUNCTIONS = 10_000

# What happens inside the node between a request and its answer's first byte.
PHASES = ("route", "queue", "load", "instantiate", "first_byte")


def distinct(component: bytes, number: int) -> bytes:
    """The same component with other bytes: a custom section at its end holds the number."""
    name, payload = b"bench", str(number).encode()
    content = bytes([len(name)]) + name + payload  # all lengths are below 128: one byte of LEB128 each
    return component + bytes([0, len(content)]) + content


def first_request(home: Path) -> dict[str, float]:
    """The first request of a deployed no-op after a restart: nothing compiled, everything read from disk."""
    with node(home, OUT) as started:
        started.deploy("noop", guest("run_echo").read_bytes())
    inside: list[dict[str, int]] = []
    outside: list[float] = []
    for _ in range(RESTARTS):
        with node(home, OUT) as started:
            begun = time.perf_counter()
            _call(started, "noop")
            outside.append((time.perf_counter() - begun) * 1e3)
            inside.append(started.phases("noop"))
    table.show(
        f"first request after a restart, {RESTARTS} restarts (us)",
        ("restart", *PHASES, "sum", "client"),
        [_row(i, phases, ms) for i, (phases, ms) in enumerate(zip(inside, outside, strict=True), 1)],
    )
    return {
        "node.first_request_ms": median(_sum_ms(phases) for phases in inside),
        "node.first_request_client_ms": median(outside),
    }


def _row(number: int, phases: dict[str, int], client_ms: float) -> list[str]:
    microseconds = [*(phases[name] / 1e3 for name in PHASES), _sum_ms(phases) * 1e3, client_ms * 1e3]
    return [str(number), *(f"{value:,.0f}" for value in microseconds)]


def _sum_ms(phases: dict[str, int]) -> float:
    return sum(phases[name] for name in PHASES) / 1e6


def idle(home: Path) -> dict[str, float]:
    """Resident memory of a node with 100 small functions, each called once, when it has come to rest."""
    hello, echo = guest("http_hello").read_bytes(), guest("run_echo").read_bytes()
    with node(home, OUT) as started:
        empty = _settled_mib(started)
        for number in range(SMALL_FUNCTIONS):
            started.deploy(f"small-{number}", distinct(echo if number % 2 else hello, number))
        for number in range(SMALL_FUNCTIONS):
            _call(started, f"small-{number}")
        full = _settled_mib(started)
    table.show(
        "resident memory of an idle node (MiB)",
        ("functions", "MiB"),
        [("0", f"{empty:.1f}"), (f"{SMALL_FUNCTIONS}, each called once", f"{full:.1f}")],
    )
    return {"node.idle_100_mib": full, "node.idle_0_mib": empty}


def start_10000(home: Path) -> dict[str, float]:
    """From starting the process to readiness, with 10,000 functions deployed, no two with the same bytes."""
    _fill(home, guest("run_echo").read_bytes())
    begun = time.perf_counter()
    with node(home, OUT) as started:
        seconds = time.perf_counter() - begun
        for number in (0, MANY_FUNCTIONS // 2, MANY_FUNCTIONS - 1):
            _call(started, f"many-{number}")
    table.show("start of a node (s)", ("functions", "s"), [(f"{MANY_FUNCTIONS:,}", f"{seconds:.2f}")])
    return {"node.start_10000_s": seconds}


def _fill(home: Path, component: bytes) -> None:
    # The files that 10,000 deploys would leave, by the node's own modules, without the deploys.
    from limes.node.blobs import BlobStore
    from limes.node.home import Home
    from limes.node.registry import Registry, Revision

    layout = Home(home)
    layout.create()
    blobs = BlobStore(layout.blobs)
    registry = Registry(layout.database)
    settings = {"sandbox": "wasm", "hosts": [], "limits": {}, "grants": {}}
    for number in range(MANY_FUNCTIONS):
        data = distinct(component, number)
        digest = hashlib.sha256(data).hexdigest()
        path = blobs.path_of(digest)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(data)
        registry.commit(Revision(f"many-{number}", 1, digest, len(data), "run", settings, 0))
    registry.close()


def _call(started: Node, name: str) -> None:
    status, body = request(started.listen, "POST", f"/function/{name}", b"x")
    if status != 200 or body not in (b"x", b"Hello, World!\n"):
        raise BenchError(f"/function/{name} answered {status} {body[:200]!r}")


def _settled_mib(started: Node) -> float:
    """Resident memory once it has not changed by 256 KiB for a second (at most 20 s)."""
    last, since, begun = started.resident_mib(), time.monotonic(), time.monotonic()
    while time.monotonic() - since < 1 and time.monotonic() - begun < 20:
        time.sleep(0.1)
        now = started.resident_mib()
        if abs(now - last) > 0.25:
            last, since = now, time.monotonic()
    return started.resident_mib()
