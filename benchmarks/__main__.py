"""`python -m benchmarks [ROW …]`: measures, and prints a table of ratios. `ROWS` names the rows.

`--size N` is the number of records of the rows peers and queries (its memory), `--json FILE` writes the table,
`--chart FILE` draws the ratios.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from benchmarks import conversion, decode, fields, ingest, network, queries, resample, scan, startup
from benchmarks.harness import Result


def peers(size: int) -> list[Result]:
    """Measures the row peers, whose libraries are imported only for it."""
    try:
        from benchmarks import peers as others
    except ImportError as error:
        raise SystemExit(f"the row peers needs {error.name}: pip install 'tstorage-model[bench]'") from error
    return others.measure(size)


def postgres(size: int) -> list[Result]:
    """Measures the row postgres, which needs a server."""
    try:
        from benchmarks import postgres as server
    except ImportError as error:
        raise SystemExit(f"the row postgres needs {error.name}: pip install 'tstorage-model[test]'") from error
    return server.measure(size)


ROWS: dict[str, Callable[[int], list[Result]]] = {
    "startup": lambda _: startup.measure(),
    "decode": lambda _: decode.measure(),
    "fields": lambda _: fields.measure(),
    "conversion": lambda _: conversion.measure(),
    "ingest": lambda _: ingest.measure(),
    "scan": lambda _: scan.measure(),
    "network": lambda _: network.measure(),
    "queries": queries.measure,
    "resample": lambda _: resample.measure(),
    "peers": peers,
    "postgres": postgres,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"one of: {', '.join(ROWS)}; all but peers and postgres by default"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=1_000_000,
        help="records of the rows peers and postgres, and of the memory of queries (default 1,000,000)",
    )
    parser.add_argument("--json", type=Path, help="file to write the table to")
    parser.add_argument("--chart", type=Path, help="PNG file to draw the ratios in; needs matplotlib")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"unknown: {', '.join(unknown)}; rows are {', '.join(ROWS)}")
    print(f"Python {platform.python_version()}, {platform.machine()}; medians; ratios above 1: tsmodel is faster\n")
    print(f"{'row':<50} {'ours':>10} {'peer':>10} {'ratio':>7} {'cpu':>6}  {'goal':<14} met  note")
    results: list[Result] = []
    for name in options.rows or [name for name in ROWS if name not in ("peers", "postgres")]:
        for result in ROWS[name](options.size):
            print(shown(result), flush=True)
            results.append(result)
    if options.json:
        whole: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine(), "size": options.size}
        options.json.write_text(json.dumps({**whole, "results": [attrs.asdict(result) for result in results]}, indent=2))
    if options.chart:
        draw(results, options.chart)


def shown(result: Result) -> str:
    theirs = f"{result.theirs * 1000:.2f} ms" if result.theirs is not None else ""
    ratio = f"{result.ratio:.2f}" if result.ratio is not None else ""
    cpu = f"{result.cpu:.2f}" if result.cpu is not None else ""
    met = "yes" if result.met else "NO"
    times = f"{result.ours * 1000:>7.2f} ms {theirs:>10} {ratio:>7} {cpu:>6}"
    return f"{result.name:<50} {times}  {result.goal:<14} {met:<4} {result.note}"


def draw(results: list[Result], path: Path) -> None:
    """Draws the ratios as bars, with a line at 1, where both take the same time."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit("--chart needs matplotlib: pip install 'tstorage-model[bench]'") from error
    drawn = [result for result in results if result.ratio is not None][::-1]
    figure = Figure(figsize=(9, 1 + 0.35 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([f"{r.name} / {r.peer}" for r in drawn], [r.ratio or 0.0 for r in drawn], color="#3b6ea5")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("ratio to the peer; above 1 tsmodel is faster")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
