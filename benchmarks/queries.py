"""Filters, counts and sorting, and the memory that they take."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.data import Reading
from benchmarks.harness import Result, compared, race, seconds
from tsmodel import Session, connect

__all__ = ["measure"]

BATCH = 1_000_000
SERIES = 1000
"""Records of a series."""
FILTERED = 500_000
"""Records to filter; 1 % of them are kept."""


@contextmanager
def filled(target: str | Path, size: int, cache_bytes: int | None = None) -> Iterator[Session]:
    """A session on `size` records, with volts distributed evenly between 0 and 1000."""
    with connect(target, cache_bytes=cache_bytes) as session:
        meters = max(1, size // SERIES)
        for first in range(0, size, BATCH):
            n = np.arange(first, min(first + BATCH, size))
            volts = (n * 2_654_435_761 % 1_000_003 / 1000.003).astype(np.float32)
            cap = n // meters * 10**9
            session.add_columns(
                Reading, cid=1, mid=n % meters, moid=7, cap=cap, counter=n.astype(np.int32), volts=volts, valid=n % 3 == 0
            )
            session.flush()
        yield session


def filters(target: str | Path, where: str, cache_bytes: int | None = None) -> list[Result]:
    """Measures a condition on a field, and a count, against Python loops over objects."""
    with filled(target, FILTERED, cache_bytes) as session:
        query = session.query(Reading)
        kept = query.where(Reading.volts < 10)
        assert 0.009 < kept.count() / FILTERED < 0.011
        times = race(
            {
                "filter": kept.all,
                "in Python": lambda: [row for row in query if row.volts < 10],
                "count": query.count,
                "len": lambda: len(query.all()),
            },
            rounds=5,
        )
    rates = {name: f"{FILTERED / min(times[name]) / 1e6:.0f} M records/s" for name in ("filter", "count")}
    return [
        compared(f"filter that keeps 1 %, {where}", times, "filter", "in Python", 15, f"{rates['filter']}; peer: objects"),
        compared(f"count, {where}", times, "count", "len", 10, f"{rates['count']}; peer: len(all())"),
    ]


def _peak() -> int:
    """Returns the peak memory of this process in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _iterated(path: Path) -> int:
    with connect(path) as session:
        query = session.query(Reading)
        query.first()
        start = _peak()
        for _ in query:
            pass
        return _peak() - start


def _best(path: Path) -> int:
    with connect(path) as session:
        query = session.query(Reading)
        query.first()
        start = _peak()
        assert len(query.order_by(Reading.volts.desc()).limit(10).all()) == 10
        return _peak() - start


def memory(size: int) -> list[Result]:
    """Measures how much memory iteration and sorting add."""
    found = []
    with tempfile.TemporaryDirectory(dir=".") as directory:
        path = Path(directory, "memory.tsdb")
        with filled(path, size):
            pass
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            for name, work in (("iteration", _iterated), ("best 10 by a field", _best)):
                grown: list[int] = []
                taken = seconds(lambda work=work, grown=grown: grown.append(pool.apply(work, (path,))))  # type: ignore[misc]
                note = f"{grown[0] / 2**20:.0f} MiB more, {taken / size * 1e9:.0f} ns a record"
                goal = "at most 150 MiB more"
                found.append(
                    Result(f"{name} of {size / 1e6:g} M", taken, "", None, None, goal, grown[0] <= 150 * 2**20, note)
                )
    return found


def measure(size: int = 1_000_000) -> list[Result]:
    """Measures all rows; `size` is the number of records for the memory rows."""
    with tempfile.TemporaryDirectory(dir=".") as directory:
        in_file = filters(Path(directory, "filter.tsdb"), "in a file")
        uncached = filters(Path(directory, "uncached.tsdb"), "in a file, without cache", 0)
    return [*filters("memory:", "in memory"), *in_file, *uncached, *memory(size)]
