"""Storing models in the embedded file, against a table of rows in SQLite with the same durability."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from benchmarks.data import Reading, readings
from benchmarks.harness import Result, compared, race
from tsmodel import connect

BATCH, BATCHES = 100_000, 5


def ours(path: Path, batches: list[list[Reading]]) -> None:
    """A session that flushes each batch."""
    with connect(path) as session:
        for rows in batches:
            session.add_all(rows)
            session.flush()


def sqlite_rows(path: Path, batches: list[list[Reading]], key: str) -> None:
    """`executemany` of tuples, a transaction each batch."""
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


def measure() -> list[Result]:
    """Ingest of batches of 100,000."""
    batches = [readings(BATCH, first) for first in range(0, BATCH * BATCHES, BATCH)]
    with tempfile.TemporaryDirectory(dir=".") as directory:
        number = 0

        def fresh() -> Path:
            nonlocal number
            number += 1
            for old in Path(directory).iterdir():
                old.unlink()
            return Path(directory, f"{number}.tsdb")

        times = race(
            {
                "ours": lambda: ours(fresh(), batches),
                "indexed": lambda: sqlite_rows(fresh(), batches, ", PRIMARY KEY (cid, mid, moid, cap, acq)"),
                "bare": lambda: sqlite_rows(fresh(), batches, ""),
            },
            rounds=5,
        )
    rate = f"{BATCH * BATCHES / min(times['ours']) / 1e6:.2f} M records/s"
    return [
        compared("embedded ingest of models", times, "ours", "indexed", 4, f"{rate}; peer: executemany, key as index"),
        compared("embedded ingest of models", times, "ours", "bare", 1, "peer: executemany, a heap without any index"),
    ]
