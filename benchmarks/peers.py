"""Against what people store such records in otherwise: DuckDB, SQLAlchemy's ORM on SQLite, Parquet, and a bare socket.

All peers are as durable as we are: a file, each batch committed. Needs the libraries of `tstorage-model[bench]`.
"""

from __future__ import annotations

import csv
import random
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy import orm

from benchmarks.data import Reading, readings
from benchmarks.harness import Result, compared, race, seconds
from benchmarks.ingest import fresh_files
from benchmarks.network import peer, receive_bare, records_in_get_form
from tsmodel import connect, to_iso
from tsmodel.wire.serving import get_begin, get_end

__all__ = ["measure"]

BATCH = 100_000
SERIES = 1000
"""Records of one series."""


class Base(orm.DeclarativeBase):  # type: ignore[misc]
    """What SQLAlchemy's models derive from."""


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


def columns(size: int) -> dict[str, Any]:
    """Columns of so many records, in the order of time, all meters at once."""
    n = np.arange(size)
    meters = max(1, size // SERIES)
    return {
        "cid": np.ones(size, np.int32),
        "mid": n % meters,
        "moid": np.full(size, 7, np.int32),
        "cap": n // meters * 10**9,
        "counter": n.astype(np.int32),
        "volts": (n / 2).astype(np.float32),
        "valid": n % 3 == 0,
    }


def ingest_of_columns(size: int) -> Result:
    """Batches of 100,000 out of one Arrow table."""
    table = pa.table(columns(size))
    batches = [table.slice(start, BATCH) for start in range(0, size, BATCH)]

    def ours(path: Path) -> None:
        with connect(path) as session:
            for batch in batches:
                session.add_frame(Reading, batch)
                session.flush()

    def theirs(path: Path) -> None:
        with closing(duckdb.connect(str(path))) as connection:
            connection.register("batch", table)
            connection.execute("CREATE TABLE readings AS SELECT *, 0::BIGINT AS acq FROM batch LIMIT 0")
            for number, batch in enumerate(batches):
                connection.register("batch", batch)
                connection.execute(f"INSERT INTO readings SELECT *, {number} FROM batch")

    with fresh_files() as fresh:
        times = race({"ours": lambda: ours(fresh()), "DuckDB": lambda: theirs(fresh())}, rounds=3)
    rate = f"{size / min(times['ours']) / 1e6:.1f} M records/s; DuckDB appends the same Arrow batches"
    return compared("embedded ingest of columns", times, "ours", "DuckDB", 1.5, rate)


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
                # Objects of the ORM are made on both sides' clock: it cannot store others, nor the same ones twice.
                session.bulk_save_objects([
                    Row(cid=r.cid, mid=r.mid, moid=r.moid, cap=r.cap, acq=number * BATCH + at, counter=r.counter,
                        volts=r.volts, valid=r.valid)
                    for at, r in enumerate(batch)
                ])  # fmt: skip
                session.commit()
        engine.dispose()

    with fresh_files() as fresh:
        times = race({"ours": lambda: ours(fresh()), "SQLAlchemy": lambda: theirs(fresh())}, rounds=3)
    rate = f"{size / min(times['ours']) / 1e6:.1f} M records/s; SQLAlchemy: bulk_save_objects, which are made in its time"
    return compared("embedded ingest of objects", times, "ours", "SQLAlchemy", 15, rate)


def _durable(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def reads(size: int) -> list[Result]:
    """Everything to Arrow, and one series out of many."""
    given = columns(size)
    meters = max(1, size // SERIES)
    with tempfile.TemporaryDirectory(dir=".") as directory:
        parquet = Path(directory, "readings.parquet")
        with (
            connect(Path(directory, "ours.tsdb")) as session,
            connect(Path(directory, "ours.tsdb"), cache_bytes=0) as uncached,
            closing(duckdb.connect(f"{directory}/duck.db")) as connection,
        ):
            for start in range(0, size, BATCH):
                session.add_columns(Reading, {name: values[start : start + BATCH] for name, values in given.items()})
                session.flush()
            query = session.query(Reading)
            table = query.to_arrow()
            connection.register("given", table)
            connection.execute("CREATE TABLE readings AS SELECT * FROM given")
            pq.write_table(table, parquet, compression="zstd")
            times = race(
                {
                    "ours": query.to_arrow,
                    "uncached": uncached.query(Reading).to_arrow,
                    "DuckDB": lambda: connection.sql("SELECT * FROM readings").to_arrow_table(),
                    "Parquet": lambda: pq.read_table(parquet),
                },
                rounds=3,
            )
            rng = random.Random(4)
            dataset = ds.dataset(parquet)
            series: dict[str, list[float]] = {"ours": [], "DuckDB": [], "Parquet": []}
            for _ in range(60):
                mid = rng.randrange(meters)
                series["ours"].append(seconds(query.cid(1).mid(mid).moid(7).to_arrow))
                text = f"SELECT * FROM readings WHERE cid = 1 AND mid = {mid} AND moid = 7"
                series["DuckDB"].append(seconds(lambda text=text: connection.sql(text).to_arrow_table()))  # type: ignore[misc]
                wanted = ds.field("mid") == mid
                series["Parquet"].append(seconds(lambda wanted=wanted: dataset.to_table(filter=wanted)))  # type: ignore[misc]
            assert query.mid(0).to_arrow().num_rows == min(SERIES, size)
    medians = {name: [median(taken)] for name, taken in series.items()}
    rate, slower = (f"{size / min(times[name]) / 1e6:.0f} M records/s" for name in ("ours", "uncached"))
    note = f"of {size / 1e6:g} M records"
    return [
        compared("embedded scan to Arrow", times, "ours", "DuckDB", 1.0, f"{rate}; DuckDB: SELECT *"),
        compared("the same without our cache", times, "uncached", "DuckDB", 1.0, f"{slower}; DuckDB: SELECT *"),
        compared("embedded scan to Arrow", times, "ours", "Parquet", None, "Parquet: read_table, zstd"),
        compared("a series of 1,000 to Arrow", medians, "ours", "DuckDB", 2.0, note),
        compared("a series of 1,000 to Arrow", medians, "ours", "Parquet", None, f"{note}; a filter on a data set"),
    ]


def windows(size: int) -> list[Result]:
    """Parts of everything, to Arrow: a hundredth of the time of all series, the last put, and the newest versions."""
    given = columns(size)
    times_of = given["cap"]
    low, high = int(times_of[-1] * 0.5), int(times_of[-1] * 0.51)
    with (
        tempfile.TemporaryDirectory(dir=".") as directory,
        connect(Path(directory, "ours.tsdb")) as session,
        closing(duckdb.connect(f"{directory}/duck.db")) as connection,
    ):
        for start in range(0, size, BATCH):
            session.add_columns(Reading, {name: values[start : start + BATCH] for name, values in given.items()})
            last = session.flush()
        query = session.query(Reading)
        connection.register("given", query.to_arrow())
        connection.execute("CREATE TABLE readings AS SELECT * FROM given ORDER BY acq")

        def theirs(condition: str) -> Callable[[], object]:
            return lambda: connection.sql(f"SELECT * FROM readings {condition}").to_arrow_table()

        time = "'{}'::TIMESTAMPTZ_NS"
        cap = f"WHERE cap >= {time.format(to_iso(low))} AND cap < {time.format(to_iso(high))}"
        newest = "QUALIFY row_number() OVER (PARTITION BY cid, mid, moid, cap ORDER BY acq DESC) = 1"
        rows: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "1 % of the time of all series": (query.cap_between(low, high).to_arrow, theirs(cap)),
            "the last put, by acq": (
                query.acq_since(last.acq_min).to_arrow,
                theirs(f"WHERE acq >= {time.format(to_iso(last.acq_min))}"),
            ),
            "newest versions": (query.latest().to_arrow, theirs(newest)),
        }
        found = []
        for name, (ours, peer_query) in rows.items():
            assert len(ours()) == len(peer_query()), name  # type: ignore[arg-type]
            times = race({"ours": ours, "DuckDB": peer_query}, rounds=3)
            found.append(compared(f"{name}, to Arrow", times, "ours", "DuckDB", None, f"of {size / 1e6:g} M records"))
    return found


def exchange(size: int) -> list[Result]:
    """Parquet and CSV, out and in."""
    given = columns(size)
    with fresh_files() as fresh, tempfile.TemporaryDirectory(dir=".") as directory:
        parquet, other, text = (Path(directory, name) for name in ("ours.parquet", "theirs.parquet", "ours.csv"))
        with (
            connect(Path(directory, "ours.tsdb")) as session,
            closing(duckdb.connect(f"{directory}/duck.db")) as connection,
        ):
            session.add_columns(Reading, given)
            session.flush()
            query = session.query(Reading)
            connection.register("given", query.to_arrow())
            connection.execute("CREATE TABLE readings AS SELECT * FROM given")
            copy = "COPY readings TO '{}' (FORMAT parquet, COMPRESSION zstd)"
            out = race(
                {"ours": lambda: query.dump_parquet(parquet), "DuckDB": lambda: connection.execute(copy.format(other))},
                rounds=3,
            )
            rows = query.limit(min(size, BATCH)).all()
        count = len(rows)

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

        into = race({"ours": lambda: read(fresh()), "DuckDB": lambda: read_theirs(fresh())}, rounds=3)
        lines = race({"ours": lambda: Reading.dump_csv(rows, text), "csv": write_lines}, rounds=3)
    rate = f"{{:.1f}} M records/s; {size / 1e6:g} M records"
    return [
        compared("Parquet out", out, "ours", "DuckDB", None, rate.format(size / min(out["ours"]) / 1e6)),
        compared("Parquet in", into, "ours", "DuckDB", None, rate.format(size / min(into["ours"]) / 1e6)),
        compared("CSV out", lines, "ours", "csv", None, f"{count / min(lines['ours']) / 1e6:.1f} M records/s; csv.writer"),
    ]


def over_tcp(size: int) -> list[Result]:
    """GET to columns and to Arrow, from a peer that sends a recorded answer."""
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
                rounds=5,
            )
    return [
        compared(f"GET to {end} over TCP", times, end, "bare", goal, f"{size / min(times[end]) / 1e6:.0f} M records/s")
        for end, goal in (("NumPy", 0.7), ("Arrow", 0.45))
    ]


def measure(size: int = 1_000_000) -> list[Result]:
    """All of it, with so many records."""
    return [
        ingest_of_columns(size),
        ingest_of_objects(min(size, 50_000)),
        *reads(size),
        *windows(size),
        *exchange(size),
        *over_tcp(size),
    ]
