"""Quick start: this machine's own meters, sampled into an embedded file, and queried from it.

For three seconds, twenty times a second, it reads the operating system's counters: CPU time of each core, memory, load and
disk traffic. Then it reopens the file and shows one core. The file stays, so that you can query it yourself.

    python examples/quickstart.py [FILE]      # machine.tsdb by default; a second run adds to it
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tsmodel import Float32, Float64, TSModel, UInt64, connect, now_ns, to_iso

SECONDS, HERTZ = 3, 20
HOST = 1  # the client id of this machine


class CoreTime(TSModel, cid=HOST, moid=1):
    """CPU seconds since boot; mid is the number of the core. The class fixes cid and moid, in objects and in queries."""

    user: Float64
    system: Float64
    idle: Float64

    @property
    def total(self) -> float:
        return self.user + self.system + self.idle


class Memory(TSModel, cid=HOST, moid=2):
    total: UInt64
    available: UInt64


class Load(TSModel, cid=HOST, moid=3):
    """How many processes wanted to run, on average over 1, 5 and 15 minutes."""

    one: Float32
    five: Float32
    fifteen: Float32


class Disk(TSModel, cid=HOST, moid=4):
    """Bytes transferred since boot, over all disks, and bytes free where we stand."""

    read: UInt64
    written: UInt64
    free: UInt64


def core_times(now: int) -> Iterator[TSModel]:
    second = os.sysconf("SC_CLK_TCK")
    for line in Path("/proc/stat").read_text().splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, idle, iowait, irq, softirq = (int(count) / second for count in counts[:7])
            yield CoreTime(mid=int(name[3:]), cap=now, user=user + nice, system=system + irq + softirq, idle=idle + iowait)


def process_time(now: int) -> Iterator[TSModel]:
    spent = os.times()
    idle = max(0.0, spent.elapsed - spent.user - spent.system)
    yield CoreTime(mid=0, cap=now, user=spent.user, system=spent.system, idle=idle)


def memory(now: int) -> Iterator[TSModel]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    kib = {name.rstrip(":"): int(amount) for name, amount, *_ in map(str.split, lines)}
    yield Memory(mid=0, cap=now, total=1024 * kib["MemTotal"], available=1024 * kib["MemAvailable"])


def load(now: int) -> Iterator[TSModel]:
    one, five, fifteen = os.getloadavg()
    yield Load(mid=0, cap=now, one=one, five=five, fifteen=fifteen)


def disk(now: int) -> Iterator[TSModel]:
    read = written = 0
    table = Path("/proc/diskstats")
    if table.exists():
        whole_disks = {path.name for path in Path("/sys/block").glob("*")}
        for fields in map(str.split, table.read_text().splitlines()):
            if fields[2] in whole_disks:
                read += 512 * int(fields[5])
                written += 512 * int(fields[9])
    yield Disk(mid=0, cap=now, read=read, written=written, free=shutil.disk_usage(".").free)


def meters() -> list[Callable[[int], Iterator[TSModel]]]:
    """What this operating system offers."""
    offered: list[Callable[[int], Iterator[TSModel]]] = [disk]
    offered.append(core_times if Path("/proc/stat").exists() else process_time)
    if Path("/proc/meminfo").exists():
        offered.append(memory)
    if hasattr(os, "getloadavg"):
        offered.append(load)
    return offered


def sample() -> Iterator[TSModel]:
    """Readings of all meters, one every 1/HERTZ seconds for SECONDS seconds."""
    sources = meters()
    start = time.perf_counter()
    for tick in range(SECONDS * HERTZ):
        time.sleep(max(0.0, start + tick / HERTZ - time.perf_counter()))
        now = now_ns()
        for source in sources:
            yield from source(now)


def main(path: Path) -> None:
    began = now_ns()
    print(f"sampling this machine for {SECONDS} s at {HERTZ} Hz into {path.name}")
    with connect(path) as session:
        session.add_all(sample())
        receipt = session.flush()
    print(
        f"stored {receipt.count} records, {receipt.bytes:,} bytes, in {receipt.seconds * 1000:.1f} ms "
        f"({receipt.count / receipt.seconds:,.0f} records/s), acquired {to_iso(receipt.acq_min)}"
    )

    print(f"\na CoreTime payload:\n{CoreTime.layout}\n")

    with connect(path):  # a new session on the same file, as any later program would open it
        started = time.perf_counter()
        stored = {model.__name__: model.query.count() for model in (CoreTime, Memory, Load, Disk)}
        seconds = time.perf_counter() - started
        found = ", ".join(f"{count} {name}" for name, count in stored.items())
        print(f"found {found} in {seconds * 1000:.1f} ms ({sum(stored.values()) / seconds:,.0f} records/s)")

        core = 0
        window = CoreTime.query.mid(core).cap_between(began + 10**9, began + 2 * 10**9)
        readings = sorted(window.all(), key=lambda reading: reading.cap)

    print(f"\ncore {core}, the second second:")
    print("  captured                          user s   system s     idle s   busy")
    before = None
    for reading in readings:
        passed = reading.total - before.total if before else 0
        busy = f"{1 - (reading.idle - before.idle) / passed:5.0%}" if before and passed else "    -"
        print(f"  {to_iso(reading.cap):<30} {reading.user:9.2f}  {reading.system:9.2f}  {reading.idle:9.2f}  {busy}")
        before = reading

    print(f"\n{window.explain()}\n")
    suggest(path)


def suggest(path: Path) -> None:
    here, models = os.path.relpath(Path(sys.executable).parent), os.path.relpath(__file__)
    print(f"""All of it is in {path}. Try next:
  {here}/pip install -e '.[cli,plot]'
  {here}/tsmodel series {path}
  {here}/tsmodel get {path} --model {models}:Memory --limit 5
  {here}/tsmodel plot {path} --model {models}:CoreTime -y user -o cores.png""")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "machine.tsdb"))
