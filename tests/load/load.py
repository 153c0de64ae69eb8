"""A server under load: many connections that put and get for a given time.

    python tests/load/load.py --connections 500 --seconds 600

Each connection puts a few records or reads its records back, waits for the answer, pauses, and continues. In the end
every acknowledged record must be in the file, and no two puts may have the same acq.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs

from tsmodel.keys import LIMITS, Key
from tsmodel.store import info

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

RECORDS = 10
GUARD = struct.pack("<i", -1)
READERS = 2 * 16 + 2
"""Descriptors of the reading connections that a store keeps, and of the journal."""


@attrs.define
class Client:
    """One connection.

    Attributes:
        number: its cid.
        stored: number of acknowledged records.
        acqs: the acqs of its puts.
        seconds: durations of its requests, by kind.
        failures: what failed.
    """

    number: int
    stored: int = 0
    acqs: list[tuple[int, int]] = attrs.field(factory=list)
    seconds: dict[str, list[float]] = attrs.field(factory=lambda: {"put": [], "get": [], "getacq": []})
    failures: list[str] = attrs.field(factory=list)

    async def run(self, host: str, port: int, until: float, pause: float) -> None:
        """Sends requests until the time is up."""
        rng = random.Random(self.number)
        await asyncio.sleep(rng.uniform(0, pause))
        try:
            reader, writer = await asyncio.open_connection(host, port)
            while time.monotonic() < until:
                kind = rng.choices(("put", "get", "getacq"), (7, 2, 1))[0]
                began = time.monotonic()
                await getattr(self, f"_{kind}")(reader, writer)
                self.seconds[kind].append(time.monotonic() - began)
                await asyncio.sleep(rng.uniform(0, 2 * pause))
            writer.close()
            await writer.wait_closed()
        except (OSError, EOFError, AssertionError) as error:
            self.failures.append(repr(error))

    async def _put(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        records = b"".join(
            struct.pack("<iqiqif?", 29, cap % 7, 1, cap * 10**9, cap, cap / 3, cap % 2)
            for cap in range(self.stored, self.stored + RECORDS)
        )
        writer.write(struct.pack("<iQii", 5, 0, self.number, len(records)) + records + GUARD)
        status, size, first, last = struct.unpack("<iQqq", await reader.readexactly(28))
        assert (status, size, last - first) == (0, 16, RECORDS - 1), (status, size, first, last)
        self.stored += RECORDS
        self.acqs.append((first, last))

    async def _get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        least = max(0, self.stored - 5 * RECORDS)
        low = Key(self.number, LIMITS["mid"].least, 0, least * 10**9, LIMITS["acq"].least)
        high = Key(self.number + 1, LIMITS["mid"].bound, LIMITS["moid"].bound, LIMITS["cap"].bound, LIMITS["acq"].bound)
        writer.write(struct.pack("<iQ", 1, 64) + low.to_bytes() + high.to_bytes())
        assert await reader.readexactly(12) == bytes(12)
        found = 0
        while n := struct.unpack("<i", await reader.readexactly(4))[0]:
            await reader.readexactly(n)
            found += 1
        assert (await reader.readexactly(20))[:4] == bytes(4)
        assert found == self.stored - least, f"{found} records of {self.stored - least}"

    async def _getacq(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(struct.pack("<iQ", 7, 64) + Key.min().to_bytes() + Key.max().to_bytes())
        status, size, acq = struct.unpack("<iQq", await reader.readexactly(20))
        assert (status, size) == (0, 8)
        assert not self.acqs or acq > self.acqs[-1][1], "GETACQ is behind the acknowledged puts"


def measured(process: subprocess.Popen[str]) -> tuple[float, int]:
    """Resident memory in MiB and open descriptors of a process; zeros where the system does not report them."""
    directory = Path(f"/proc/{process.pid}")
    if not directory.exists():
        return 0.0, 0
    status = (directory / "status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024, len(list((directory / "fd").iterdir()))


async def loaded(process: subprocess.Popen[str], connections: int, seconds: float, pause: float) -> dict[str, Any]:
    """Summary of the load. Raises if a check fails."""
    assert process.stdout is not None
    host, port = process.stdout.readline().split()[3].rsplit(":", 1)
    at_rest = measured(process)
    clients = [Client(number) for number in range(connections)]
    until = time.monotonic() + seconds
    running = [asyncio.ensure_future(client.run(host, int(port), until, pause)) for client in clients]
    samples = []
    while time.monotonic() < until:
        await asyncio.sleep(min(1.0, seconds / 8))
        samples.append(measured(process))
    await asyncio.gather(*running)
    failures = [failure for client in clients for failure in client.failures]
    acqs = sorted(interval for client in clients for interval in client.acqs)
    assert all(last < first for (_, last), (first, _) in pairwise(acqs)), "two puts got the same acq"
    for _ in range(100):
        if measured(process)[1] <= at_rest[1] + READERS:
            break
        await asyncio.sleep(0.1)
    report: dict[str, Any] = {"connections": connections, "seconds": seconds, "failures": failures}
    for kind in ("put", "get", "getacq"):
        taken = sorted(each for client in clients for each in client.seconds[kind])
        report[kind] = {
            "per second": round(len(taken) / seconds, 1),
            "p50 ms": round(1e3 * taken[len(taken) // 2], 1),
            "p99 ms": round(1e3 * taken[len(taken) * 99 // 100], 1),
        }
    half, threes = samples[len(samples) // 2 :], len(samples) // 4
    report["MiB"] = {
        "at rest": round(at_rest[0]),
        "most": round(max(size for size, _ in samples)),
        "third quarter": round(sum(size for size, _ in half[:threes]) / max(threes, 1)),
        "last quarter": round(sum(size for size, _ in half[threes:]) / max(len(half) - threes, 1)),
    }
    report["descriptors"] = {
        "at rest": at_rest[1],
        "most": max(count for _, count in samples),
        "afterwards": measured(process)[1],
    }
    report["stored"] = {client.number: client.stored for client in clients}
    return report


def run(connections: int, seconds: float, pause: float, directory: Path) -> dict[str, Any]:
    """Loads a server of its own and checks its file for every acknowledged record."""
    if resource is not None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, most) if most > 0 else 8192, most))
    command = [sys.executable, "-m", "tsmodel", "serve", "--data", "load.tsdb", "--port", "0", "--log-level", "warning"]
    with (directory / "log").open("w") as log:
        with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            try:
                report = asyncio.run(loaded(process, connections, seconds, pause))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
    report["log"] = (directory / "log").read_text().splitlines()
    found = Counter({cid: each.records for cid, each in info(directory / "load.tsdb").cids.items()})
    wanted = {number: count for number, count in report.pop("stored").items() if count}
    report["lost"] = sum(max(0, count - found[number]) for number, count in wanted.items())
    report["twice"] = sum(max(0, count - wanted.get(number, 0)) for number, count in found.items())
    report["records"] = sum(wanted.values())
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Loads a server and reports the results.")
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two requests of a connection, on average")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".", prefix="load-") as directory:
        report = run(options.connections, options.seconds, options.pause, Path(directory))
    print(json.dumps(report, indent=1))
    sys.exit(bool(report["failures"] or report["lost"] or report["twice"]))


if __name__ == "__main__":
    main()
