"""Measure Limes beside its peers: ``python bench/run.py [BENCH ...]``, all of them by default.

Results are printed and merged into ``bench/results.json``; ``bench/README.md`` says what each number means.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import apps_bench
import build_bench
import http_bench
import machine_apps_bench
import microvm_bench
import node_bench
from servers import BenchError

from limes import LimesError

BENCH = Path(__file__).resolve().parent
RESULTS = BENCH / "results.json"

BENCHES: Mapping[str, Callable[[Path], dict[str, float]]] = {
    "http": http_bench.http,
    "first-request": node_bench.first_request,
    "idle": node_bench.idle,
    "start-10000": node_bench.start_10000,
    "apps": apps_bench.apps,
    "python": build_bench.python,
    "tiered": build_bench.tiered,
    "microvm": microvm_bench.microvm,
    "microvm-throughput": microvm_bench.microvm_throughput,
    "microvm-idle": microvm_bench.microvm_idle,
    "microvm-apps": machine_apps_bench.apps,
    "microvm-python": machine_apps_bench.python,
}


def merge(numbers: dict[str, float]) -> None:
    """Put numbers into the results; those of other benches stay as they are."""
    results: dict[str, float] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.update({name: float(f"{number:.4g}") for name, number in numbers.items()})
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


def main(arguments: list[str]) -> int:
    """Run the chosen benches in turn; each one's results are kept even if a later one fails."""
    parser = argparse.ArgumentParser(description="Measure Limes beside its peers.")
    parser.add_argument("bench", nargs="*", help=f"of {', '.join(BENCHES)}; all by default")
    chosen = parser.parse_args(arguments).bench or list(BENCHES)
    unknown = [name for name in chosen if name not in BENCHES]
    if unknown:
        parser.error(f"there is no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    failed = False
    (BENCH / "out").mkdir(exist_ok=True)
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="limes-bench-") as home:
            try:
                merge(BENCHES[name](Path(home)))
            except (BenchError, LimesError) as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed = True
    print(f"results: {RESULTS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
