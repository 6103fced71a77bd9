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

# An instance for one request only, both: with the defaults of `wasmtime serve`, and with what speeds it up.
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
        "floor, asleep": ("/", b"hello", floor(OUT, "0")),
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
    """The ratios of one set of loads."""
    limes, serve, tuned = loads["limes"], loads["serve"], loads["serve, tuned"]
    return {
        "http.throughput_vs_serve": limes.rps / serve.rps,
        "http.latency_vs_serve": limes.p50_us / serve.p50_us,
        "http.throughput_vs_serve_tuned": limes.rps / tuned.rps,
        "http.latency_vs_serve_tuned": limes.p50_us / tuned.p50_us,
        "http.throughput_vs_floor": limes.rps / loads["floor"].rps,
        "http.throughput_vs_floor_asleep": limes.rps / loads["floor, asleep"].rps,
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
    print(f"serve, tuned: wasmtime serve {' '.join(SERVE_FLAGS['serve, tuned'])}")
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
        "http.serve_rps": medians["serve"].rps,
        "http.serve_p50_us": medians["serve"].p50_us,
    }


def _show(title: str, loads: dict[str, Load], *, with_ratios: bool) -> None:
    rows = [(name, f"{load.rps:,.0f}", f"{load.p50_us:,.0f}") for name, load in loads.items()]
    table.show(title, ("server", f"req/s, {CONNECTIONS} conns", "p50, 1 conn (us)"), rows)
    if with_ratios:
        table.show("", ("ratio", ""), [(name, f"{value:.3f}") for name, value in ratios(loads).items()])
