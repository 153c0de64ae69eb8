"""`python -m benchmarks [ROW …]`: measures, and prints a table of ratios. Rows: see ROWS."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable

from benchmarks import decode, fields, ingest, network, resample, scan
from benchmarks.harness import Result

ROWS: dict[str, Callable[[], list[Result]]] = {
    "decode": decode.measure,
    "fields": fields.measure,
    "ingest": ingest.measure,
    "scan": scan.measure,
    "network": network.measure,
    "resample": resample.measure,
}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; rows are {', '.join(ROWS)}")
    print(f"Python {platform.python_version()}, {platform.machine()}; medians; ratios above 1: tsmodel is faster\n")
    print(f"{'row':<34} {'ours':>10} {'peer':>10} {'ratio':>7}  {'goal':<24} met  note")
    for name in names or list(ROWS):
        for result in ROWS[name]():
            print(shown(result), flush=True)


def shown(result: Result) -> str:
    theirs = f"{result.theirs * 1000:.2f} ms" if result.theirs is not None else ""
    ratio = f"{result.ratio:.2f}" if result.ratio is not None else ""
    met = "yes" if result.met else "NO"
    return (
        f"{result.name:<34} {result.ours * 1000:>7.2f} ms {theirs:>10} {ratio:>7}  {result.goal:<24} {met:<4} {result.note}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
