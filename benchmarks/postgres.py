"""A store in PostgreSQL, against a row for each record in the same database and against our own file.

The rows have a primary key on the full key, come by COPY BINARY from buffers that NumPy fills, and go by COPY BINARY into
buffers that NumPy reads: whoever stores rows is not faster. Needs the wheels of `tstorage-model[test]`, or the URL of a
database in the environment variable TSMODEL_BENCH_POSTGRES, in which schemas are created and removed.
"""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from benchmarks.data import Reading
from benchmarks.harness import Result, compared, race, seconds
from tsmodel import Session, connect

__all__ = ["measure", "work"]

METERS: Final = 1000
BATCH: Final = 100_000
WRITERS: Final = 8
Columns: TypeAlias = dict[str, Any]

_KEYS: Final = (("cid", "i4"), ("mid", "i8"), ("moid", "i4"), ("cap", "i8"), ("acq", "i8"))
_FIELDS: Final = (*_KEYS, ("counter", "i4"), ("volts", "f4"), ("valid", "u1"))
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_ROW: Final = np.dtype(
    [("fields", ">i2")] + [each for name, kind in _FIELDS for each in ((f"{name}_size", ">i4"), (name, f">{kind}"))]
)
"""A row in PostgreSQL's binary form (https://www.postgresql.org/docs/current/sql-copy.html)."""
_TABLE: Final = (
    "(cid int4, mid int8, moid int4, cap int8, acq int8, counter int4, volts float4, valid bool, "
    "PRIMARY KEY (cid, mid, moid, cap, acq))"
)


def columns(count: int, first: int = 0) -> Columns:
    """Records sorted by time, with the meters in turn and noisy values."""
    at = np.arange(first, first + count)
    noise = np.random.default_rng(first)
    return {
        "mid": at % METERS,
        "cap": at // METERS * 10**9,
        "counter": (at // METERS * 7 + at % METERS).astype("i4"),
        "volts": (230 + noise.normal(0, 2, count)).astype("f4"),
        "valid": noise.random(count) < 0.99,
    }


def store(session: Session, batches: list[Columns], cid: int = 1) -> None:
    """Stores batches and commits each."""
    for batch in batches:
        session.add_columns(Reading, cid=cid, moid=7, **batch)
        session.flush()


def store_rows(connection: Any, table: str, batches: list[Columns]) -> None:
    """The same as rows."""
    for number, batch in enumerate(batches):
        rows = np.zeros(len(batch["mid"]), _ROW)
        rows["fields"] = len(_FIELDS)
        for name, kind in _FIELDS:
            rows[f"{name}_size"] = int(kind[1:])
        rows["cid"], rows["moid"], rows["acq"] = 1, 7, np.arange(len(rows)) + number * len(rows)
        for name, values in batch.items():
            rows[name] = values
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(_SIGNATURE)
            copy.write(rows.tobytes())
            copy.write(b"\xff\xff")


def read_rows(connection: Any, table: str, where: str = "") -> Any:
    """Rows as an Arrow table."""
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY (SELECT * FROM {table} {where}) TO STDOUT (FORMAT BINARY)") as copy,
    ):
        data = b"".join(map(bytes, copy))
    rows = np.frombuffer(data, _ROW, (len(data) - len(_SIGNATURE) - 2) // _ROW.itemsize, len(_SIGNATURE))
    native = {name: rows[name].astype(kind) for name, kind in _FIELDS}
    return pa.table({**native, "valid": native["valid"].astype(bool)})


@contextmanager
def database() -> Iterator[str]:
    """Yields the URL of a database: that in the environment, or that of a new server with fsync."""
    if url := os.environ.get("TSMODEL_BENCH_POSTGRES"):
        yield url
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    try:
        server = importlib.import_module("support.postgres").Server(
            ["fsync=on", "shared_buffers=512MB", "max_wal_size=8GB", "checkpoint_timeout=1h"]
        )
    except ImportError as error:
        raise SystemExit(f"the row postgres needs {error.name}: pip install 'tstorage-model[test]'") from error
    try:
        yield server.url
    finally:
        server.close()


def measure(size: int) -> list[Result]:
    """Measures ingest, scans, one series, bytes, and several writers."""
    psycopg: Any = importlib.import_module("psycopg")
    batches = [columns(BATCH, first) for first in range(0, size, BATCH)]
    count = sum(len(batch["mid"]) for batch in batches)
    with (
        database() as url,
        tempfile.TemporaryDirectory(dir=".") as directory,
        psycopg.connect(url, autocommit=True) as rows,
    ):
        target = f"{url}?schema=bench"
        file = Path(directory, "bench.tsdb")

        def fresh() -> None:
            rows.execute("DROP SCHEMA IF EXISTS bench CASCADE")
            rows.execute("DROP TABLE IF EXISTS bench_rows")
            rows.execute(f"CREATE TABLE bench_rows {_TABLE}")
            for path in Path(directory).iterdir():
                path.unlink()

        times: dict[str, list[float]] = {"ours": [], "rows": [], "file": []}
        for _ in range(3):
            fresh()
            contestants: dict[str, Callable[[], object]] = {
                "rows": lambda: store_rows(rows, "bench_rows", batches),
                "ours": lambda: _stored(target, batches),
                "file": lambda: _stored(str(file), batches),
            }
            for name, contestant in contestants.items():
                times[name].append(seconds(contestant))
        rate = f"{count / median(times['ours']) / 1e6:.2f} M records/s"
        found = [
            compared("PostgreSQL: ingest of columns, rows", times, "ours", "rows", 5, f"{rate}; peer: COPY BINARY"),
            compared("PostgreSQL: ingest of columns, our file", times, "ours", "file", 0.5, "peer: the embedded file"),
        ]
        rows.execute("VACUUM ANALYZE bench_rows")
        with connect(target, cache_bytes=0) as session, connect(file, cache_bytes=0) as own, connect(target) as cached:
            asked: Any = session.query(Reading)
            scans = race(
                {
                    "ours": asked.to_arrow,
                    "rows": lambda: read_rows(rows, "bench_rows"),
                    "file": own.query(Reading).to_arrow,
                    "cached": cached.query(Reading).to_arrow,
                },
                rounds=3,
            )
            assert session.query(Reading).to_arrow().num_rows == read_rows(rows, "bench_rows").num_rows == count
            rate = f"{count / median(scans['ours']) / 1e6:.2f} M records/s"
            found += [
                compared("PostgreSQL: scan to Arrow, rows", scans, "ours", "rows", 30, f"{rate}; peer: COPY BINARY"),
                compared("PostgreSQL: scan to Arrow again, rows", scans, "cached", "rows", 30, "cached by us"),
                compared("PostgreSQL: scan to Arrow, our file", scans, "ours", "file", 0.5, "nothing cached by us"),
            ]
            chosen = random.Random(1)
            series = race(
                {
                    "ours": lambda: session.query(Reading).cid(1).mid(chosen.randrange(METERS)).to_arrow(),
                    "cached": lambda: cached.query(Reading).cid(1).mid(chosen.randrange(METERS)).to_arrow(),
                    "rows": lambda: read_rows(rows, "bench_rows", f"WHERE cid = 1 AND mid = {chosen.randrange(METERS)}"),
                },
                rounds=3,
            )
            found += [
                compared("PostgreSQL: one series, rows", series, "ours", "rows", 3, "nothing cached by us"),
                compared("PostgreSQL: one series again, rows", series, "cached", "rows", 3, "cached by us"),
            ]
        names = ("state", "runs", "gone", "blocks", "puts", "removals")
        ours, theirs = (
            sum(rows.execute("SELECT pg_total_relation_size(%s::regclass)", (name,)).fetchone()[0] for name in some) / count
            for some in ([f"bench.{name}" for name in names], ["bench_rows"])
        )
        note = f"{ours:.1f} bytes instead of {theirs:.1f}"
        is_met = ours <= 0.1 * theirs
        found.append(
            Result("PostgreSQL: bytes a record, rows", ours, "rows", theirs, theirs / ours, "at most 0.1", is_met, note)
        )
        with connect(target, cache_bytes=0) as session:
            session.compact()
            series = race(
                {
                    "ours": lambda: session.query(Reading).cid(1).mid(chosen.randrange(METERS)).to_arrow(),
                    "rows": lambda: read_rows(rows, "bench_rows", f"WHERE cid = 1 AND mid = {chosen.randrange(METERS)}"),
                },
                rounds=3,
            )
            found.append(
                compared("PostgreSQL: one series, compacted, rows", series, "ours", "rows", 3, "nothing cached by us")
            )
        return [*found, _writers(target, fresh, size)]


def _stored(target: str, batches: list[Columns]) -> None:
    with connect(target) as session:
        store(session, batches)


def _writers(target: str, fresh: Any, size: int) -> Result:
    """Measures several writing processes against one."""
    taken: dict[int, list[float]] = {1: [], WRITERS: []}
    each = max(4, size // BATCH // WRITERS)
    for _ in range(3):
        for number in taken:
            fresh()
            connect(target).close()
            command = [sys.executable, "-m", "benchmarks.postgres", target, str(each * WRITERS // number)]
            started = [
                subprocess.Popen([*command, str(at)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for at in range(number)
            ]
            for one in started:
                assert one.stdout is not None
                one.stdout.readline()  # it is ready
            start = time.perf_counter()
            for one in started:
                assert one.stdin is not None
                one.stdin.close()
            for one in started:
                assert one.stdout is not None
                assert one.stdout.readline() == b"done\n"
            taken[number].append(time.perf_counter() - start)
            for one in started:
                assert one.wait() == 0
    total = each * WRITERS * BATCH
    note = f"{total / median(taken[WRITERS]) / 1e6:.2f} M records/s"
    times = {"ours": taken[WRITERS], "one": taken[1]}
    return compared(f"PostgreSQL: {WRITERS} writers, one", times, "ours", "one", 0.9, note)


def work(target: str, count: int, cid: int) -> None:
    """Runs one of several writers, which stores batches on a signal."""
    batches = [columns(BATCH, first * BATCH) for first in range(count)]
    with connect("memory:") as session:
        store(session, [columns(BATCH)])  # loads what is imported late
    with connect(target) as session:
        print("ready", flush=True)
        sys.stdin.read()
        store(session, batches, cid)
        print("done", flush=True)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
