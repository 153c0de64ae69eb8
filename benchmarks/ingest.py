"""Storing models in the embedded file, against a table of rows in SQLite with the same durability."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

from benchmarks.data import Reading, readings
from benchmarks.harness import Result, compared, race
from tsmodel import connect

BATCH, BATCHES = 100_000, 5


def ours(path: Path, batches: list[list[Reading]]) -> None:
    """Stores batches in a session, which flushes each."""
    with connect(path) as session:
        for rows in batches:
            session.add_all(rows)
            session.flush()


def sqlite_rows(path: Path, batches: list[list[Reading]], key: str) -> None:
    """Stores batches by `executemany`, each in a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"CREATE TABLE rows (cid, mid, moid, cap, acq, counter, volts, valid{key})")
        for number, rows in enumerate(batches):
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (row.cid, row.mid, row.moid, row.cap, number * BATCH + at, row.counter, row.volts, row.valid)
                    for at, row in enumerate(rows)
                ),
            )
            connection.execute("COMMIT")


@contextmanager
def fresh_files() -> Iterator[Callable[[], Path]]:
    """Yields new paths on the disk of the current directory, and removes the files of the previous one."""
    with tempfile.TemporaryDirectory(dir=".") as directory:
        numbers = count()

        def fresh() -> Path:
            for old in Path(directory).iterdir():
                old.unlink()
            return Path(directory, f"{next(numbers)}.tsdb")

        yield fresh


def of_batches(size: int, number: int) -> list[Result]:
    """Measures ingest of batches of one size, each committed."""
    batches = [readings(size, first) for first in range(0, size * number, size)]
    with fresh_files() as fresh:
        times = race(
            {
                "ours": lambda: ours(fresh(), batches),
                "indexed": lambda: sqlite_rows(fresh(), batches, ", PRIMARY KEY (cid, mid, moid, cap, acq)"),
                "bare": lambda: sqlite_rows(fresh(), batches, ""),
            },
            rounds=5,
        )
    rate = f"{size * number / min(times['ours']) / 1e6:.3g} M records/s; peer: executemany"
    name, large = f"ingest of models, batches of {size:,}", size >= BATCH
    return [
        compared(name, times, "ours", "indexed", 4 if large else None, f"{rate}, key as index"),
        compared(name, times, "ours", "bare", 1 if large else None, "peer: executemany, a heap without any index"),
    ]


def measure() -> list[Result]:
    """Measures ingest of models in batches of 1, 1,000 and 100,000."""
    return [*of_batches(1, 300), *of_batches(1000, 100), *of_batches(BATCH, BATCHES)]
