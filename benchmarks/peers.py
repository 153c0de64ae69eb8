"""Against what people store such records in otherwise: DuckDB, Parquet, SQLAlchemy's ORM on SQLite, SQLite itself, and a
bare socket.

All peers are as durable as we are: a file, each batch committed. All files are read from the system's cache; what our own
cache holds, and DuckDB's, each row says. Needs the libraries of `tstorage-model[bench]`.
"""

from __future__ import annotations

import csv
import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy import orm

from benchmarks.data import Reading, readings
from benchmarks.harness import Result, Times, compared, race, seconds
from benchmarks.ingest import fresh_files
from benchmarks.network import peer, receive_bare, records_in_get_form, served
from tsmodel import KeyRange, Receipt, Session, connect, to_iso
from tsmodel.wire.server_role import get_begin, get_end

__all__ = ["measure"]

BATCH = 100_000
SERIES = 1000
"""Records of one series."""
LEAST = 0.12
"""Seconds for which a contestant is called in its turn."""
OBJECTS = 200_000


class Base(orm.DeclarativeBase):  # type: ignore[misc]
    """Base class of SQLAlchemy's models."""


class Row(Base):
    """The same record in SQLAlchemy."""

    __tablename__ = "readings"
    cid: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    mid: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    moid: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    cap: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    acq: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    counter: orm.Mapped[int]
    volts: orm.Mapped[float]
    valid: orm.Mapped[bool]


def columns(size: int) -> Iterator[dict[str, Any]]:
    """Columns of so many records in batches: in the order of time, all meters at once. Counters grow by 0 to 20, volts are
    around 230 in steps of 0.1, one reading in fifty is not valid."""
    meters = max(1, size // SERIES)
    rng = np.random.default_rng(4)
    counters = rng.integers(0, 10**6, meters, np.int32)
    steps = max(1, BATCH // meters)
    for start in range(0, size, steps * meters):
        n = np.arange(start, min(start + steps * meters, size))
        grown = np.cumsum(rng.integers(0, 21, (steps, meters), np.int32), axis=0, dtype=np.int32)
        grown += counters
        counters = grown[-1]
        yield {
            "cid": np.ones(len(n), np.int32),
            "mid": n % meters,
            "moid": np.full(len(n), 7, np.int32),
            "cap": n // meters * 10**9,
            "counter": grown.reshape(-1)[: len(n)],
            "volts": (rng.normal(2300, 20, len(n)).round() / 10).astype(np.float32),
            "valid": rng.random(len(n)) > 0.02,
        }


def ingest_of_columns(size: int) -> Result:
    """Batches of 100,000 Arrow rows."""
    batches = [pa.table(each) for each in columns(size)]

    def ours(path: Path) -> None:
        with connect(path) as session:
            for batch in batches:
                session.add_frame(Reading, batch)
                session.flush()

    def theirs(path: Path) -> None:
        with closing(duckdb.connect(str(path))) as connection:
            connection.register("batch", batches[0])
            connection.execute("CREATE TABLE readings AS SELECT *, 0::BIGINT AS acq FROM batch LIMIT 0")
            for number, batch in enumerate(batches):
                connection.register("batch", batch)
                connection.execute(f"INSERT INTO readings SELECT *, {number} FROM batch")

    with fresh_files() as fresh:
        times = race({"ours": lambda: ours(fresh()), "DuckDB": lambda: theirs(fresh())}, 3, LEAST)
    rate = f"{size / min(times['ours']) / 1e6:.1f} M records/s; DuckDB appends the same Arrow batches"
    return compared("ingest of columns, puts of 100,000", times, "ours", "DuckDB", 1.1, rate)


def ingest_of_objects(size: int) -> Result:
    """Batches of 100,000 objects that exist already."""
    batches = [readings(min(BATCH, size - start), start) for start in range(0, size, BATCH)]

    def ours(path: Path) -> None:
        with connect(path) as session:
            for batch in batches:
                session.add_all(batch)
                session.flush()

    def theirs(path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{path}")
        sa.event.listen(engine, "connect", _durable)
        Base.metadata.create_all(engine)
        for number, batch in enumerate(batches):
            with orm.Session(engine) as session:
                # Both sides make their objects while timed: the ORM cannot store an object twice.
                session.bulk_save_objects([
                    Row(cid=r.cid, mid=r.mid, moid=r.moid, cap=r.cap, acq=number * BATCH + at, counter=r.counter,
                        volts=r.volts, valid=r.valid)
                    for at, r in enumerate(batch)
                ])  # fmt: skip
                session.commit()
        engine.dispose()

    with fresh_files() as fresh:
        times = race({"ours": lambda: ours(fresh()), "SQLAlchemy": lambda: theirs(fresh())}, 1, LEAST)
    rate = f"{size / min(times['ours']) / 1e6:.1f} M records/s; SQLAlchemy: bulk_save_objects, which are made in its time"
    return compared("ingest of objects", times, "ours", "SQLAlchemy", 15, rate)


def _durable(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def single_puts() -> Result:
    """Measures durable puts of one object against inserts of one row."""
    numbers, others = count(), count()
    with tempfile.TemporaryDirectory(dir=".") as directory, ExitStack() as stack:
        session = stack.enter_context(connect(Path(directory, "ours.tsdb")))
        path = Path(directory, "rows.db")
        connection = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        key = "PRIMARY KEY (cid, mid, moid, cap, acq)"
        connection.execute(f"CREATE TABLE readings (cid, mid, moid, cap, acq, counter, volts, valid, {key})")
        rows = readings(100_000)

        def ours() -> None:
            session.add(rows[next(numbers)])
            session.flush()

        def theirs() -> None:
            row = rows[at := next(others)]
            values = (row.cid, row.mid, row.moid, row.cap, at, row.counter, row.volts, row.valid)
            connection.execute("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

        times = race({"ours": ours, "SQLite": theirs}, 7, 0.2)
    return compared("a put of one record, durable", times, "ours", "SQLite", 0.5, "one INSERT, its key as primary key")


@attrs.frozen
class Stores:
    """The same records in a file of ours, in DuckDB and in Parquet.

    Attributes:
        size: how many records.
        directory: where all files are.
        last: receipt of the last put.
        session: with the cache that sessions have by default.
        uncached: on the same file, without a cache.
        duck: the records in the order in which they were put, in a table `readings`.
        parquet: the records as we scan them.
        bytes: bytes a record of our file, by name of its state, and of `parquet`.
    """

    size: int
    directory: Path
    last: Receipt
    session: Session
    uncached: Session
    duck: duckdb.DuckDBPyConnection
    parquet: Path
    bytes: dict[str, float]

    def sql(self, text: str) -> Callable[[], pa.Table]:
        """Runs a query of DuckDB to Arrow."""
        return lambda: self.duck.sql(text).to_arrow_table()


@contextmanager
def stores(size: int) -> Iterator[Stores]:
    """Fills all stores."""
    with tempfile.TemporaryDirectory(dir=".") as name, ExitStack() as stack:
        directory = Path(name)
        path, parquet = directory / "ours.tsdb", directory / "readings.parquet"
        with connect(path) as session:
            for batch in columns(size):
                session.add_columns(Reading, batch)
                last = session.flush()
        measured = {"default": path.stat().st_size / size}
        session = stack.enter_context(connect(path))
        duck = stack.enter_context(closing(duckdb.connect(str(directory / "duck.db"))))
        table = session.query(Reading).to_arrow()
        duck.register("given", table)
        duck.execute("CREATE TABLE readings AS SELECT * FROM given ORDER BY acq")
        duck.unregister("given")
        pq.write_table(table, parquet, compression="zstd")
        measured["Parquet"] = parquet.stat().st_size / size
        uncached = stack.enter_context(connect(path, cache_bytes=0))
        yield Stores(size, directory, last, session, uncached, duck, parquet, measured)


def sizes(given: Stores) -> list[Result]:
    """Compares bytes per record with Parquet's: as put, and after `session.compact()`."""
    path = given.directory / "compact.tsdb"
    given.session.backup(path)
    with connect(path) as session:
        session.compact()
    measured = {**given.bytes, "compact": path.stat().st_size / given.size}
    theirs = measured["Parquet"]
    return [
        Result(
            f"bytes a record, {state}", measured[state] / 1000, "Parquet", theirs / 1000, measured[state] / theirs,
            f"at most {most:g} x", measured[state] <= most * theirs, f"Parquet: zstd, {given.size / 1e6:g} M records"
        )
        for state, most in (("default", 0.8), ("compact", 0.5))
    ]  # fmt: skip


def reads(given: Stores) -> list[Result]:
    """Measures a scan to Arrow, a count, and partial scans."""
    size, last = given.size, given.last
    meters = max(1, size // SERIES)
    steps = -(-size // meters)
    low, high = int(steps * 0.5) * 10**9, max(int(steps * 0.51), int(steps * 0.5) + 1) * 10**9
    time = "'{}'::TIMESTAMPTZ_NS"
    window = f"cap >= {time.format(to_iso(low))} AND cap < {time.format(to_iso(high))}"
    newest = "QUALIFY row_number() OVER (PARTITION BY cid, mid, moid, cap ORDER BY acq DESC) = 1"

    def sides(end: Callable[[Any], Callable[[], Any]], text: str) -> dict[str, Callable[[], Any]]:
        return {
            "cached": end(given.session.query(Reading)),
            "uncached": end(given.uncached.query(Reading)),
            "DuckDB": given.sql(f"SELECT {text}"),
        }

    scan = sides(lambda query: query.to_arrow, "* FROM readings") | {"Parquet": lambda: pq.read_table(given.parquet)}
    rows: list[tuple[str, float, dict[str, Callable[[], Any]]]] = [
        ("scan to Arrow", 1.0 if size < 5 * 10**6 else 0.7, scan),
        (
            "count of a condition on one field",
            0.7,
            sides(lambda query: query.where(Reading.volts > 233).count, "count(*) FROM readings WHERE volts > 233::FLOAT"),
        ),
        (
            "1 % of the time of all series, to Arrow",
            0.4,
            sides(lambda query: query.cap_between(low, high).to_arrow, f"* FROM readings WHERE {window}"),
        ),
        ("newest versions, to Arrow", 0.8, sides(lambda query: query.latest().to_arrow, f"* FROM readings {newest}")),
        (
            "the last put by acq, to Arrow",
            1.0,
            sides(
                lambda query: query.acq_since(last.acq_min).to_arrow,
                f"* FROM readings WHERE acq >= {time.format(to_iso(last.acq_min))}",
            ),
        ),
    ]
    found = []
    for name, goal, contestants in rows:
        ours, theirs = contestants["cached"](), contestants["DuckDB"]()
        assert (ours if isinstance(ours, int) else len(ours)) == (
            theirs.column(0)[0].as_py() if isinstance(ours, int) else len(theirs)
        ), name
        del ours, theirs
        times = race(contestants, 5 if size < 5 * 10**6 else 3, LEAST)
        rate = f"{size / 1e6:g} M records; DuckDB has them in memory"
        found += [compared(f"{name}, {cache}", times, cache, "DuckDB", goal, rate) for cache in ("cached", "uncached")]
        if "Parquet" in times:
            found.append(compared(f"{name}, uncached", times, "uncached", "Parquet", None, "read_table, zstd"))
    return found


def one_series(given: Stores) -> list[Result]:
    """Reads one series of 1,000, a different one each time, so that our cache has few of its blocks."""
    rng = random.Random(4)
    dataset = ds.dataset(given.parquet)
    series = Times(["cached", "uncached", "DuckDB", "Parquet"])
    for _ in range(60 if given.size < 5 * 10**6 else 30):
        mid = rng.randrange(max(1, given.size // SERIES))
        wanted = ds.field("mid") == mid
        work: dict[str, Callable[[], Any]] = {
            "cached": given.session.query(Reading).cid(1).mid(mid).moid(7).to_arrow,
            "uncached": given.uncached.query(Reading).cid(1).mid(mid).moid(7).to_arrow,
            "DuckDB": given.sql(f"SELECT * FROM readings WHERE cid = 1 AND mid = {mid} AND moid = 7"),
            "Parquet": partial(dataset.to_table, filter=wanted),
        }
        for name, read in work.items():
            series[name].append(seconds(read))
    medians = {name: median(taken) for name, taken in series.items()}
    note = f"median; of {given.size / 1e6:g} M records; Parquet: {medians['Parquet'] * 1000:.1f} ms"
    return [
        Result(
            f"a series of {SERIES:,} to Arrow, {name}",
            medians[name],
            "DuckDB",
            medians["DuckDB"],
            medians["DuckDB"] / medians[name],
            "2 ms",
            medians[name] <= 0.002,
            note,
        )
        for name in ("cached", "uncached")
    ]


def exchange(given: Stores) -> list[Result]:
    """Measures export and import of Parquet and CSV."""
    size, directory, parquet = given.size, given.directory, given.parquet
    written, other, text = (directory / name for name in ("written.parquet", "theirs.parquet", "ours.csv"))
    query = given.session.query(Reading)
    copy = f"COPY readings TO '{other}' (FORMAT parquet, COMPRESSION zstd)"
    rounds = 3 if size < 5 * 10**6 else 1
    out = race({"ours": lambda: query.dump_parquet(written), "DuckDB": lambda: given.duck.execute(copy)}, rounds, LEAST)
    rows = query.limit(min(size, BATCH)).all()

    def read(path: Path) -> None:
        with connect(path) as session:
            session.load_parquet(Reading, parquet)

    def read_theirs(path: Path) -> None:
        with closing(duckdb.connect(str(path))) as connection:
            connection.execute(f"CREATE TABLE readings AS SELECT * FROM '{parquet}'")

    def write_lines() -> None:
        with other.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["cid", "mid", "moid", "cap", "acq", "counter", "volts", "valid"])
            writer.writerows(
                (r.cid, r.mid, r.moid, to_iso(r.cap), to_iso(r.acq), r.counter, r.volts, r.valid) for r in rows
            )

    with fresh_files() as fresh:
        into = race({"ours": lambda: read(fresh()), "DuckDB": lambda: read_theirs(fresh())}, rounds, LEAST)
    lines = race({"ours": lambda: Reading.dump_csv(rows, text), "csv": write_lines}, 1, LEAST)
    rate = f"{{:.1f}} M records/s; {size / 1e6:g} M records"
    lines_rate = f"{len(rows) / min(lines['ours']) / 1e6:.1f} M records/s; csv.writer"
    return [
        compared("Parquet in", into, "ours", "DuckDB", 1.0, rate.format(size / min(into["ours"]) / 1e6)),
        compared("Parquet out, cached", out, "ours", "DuckDB", 0.8, rate.format(size / min(out["ours"]) / 1e6)),
        compared("CSV out", lines, "ours", "csv", None, lines_rate),
    ]


def rows_of(given: Stores) -> list[Result]:
    """Objects by `all()`, and what the server sends, against records that lie in memory as rows."""
    meters = max(1, given.size // SERIES)
    part = min(meters, OBJECTS // SERIES)
    with connect("memory:") as memory:
        memory.add_columns(Reading, given.session.query(Reading).mid_between(0, part).columns())
        memory.flush()
        sides = {"cached": given.session, "uncached": given.uncached, "memory": memory}
        times = race(
            {name: session.query(Reading).mid_between(0, part).all for name, session in sides.items()}, 5, LEAST
        )  # fmt: skip
    path = given.directory / "served.tsdb"
    with connect(path) as session:
        for batch in columns(min(given.size, 10**6)):
            session.add_columns(Reading, batch)
            session.flush()
        with session.backend.scan(KeyRange()) as scan:
            answer = b"".join([*get_begin(), *(chunk.rows() for chunk in scan), *get_end(1)])
    with peer(answer) as bare, served(path) as ours, served(path, "--cache-bytes", "0") as uncached:
        sent = race(
            {
                "socket": lambda: receive_bare(bare, len(answer)),
                "cached": lambda: receive_bare(ours, len(answer)),
                "uncached": lambda: receive_bare(uncached, len(answer)),
            },
            5,
            LEAST,
        )
    sent.cpu = {name: [] for name in sent}  # the server is another process
    count, million = part * SERIES, len(answer) / 45e6
    return [
        *(
            compared(f"objects by all(), {name}", times, name, "memory", goal, f"of {count:,} records; rows in memory")
            for name, goal in (("cached", 0.7), ("uncached", 0.6))
        ),
        *(
            compared(f"server: GET, {name}", sent, name, "socket", goal, f"{million / min(sent[name]):.0f} M records/s")
            for name, goal in (("cached", 0.65), ("uncached", 0.3))
        ),
    ]


def over_tcp(size: int) -> list[Result]:
    """Measures GET to columns and to Arrow, from a peer that sends a recorded answer."""
    answer = b"".join([*get_begin(), records_in_get_form(size), *get_end(1)])
    with peer(answer) as address:
        url = f"tstorage://{address[0]}:{address[1]}?timeout=60"
        with connect(url) as session:
            query = session.query(Reading)
            assert query.to_numpy("cap").shape == (size,)
            times = race(
                {
                    "NumPy": query.to_numpy,
                    "Arrow": query.to_arrow,
                    "bare": lambda: receive_bare(address, len(answer)),
                },
                3,
                LEAST,
            )
    return [
        compared(f"GET to {end} over TCP", times, end, "bare", goal, f"{size / min(times[end]) / 1e6:.0f} M records/s")
        for end, goal in (("NumPy", 0.7), ("Arrow", 0.45))
    ]


def measure(size: int = 1_000_000) -> list[Result]:
    """Measures all rows with `size` records."""
    found = [ingest_of_columns(size), ingest_of_objects(min(size, 50_000)), single_puts()]
    with stores(size) as given:
        for some in (reads, one_series, exchange, rows_of, sizes):
            found += some(given)
    return [*found, *over_tcp(size)]
