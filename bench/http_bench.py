"""The hello over HTTP: Limes, ``wasmtime serve`` and a server without wasm, in turn, three rounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median

import table
from load import CONNECTIONS, Load, measure
from servers import Address, floor, guest, node, wasmtime_serve

ROUNDS = 3
SECONDS = (5, 3)
OUT = Path(__file__).resolve().parent / "out"
HELLO = b"Hello, World!\n"

# Both keep an instance for one request only. The faster one counts, for throughput and for latency each.
SERVE_FLAGS: dict[str, list[str]] = {
    "serve": [],
    "serve, tuned": [
        "-Opooling-pagemap-scan=y",
        "-Opooling-memory-keep-resident=262144",
        "-Opooling-table-keep-resident=65536",
        "-Opooling-async-stack-keep-resident=65536",
    ],
}

Target = tuple[str, bytes, AbstractContextManager[Address]]


def _targets(home: Path) -> dict[str, Target]:
    component = guest("http_hello")
    targets: dict[str, Target] = {
        "floor": ("/", b"hello", floor(OUT)),
        "limes": ("/function/http_hello", HELLO, _limes(home, component)),
    }
    for name, flags in SERVE_FLAGS.items():
        targets[name] = ("/", HELLO, wasmtime_serve(component, flags, OUT))
    return targets


@contextmanager
def _limes(home: Path, component: Path) -> Iterator[Address]:
    with node(home, OUT) as started:
        started.deploy("http_hello", component.read_bytes())
        yield started.listen


def ratios(loads: dict[str, Load]) -> dict[str, float]:
    """The promised ratios of one set of loads; the faster way of running ``wasmtime serve`` counts."""
    serve = [loads[name] for name in SERVE_FLAGS]
    return {
        "http.throughput_vs_serve": loads["limes"].rps / max(load.rps for load in serve),
        "http.latency_vs_serve": loads["limes"].p50_us / min(load.p50_us for load in serve),
        "http.throughput_vs_floor": loads["limes"].rps / loads["floor"].rps,
    }


def http(home: Path) -> dict[str, float]:
    """Throughput at 32 connections and median latency at one."""
    rounds: list[dict[str, Load]] = []
    for number in range(1, ROUNDS + 1):
        loads: dict[str, Load] = {}
        for name, (path, answer, target) in _targets(home).items():
            with target as address:
                loads[name] = measure(address, path, answer, SECONDS)
        rounds.append(loads)
        _show(f"round {number} of {ROUNDS}", loads, with_ratios=True)
    medians = {
        name: Load(
            rps=median(loads[name].rps for loads in rounds),
            p50_us=median(loads[name].p50_us for loads in rounds),
        )
        for name in rounds[0]
    }
    _show(f"medians of {ROUNDS} rounds", medians, with_ratios=False)
    fastest = max(SERVE_FLAGS, key=lambda name: medians[name].rps)
    print(f"the faster `wasmtime serve`: {fastest} ({' '.join(SERVE_FLAGS[fastest]) or 'its defaults'})")
    # Of the rounds' ratios, not the ratio of medians: what slows the machine for a while slows a whole round.
    paired = [ratios(loads) for loads in rounds]
    promised = {key: median(round_[key] for round_ in paired) for key in paired[0]}
    table.show(
        "", ("median of the rounds' ratios", ""), [(key, f"{value:.3f}") for key, value in promised.items()]
    )
    return promised | {
        "http.limes_rps": medians["limes"].rps,
        "http.limes_p50_us": medians["limes"].p50_us,
        "http.floor_rps": medians["floor"].rps,
        "http.floor_p50_us": medians["floor"].p50_us,
        "http.serve_rps": max(medians[name].rps for name in SERVE_FLAGS),
        "http.serve_p50_us": min(medians[name].p50_us for name in SERVE_FLAGS),
    }


def _show(title: str, loads: dict[str, Load], *, with_ratios: bool) -> None:
    rows = [(name, f"{load.rps:,.0f}", f"{load.p50_us:,.0f}") for name, load in loads.items()]
    table.show(title, ("server", f"req/s, {CONNECTIONS} conns", "p50, 1 conn (us)"), rows)
    if with_ratios:
        table.show("", ("ratio", ""), [(name, f"{value:.3f}") for name, value in ratios(loads).items()])
