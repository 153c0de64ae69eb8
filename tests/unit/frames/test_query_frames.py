"""Queries as NumPy arrays, Arrow tables and frames: columns, types and refusals."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsmodel import (
    Array,
    Bits,
    Bool,
    Duration,
    Enumerated,
    Float32,
    Float64,
    Int32,
    Int64,
    Mid,
    Nested,
    Nullable,
    Scaled,
    Text,
    Timestamp,
    TSModel,
    TSStruct,
    UInt8,
    UInt64,
    UnixTime,
    Uuid,
    connect,
    connect_async,
    field,
    to_ns,
)
from tsmodel.errors import DecodeError, EncodeError, MissingLibraryError, QueryError, SessionError, TSModelError
from tsmodel.query import Query
from tsmodel.store import EmbeddedStore

START = to_ns("2026-03-01T00:00:00Z")
HOUR = 3600 * 10**9


class State(IntEnum):
    OFF = 0
    ON = 1


class Reading(TSModel, moid=7):
    meter: Mid
    volts: Float32 = field(unit="V", doc="voltage of L1")
    state: Enumerated[State] = field(storage=UInt8)
    price: Scaled = field(digits=2)
    temp: Nullable[int] = field(item=Int32)
    name: Text = field(size=8)
    low: Bits = field(bits=3)
    high: Bits = field(bits=5)


class Note(TSModel, moid=8):
    text: Text


def reading(at: int) -> Reading:
    return Reading(
        cid=1,
        meter=at // 4,
        cap=START + at * HOUR,
        volts=at / 2,
        state=State(at % 2),
        price=Decimal(at) / 100,
        temp=None if at % 4 == 0 else -at,
        name=f"né{at}",
        low=at % 8,
        high=at % 32,
    )


@pytest.fixture
def query() -> Iterator[Query[Reading]]:
    with connect("memory:") as session:
        session.add_all(map(reading, range(10)))
        session.add_all(Note(cid=1, mid=at, cap=START, text="x" * at) for at in range(4))
        session.flush()
        yield session.query(Reading)  # named: readers of Arrow streams have their own threads


def test_to_numpy(query: Query[Reading]) -> None:
    array = query.to_numpy()
    assert array.dtype.names == (
        *("cid", "meter", "moid", "cap", "acq", "volts", "state", "price", "temp", "name", "low", "high", "_present"),
    )
    assert array["volts"].tolist() == [at / 2 for at in range(10)]
    assert array["price"].tolist() == list(range(10))
    assert array["high"].tolist() == list(range(10))
    assert array["_present"].tolist() == [at % 4 != 0 for at in range(10)]
    assert query.to_numpy("volts", Reading.meter).dtype == np.dtype([("volts", "<f4"), ("meter", "<i8")])
    assert len(query.limit(3).to_numpy()) == 3
    assert query.where(Reading.volts > 99).to_numpy().shape == (0,)
    array["volts"] = 0


def test_columns(query: Query[Reading]) -> None:
    columns = query.columns()
    assert columns["name"].tolist() == [f"né{at}" for at in range(10)]
    assert columns["low"].tolist() == [at % 8 for at in range(10)]
    assert columns["temp"].tolist() == [None if at % 4 == 0 else -at for at in range(10)]
    assert all(column.flags["C_CONTIGUOUS"] for column in columns.values())
    assert list(query.columns(Reading.volts, "cap")) == ["volts", "cap"]
    empty = query.where(Reading.volts > 99).columns()
    assert [len(column) for column in empty.values()] == [0] * 12
    assert empty["cap"].dtype == np.dtype("i8")


def test_to_arrow(query: Query[Reading]) -> None:
    table = query.to_arrow()
    assert table.schema.metadata == {b"tsmodel": b"Reading"}
    assert table.schema.field("volts").metadata == {b"unit": b"V", b"doc": b"voltage of L1"}
    assert table.schema.field("cap").type == pa.timestamp("ns", "UTC")
    assert table["state"].to_pylist() == ["OFF", "ON"] * 5
    assert table["price"].to_pylist() == [Decimal(at) / 100 for at in range(10)]
    assert table["temp"].to_pylist() == [None if at % 4 == 0 else -at for at in range(10)]
    assert query.where(Reading.volts > 99).to_arrow().num_rows == 0
    assert query.where(Reading.volts > 99).to_arrow().schema == table.schema


def test_to_pandas(query: Query[Reading]) -> None:
    frame = query.to_pandas("meter", "cap", "volts", tz="Europe/Berlin", index=("meter", "cap"))
    assert frame.index.names == ["meter", "cap"]
    assert frame.loc[(1, pd.Timestamp("2026-03-01T06:00:00+01:00")), "volts"] == 2.5
    assert str(frame.index.get_level_values("cap").tz) == "Europe/Berlin"
    assert len(query.to_pandas()) == 10
    with pytest.raises(QueryError, match="index names 'mid', which is not among the columns cid, meter"):
        query.to_pandas(index="mid")
    with pytest.raises(QueryError, match="Nowhere"):
        query.to_pandas(tz="Nowhere/Land")


class Edges(TSModel, moid=9):
    wide: Nullable[int] = field(item=Int64)
    unsigned: Nullable[int] = field(item=UInt64)
    sentinel: Nullable[int] = field(item=Int64, null=-1)
    tiny: Nullable[int] = field(item=UInt8, null=255)
    yes: Nullable[bool] = field(item=Bool)
    kept: Nullable[State] = field(item=Enumerated[State], unknown="keep")
    ratio: Nullable[float] = field(item=Float64)
    whole: Int64
    took: Duration = field(default=dt.timedelta(0))


@pytest.fixture
def edges() -> Iterator[Query[Edges]]:
    key = {"cid": 1, "mid": 1, "cap": 0}
    present = {"sentinel": -(2**63), "tiny": 254, "yes": True, "kept": State.ON, "ratio": math.nan, "whole": 2**53 + 1}
    with connect("memory:") as session:
        session.add(Edges(**key, wide=2**53 + 1, unsigned=2**64 - 1, **present))
        session.add(
            Edges(**key, **dict.fromkeys(("wide", "unsigned", "sentinel", "tiny", "yes", "kept", "ratio")), whole=1)
        )
        session.flush()
        yield session.query(Edges)


def test_pandas_keeps_nullable_integers_and_bools_exactly(edges: Query[Edges]) -> None:
    frame = edges.to_pandas("wide", "ratio", "unsigned", "sentinel", "tiny", "yes", "kept", "whole")
    assert list(map(str, frame.dtypes)) == ["Int64", "float64", "UInt64", "Int64", "UInt8", "boolean", "UInt8", "int64"]
    first, second = frame.to_dict("records")
    assert first.pop("ratio") != first.get("ratio")
    assert first == {
        "wide": 2**53 + 1,
        "unsigned": 2**64 - 1,
        "sentinel": -(2**63),
        "tiny": 254,
        "yes": True,
        "kept": 1,
        "whole": 2**53 + 1,
    }
    assert second.pop("whole") == 1
    assert all(map(pd.isna, second.values()))
    only = edges.to_pandas("wide", "yes")
    assert only["wide"].tolist() == [2**53 + 1, pd.NA]
    assert list(map(str, edges.where(Edges.wide == 3).to_pandas("whole", "wide", "yes").dtypes)) == [
        "int64",
        "Int64",
        "boolean",
    ]


def test_pandas_over_arrow_distinguishes_nan_and_null(edges: Query[Edges]) -> None:
    frame = edges.to_pandas("ratio", "wide", "cap", dtype_backend="pyarrow", tz="Europe/Vienna")
    assert list(map(str, frame.dtypes)) == ["double[pyarrow]", "int64[pyarrow]", "timestamp[ns, tz=Europe/Vienna][pyarrow]"]
    ratio = pa.array(frame["ratio"])
    assert ratio.is_null().to_pylist() == [False, True]
    assert math.isnan(ratio[0].as_py())
    assert frame["wide"].tolist() == [2**53 + 1, pd.NA]
    other: Any = "numpy"
    with pytest.raises(QueryError, match="dtype_backend must be \"pyarrow\", or None .* not 'numpy'"):
        edges.to_pandas(dtype_backend=other)
    with pytest.raises(QueryError, match="Nowhere"):
        edges.to_pandas(dtype_backend="pyarrow", tz="Nowhere/Land")


def test_duration_that_pandas_reads_as_nat_is_refused() -> None:
    with connect("memory:") as session:
        session.add_columns(Long, cid=1, mid=1, moid=1, cap=0, took=np.array([-(2**63), 5]))
        session.flush()
        query = session.query(Long)
        with pytest.raises(DecodeError, match="took holds -9223372036854775808 ns, which pandas uses for a missing time"):
            query.to_pandas()
        frame = query.to_pandas(dtype_backend="pyarrow")
        assert pa.array(frame["took"]).cast(pa.int64()).to_pylist() == [-(2**63), 5]


class Moment(TSStruct):
    at: Timestamp
    took: Duration


class Moments(TSModel):
    moment: Nested[Moment]
    ids: Array[uuid.UUID] = field(item=Uuid, length=2)


def test_pandas_keeps_times_within_structures() -> None:
    """pyarrow converts them to integers since 1970, which a model would read as something else."""
    rows = [
        Moments(cid=1, mid=1, moid=1, cap=n, moment=Moment(at=n, took=dt.timedelta(seconds=n)), ids=[uuid.UUID(int=n)] * 2)
        for n in range(3)
    ]
    with connect("memory:") as session, connect("memory:") as other:
        session.add_all(rows)
        session.flush()
        frame = session.query(Moments).order_by("cap").to_pandas()
        assert frame["moment"][1] == {"at": pd.Timestamp("2001-01-01T00:00:00.000000001Z"), "took": pd.Timedelta(seconds=1)}
        assert frame["ids"][1] == [uuid.UUID(int=1).bytes] * 2
        other.add_frame(Moments, frame, keep_acq=True)
        other.flush()
        assert other.query(Moments).order_by("cap").all() == session.query(Moments).order_by("cap").all()


class Known(TSModel):
    at: Timestamp
    moment: Nested[Moment]


def test_nanoseconds_in_pandas_object_columns_are_kept() -> None:
    times = [pd.Timestamp("2001-01-01T00:00:00.000000007Z"), pd.Timestamp("2001-01-01T00:00:00.000000008Z")]
    frame = pd.DataFrame({"cid": 1, "mid": 1, "moid": 1, "cap": [1, 2]})
    frame["at"] = pd.Series(times, dtype=object)
    frame["moment"] = [{"at": at, "took": pd.Timedelta(0)} for at in times]
    with connect("memory:") as session:
        session.add_frame(Known, frame)
        session.flush()
        far = frame.assign(at=pd.Series([dt.datetime(2500, 1, 1, tzinfo=dt.timezone.utc)] * 2, dtype=object))
        with pytest.raises(EncodeError, match="row 0: Known.at: 2500-01-01.*out of range"):
            session.add_frame(Known, far)
        rows = session.query(Known).order_by("cap").all()
    assert [(row.at, row.moment.at) for row in rows] == [(7, 7), (8, 8)]


class Marks(TSModel):
    times: Array[int] = field(item=Timestamp)
    pair: Array[int] = field(item=Timestamp, length=2)


@pytest.mark.parametrize("options", [{}, {"tz": "Europe/Warsaw"}, {"dtype_backend": "pyarrow"}])
def test_arrays_of_times_survive_pandas(options: dict[str, Any]) -> None:
    """pyarrow turns them into NumPy arrays, which have no time zone and mean UTC."""
    rows = [Marks(cid=1, mid=1, moid=1, cap=n, times=[n, START][:n], pair=[n, -n]) for n in range(3)]
    with connect("memory:") as session, connect("memory:") as other:
        session.add_all(rows)
        session.flush()
        frame = session.query(Marks).order_by("cap").to_pandas(**options)
        other.add_frame(Marks, frame, keep_acq=True)
        other.flush()
        assert other.query(Marks).order_by("cap").all() == session.query(Marks).order_by("cap").all()
        naive = frame.assign(times=[[dt.datetime(2026, 1, 1)]] * 3)
        with pytest.raises(EncodeError, match="times without a zone"):
            other.add_frame(Marks, naive)


class Long(TSModel):
    took: UnixTime = field(resolution="ns")


def test_to_polars(query: Query[Reading]) -> None:
    frame = query.to_polars()
    assert frame.schema["cap"] == pl.Datetime("ns", "UTC")
    assert frame.filter(pl.col("meter") == 1)["volts"].to_list() == [2.0, 2.5, 3.0, 3.5]


def test_streams(query: Query[Reading]) -> None:
    assert [batch.num_rows for batch in query.iter_arrow("volts", batch_size=4)] == [4, 4, 2]
    assert [batch.num_rows for batch in query.iter_arrow(batch_size=10)] == [10]
    assert list(query.where(Reading.volts > 99).iter_arrow()) == []
    assert query.to_reader(batch_size=3).read_all() == query.to_arrow()
    with pytest.raises(QueryError, match="batch_size takes an int from 1, not 0"):
        query.iter_arrow(batch_size=0)


def test_query_is_an_arrow_stream(query: Query[Reading]) -> None:
    assert pa.table(query) == query.to_arrow()
    assert pl.DataFrame(query)["volts"].sum() == 22.5
    assert duckdb.sql("SELECT meter, count(*) FROM query GROUP BY meter ORDER BY meter").fetchall() == [
        (0, 4),
        (1, 4),
        (2, 2),
    ]


def test_payloads_of_variable_size() -> None:
    with connect("memory:") as session:
        session.add_all(Note(cid=1, mid=at, cap=START, text="é" * at) for at in range(4))
        session.flush()
        assert sorted(Note.query.to_arrow()["text"].to_pylist()) == ["", "é", "éé", "ééé"]
        assert sorted(Note.query.columns()["text"].tolist()) == ["", "é", "éé", "ééé"]
        with pytest.raises(QueryError, match=r"Note has payloads of variable size.*: use columns\(\)"):
            Note.query.to_numpy()


@pytest.mark.parametrize(
    ("columns", "wording"),
    [
        (["watts"], "'watts' is not a column of Reading, which has cid, meter, moid, cap, acq, volts"),
        ([Note.text], "is not a column of Reading"),
        ([5], "columns are given by name, or as Reading.volts, not 5 (int)"),
        ([["volts"]], "columns are given by name, or as Reading.volts, not ['volts'] (list)"),
        (["volts", Reading.volts], "a column is named twice: volts, volts"),
    ],
)
def test_unknown_columns_are_refused(query: Query[Reading], columns: Any, wording: str) -> None:
    for sink in (query.to_numpy, query.columns, query.to_arrow, query.to_pandas, query.to_polars, query.iter_arrow):
        with pytest.raises(QueryError) as caught:
            sink(*columns)
        assert wording in str(caught.value)


class Base(TSModel, abstract=True):
    level: Float32


class Tank(Base, moid=10):
    label: Text = field(size=4)


class Cistern(TSModel, moid=10, replaces=Tank):
    level: Float64
    label: Text = field(size=4)


@Cistern.upgrade_from(Tank)
def _widened(tank: Tank) -> Cistern:
    return Cistern(cid=tank.cid, mid=tank.mid, cap=tank.cap, level=tank.level, label=tank.label)


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (Tank, (Base.level, Tank.label)),
        (Cistern, (Tank.level, Tank.label)),
        (Cistern, (Cistern.level, "label")),
    ],
)
def test_columns_of_base_classes_and_older_versions(model: type[Any], columns: tuple[Any, ...]) -> None:
    with connect("memory:") as session:
        session.add(Tank(cid=1, mid=1, cap=1, level=2.5, label="a"))
        session.flush()
        query: Query[Any] = session.query(model)
        assert query.to_arrow(*columns).to_pydict() == {"level": [2.5], "label": ["a"]}
        with pytest.raises(QueryError, match="is not a column of Tank"):
            session.query(Tank).to_arrow(Cistern.level)


@pytest.mark.parametrize(
    ("make", "wording"),
    [
        (lambda query, path: query.dump_parquet(path, compression=5), "dump_parquet(compression=...) takes"),
        (lambda query, path: query.dump_parquet(path, compression="x"), "dump_parquet(compression=...) takes"),
        (lambda query, path: query.to_pandas(tz=5), "to_pandas(tz=...) takes the name of a time zone"),
    ],
)
def test_invalid_options_are_refused_by_name(
    query: Query[Reading], tmp_path: Path, make: Callable[[Any, Path], object], wording: str
) -> None:
    with pytest.raises(QueryError) as caught:
        make(query, tmp_path / "a.parquet")
    assert str(caught.value).startswith(wording)
    assert list(tmp_path.iterdir()) == []


def test_mismatches_follow_on_error(query: Query[Reading]) -> None:
    class Both(TSModel):
        volts: Float32
        more: Text = field(size=60)

    with pytest.raises(DecodeError, match="Both takes 64"):
        Both.query.to_arrow()
    assert Both.query.on_error("skip").to_arrow().num_rows == 0


def test_time_outside_arrow_range_is_refused() -> None:
    with connect("memory:") as session:
        session.add(Note(cid=1, mid=1, cap=2**63 - 2, text=""))
        session.flush()
        with pytest.raises(
            DecodeError, match=r"cap contains 9223372036854775806, which is out of range for Arrow's timestamp"
        ):
            Note.query.to_arrow()
        assert Note.query.columns("cap")["cap"].tolist() == [2**63 - 2]


def test_parquet(query: Query[Reading], tmp_path: Path) -> None:
    path = tmp_path / "readings.parquet"
    assert query.dump_parquet(path, batch_size=4) == 10
    file = pq.ParquetFile(path)
    assert file.num_row_groups == 3
    assert file.read()["volts"].to_pylist() == query.to_arrow()["volts"].to_pylist()
    assert [each.name for each in tmp_path.iterdir()] == ["readings.parquet"]

    class Broken(TSModel):
        volts: Float32

    with pytest.raises(TSModelError):
        Broken.query.dump_parquet(path)
    assert pq.ParquetFile(path).metadata.num_rows == 10
    assert [each.name for each in tmp_path.iterdir()] == ["readings.parquet"]


def test_invalid_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "readings.parquet"
    path.write_text("cid,mid")
    with connect("memory:") as session, pytest.raises(SessionError, match="readings.parquet cannot be read as Parquet: "):
        session.load_parquet(Reading, path)


@pytest.mark.parametrize(
    ("module", "sink", "hint"),
    [
        ("pyarrow", "to_arrow", r"pip install 'tstorage-model\[arrow\]'"),
        ("pandas", "to_pandas", r"pip install 'tstorage-model\[pandas\]'"),
        ("polars", "to_polars", r"pip install 'tstorage-model\[polars\]'"),
    ],
)
def test_missing_library_fails_before_reading_and_has_install_hint(
    query: Query[Reading], monkeypatch: pytest.MonkeyPatch, module: str, sink: str, hint: str
) -> None:
    pa.array([0])  # pyarrow looks for pandas on first use and must find it
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(EmbeddedStore, "scan", None)  # reading would be a TypeError
    with pytest.raises(MissingLibraryError, match=hint) as caught:
        getattr(query, sink)()
    assert caught.value.library == module


def test_async() -> None:
    async def run() -> None:
        async with connect_async("memory:") as session:
            await session.add_all(map(reading, range(10)))
            await session.flush()
            query = session.query(Reading)
            assert len(await query.to_numpy("volts")) == 10
            assert (await query.columns("meter"))["meter"].tolist() == [at // 4 for at in range(10)]
            assert (await query.to_arrow()).num_rows == 10
            assert len(await query.to_pandas(index="cap")) == 10
            assert (await query.to_polars()).height == 10
            assert [batch.num_rows async for batch in query.iter_arrow(batch_size=6)] == [6, 4]

    asyncio.run(run())


def test_session_stays_usable_after_partial_iteration(query: Query[Reading]) -> None:
    for batch in query.iter_arrow(batch_size=1):
        assert batch.num_rows == 1
        break
    assert query.count() == 10


def test_to_numpy_without_matching_records() -> None:
    class Plain(TSModel):
        number: Int32
        volts: Float32

    with connect("memory:") as session:
        session.add_all(Plain(cid=1, mid=1, moid=1, cap=cap, number=cap, volts=cap) for cap in range(5))
        session.flush()
        assert session.query(Plain).where(Plain.volts > 9).to_numpy().shape == (0,)
