"""The README's table of figures, from ``bench/results.json``."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "bench" / "results.json"
BEGIN = "<!-- Made by `make docs` from bench/results.json. -->\n"
END = "<!-- End of what was made. -->"

ROWS = (
    (
        "Throughput, 32 connections, against `wasmtime serve` (defaults; tuned)",
        "{http.throughput_vs_serve:.1f}x; {http.throughput_vs_serve_tuned:.1f}x",
        "≥ 5x",
    ),
    (
        "Latency, 1 connection, against `wasmtime serve` (defaults; tuned)",
        "{http.latency_vs_serve:.2f}x; {http.latency_vs_serve_tuned:.2f}x",
        "≤ 0.6x",
    ),
    (
        "Throughput against the same server without WebAssembly (polling as Limes does; sleeping when idle)",
        "{http.throughput_vs_floor:.0%}; {http.throughput_vs_floor_asleep:.0%}",
        "≥ 55 %",
    ),
    ("First request of a no-op after a restart, inside the node", "{node.first_request_ms:.2f} ms", "< 2 ms"),
    ("Resident memory, 100 functions deployed and called", "{node.idle_100_mib:.0f} MiB", "< 150 MiB"),
    ("Start with 10,000 functions", "{node.start_10000_s:.1f} s", "< 10 s"),
    (
        "`mandelbrot`; `image`, each against the same code as a Linux program",
        "{apps.mandelbrot_vs_native:.2f}x; {apps.image_vs_native:.2f}x",
        "≤ 1.15x; ≤ 1.3x",
    ),
    ("A Python function in a fresh instance", "{python.fresh_ms:.2f} ms", "≤ 1 ms"),
    ("A second Python component, compiled and loaded", "{build.second_python_s:.2f} s", "< 1.5 s"),
    (
        "First answer of a component never seen, `tiered` against `optimized`: `mandelbrot-io`; Python",
        "{build.tiered_first_answer_vs_cranelift:.2f}x; {build.tiered_python_first_answer_vs_cranelift:.2f}x",
        "≤ 0.4x",
    ),
    (
        "A no-op in a new virtual machine: built-in monitor from nothing; from a snapshot",
        "{microvm.cold_ms:.1f} ms; {microvm.snapshot_ms:.1f} ms",
        "≤ 4; ≤ 2 ms",
    ),
    (
        "the same, reset after each request; Firecracker from nothing, its process included",
        "{microvm.reset_ms:.2f} ms; {microvm.firecracker_ms:.1f} ms",
        "≤ 1; ≤ 15 ms",
    ),
    (
        "`mandelbrot`; `image`, each in a machine against in the process",
        "{microvm.mandelbrot_vs_wasm:.2f}x; {microvm.image_vs_wasm:.2f}x",
        "≤ 1.1x",
    ),
    (
        "Requests a second over HTTP, each to a machine with fresh state",
        "{microvm.throughput:,.0f}",
        "≥ 1,500",
    ),
    (
        "A Python function in a machine, from a snapshot of its started interpreter",
        "{microvm.python_snapshot_ms:.1f} ms",
        "≤ 10 ms",
    ),
)


def table(results: Mapping[str, float]) -> str:
    """The rows with their figures, as Markdown."""
    # A template's `{http.limes_rps}` is an attribute of `http`.
    groups: dict[str, SimpleNamespace] = defaultdict(SimpleNamespace)
    for key, number in results.items():
        group, _, name = key.partition(".")
        setattr(groups[group], name, number)
    lines = ["| | measured | goal |", "|---|---|---|"]
    for what, figures, goal in ROWS:
        measured = figures.format(**groups).replace("%", " %")
        lines.append(f"| {what} | {measured} | {goal} |")
    return "\n".join(lines) + "\n"


def readme() -> str:
    """The README as it should be."""
    before, rest = README.read_text().split(BEGIN)
    after = rest.split(END)[1]
    return before + BEGIN + table(json.loads(RESULTS.read_text())) + END + after
