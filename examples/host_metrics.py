"""Collects metrics of this machine into a file or a server, until Ctrl-C.

    python examples/host_metrics.py [TARGET] [--every 5s] [--samples N]      # TARGET: host.tsdb by default

It reads the operating system's counters (`/proc` on Linux), and stores in the background, so a slow disk or network does
not delay a sample. If it loses the connection to a server, it keeps samples in memory until it can store them. Draw them,
even while it runs:

    tsmodel plot host.tsdb --model examples/host_metrics.py:Cpu -y busy --cap=-15m -o cpu.png
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsmodel import Float32, Retry, TSModel, UInt64, WriteError, connect, field, now_ns
from tsmodel.timestamps import duration_ns

HOST = 1
PROC = Path("/proc")


class Cpu(TSModel, cid=HOST, moid=1, retention="30d"):
    """Share of its time that a core was busy since the last sample; mid is its number."""

    busy: Float32 = field(ge=0, le=1)


class Memory(TSModel, cid=HOST, moid=2, retention="30d"):
    total: UInt64 = field(unit="B")
    available: UInt64 = field(unit="B")


class Load(TSModel, cid=HOST, moid=3, retention="30d"):
    one: Float32


class Disk(TSModel, cid=HOST, moid=4, retention="30d"):
    free: UInt64 = field(unit="B")


class Cores:
    """How busy each core was since the last call."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[int, int]] = {}

    def __call__(self, now: int) -> Iterator[Cpu]:
        for line in (PROC / "stat").read_text().splitlines():
            name, *counts = line.split()
            if not name.startswith("cpu") or name == "cpu":
                continue
            ticks = [int(count) for count in counts[:8]]
            core, idle, total = int(name[3:]), ticks[3] + ticks[4], sum(ticks)
            idle_before, total_before = self._before.get(core, (idle, total))
            self._before[core] = idle, total
            if total > total_before:
                share = 1 - (idle - idle_before) / (total - total_before)
                yield Cpu(mid=core, cap=now, busy=min(max(share, 0.0), 1.0))


def memory(now: int) -> Iterator[Memory]:
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in (PROC / "meminfo").open())}
    yield Memory(mid=0, cap=now, total=1024 * kib["MemTotal"], available=1024 * kib["MemAvailable"])


def load(now: int) -> Iterator[Load]:
    yield Load(mid=0, cap=now, one=os.getloadavg()[0])


def disk(now: int) -> Iterator[Disk]:
    yield Disk(mid=0, cap=now, free=shutil.disk_usage(".").free)


def sources() -> list[Any]:
    """What this operating system offers."""
    found: list[Any] = [disk]
    if hasattr(os, "getloadavg"):
        found.append(load)
    if (PROC / "meminfo").exists():
        found += [Cores(), memory]
    return found


def collect(target: str, every: float, samples: int | None) -> int:
    """Stores samples; returns how many records they were."""
    offered, count = sources(), 0
    with connect(target, flush_every="1s", retry=Retry(on_unknown="check")) as session:
        try:
            print(f"collecting into {target}; Ctrl-C ends it", flush=True)
            taken, due = 0, time.monotonic()
            while samples is None or taken < samples:
                time.sleep(max(0.0, due - time.monotonic()))
                rows = [row for source in offered for row in source(now_ns())]
                try:
                    session.add_all(rows)
                except WriteError as error:  # of the flush in the background; the session keeps all rows
                    print(error, file=sys.stderr)
                count, taken, due = count + len(rows), taken + 1, due + every
        except KeyboardInterrupt:
            pass
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Collects metrics of this machine until Ctrl-C.")
    parser.add_argument("target", nargs="?", default="host.tsdb", help="file or tstorage:// URL (default: %(default)s)")
    parser.add_argument("--every", default="5s", help="time between samples (default: %(default)s)")
    parser.add_argument("--samples", type=int, help="stop after this many samples")
    options = parser.parse_args()
    count = collect(options.target, duration_ns(options.every) / 10**9, options.samples)
    print(f"stored {count} records in {options.target}")


if __name__ == "__main__":
    main()
