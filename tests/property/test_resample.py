"""Windows of any records are what brute force makes of them, in whatever pieces and order the records come."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsmodel import Float32, Int32, Int64, Nullable, Scaled, TSModel, UInt64, connect, connect_async, count, field
from tsmodel.errors import QueryError
from tsmodel.query import windowed
from tsmodel.server import serve_in_thread


class Reading(TSModel):
    counter: Int32
    volts: Float32
    maybe: Nullable[float] = field(item=Float32, default=None)


class Other(TSModel):
    big: Int64
    huge: UInt64


numbers = st.integers(-1000, 1000).map(lambda n: n / 4)
records = st.builds(
    Reading,
    cid=st.integers(0, 2),
    mid=st.integers(-1, 1),
    moid=st.integers(0, 1),
    cap=st.integers(-60, 60),
    counter=st.integers(-(2**31), 2**31 - 1),
    volts=numbers,
    maybe=st.none() | numbers,
)
ASKED: dict[str, Any] = {
    "n": count(),
    **{kind: getattr(Reading.maybe, kind)() for kind in ("sum", "mean", "min", "max", "std", "first", "last")},
    "total": Reading.counter.sum(),
    "opening": Reading.volts.first(),
    "closing": Reading.volts.last(),
}


def brute(rows: list[Reading], every: int, origin: int) -> list[tuple[Any, ...]]:
    windows = defaultdict(list)
    for row in rows:
        windows[row.cid, row.mid, row.moid, (row.cap - origin) // every * every + origin].append(row)
    expected = []
    for key, inside in sorted(windows.items()):
        inside.sort(key=lambda row: (row.cap, row.acq))
        there = [row.maybe for row in inside if row.maybe is not None]
        made = [sum(there), sum(there) / len(there), min(there), max(there)] if there else [None] * 4
        made.append(statistics.stdev(there) if len(there) > 1 else None)
        made += [there[0], there[-1]] if there else [None, None]
        made += [sum(row.counter for row in inside), inside[0].volts, inside[-1].volts]
        expected.append((*key, len(inside), *made))
    return expected


def alike(got: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is None) == (b is None), (one, other)
            assert a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9), (one, other)


def tuples(windows: Any) -> list[tuple[Any, ...]]:
    return [tuple(getattr(row, name) for name in row.__struct_fields__) for row in windows]


@pytest.mark.parametrize("merge_at", [0, windowed._MERGE_AT])
def test_windows_of_any_records(merge_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed, "_MERGE_AT", merge_at)
    monkeypatch.setattr(windowed, "_TOGETHER", merge_at)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.lists(records, max_size=15), max_size=4), st.integers(1, 50), st.integers(-100, 100))
    def check(puts: list[list[Reading]], every: int, origin: int) -> None:
        with connect("memory:") as session:
            for rows in puts:
                session.add_all(rows)
                session.flush()
            query = session.query(Reading)
            expected = brute(query.all(), every, origin)
            alike(tuples(query.resample(every, origin=origin).agg(**ASKED)), expected)
            several = query.cid(0, 2).max_boxes(2)
            kept = [row for row in expected if row[0] != 1]
            alike(tuples(several.resample(every, origin=origin).agg(**ASKED)), kept)

    check()


def test_the_same_over_a_server_and_async() -> None:
    rows = [
        Reading(cid=n % 3, mid=n % 50, moid=1, cap=n * 7919 % 10_000, counter=n, volts=n, maybe=None if n % 3 else n)
        for n in range(20_000)
    ]
    with serve_in_thread() as (host, port), connect(f"tstorage://{host}:{port}") as session:
        session.add_all(rows)
        session.flush()
        expected = brute(session.query(Reading).all(), 1000, 0)
        windows = session.query(Reading).resample(1000).agg(**ASKED)
        alike(tuples(windows), expected)
        assert len(windows) == len(expected)
        columns = windows.columns()
        assert isinstance(columns["mean"], np.ma.MaskedArray)
        assert columns["n"].sum() == 20_000

        async def again() -> Any:
            async with connect_async(f"tstorage://{host}:{port}") as other:
                return await other.query(Reading).resample(1000).agg(**ASKED)

        alike(tuples(asyncio.run(again())), expected)
        assert windows.to_pandas()["n"].sum() == 20_000


def test_nan_is_a_value_and_absence_is_none() -> None:
    with connect("memory:") as session:
        nan = float("nan")
        session.add_all(Reading(cid=1, mid=1, moid=1, cap=n, counter=1, volts=v) for n, v in enumerate((1, nan, 3)))
        session.flush()
        (row,) = (
            session.query(Reading)
            .resample("1s")
            .agg(mean=Reading.volts.mean(), most=Reading.volts.max(), last=Reading.volts.last(), none=Reading.maybe.min())
        )
        assert math.isnan(row.mean)
        assert math.isnan(row.most)
        assert (row.last, row.none) == (3, None)
        assert list(session.query(Reading).cid(5).resample("1s").agg(n=count())) == []


def test_what_cannot_be_made() -> None:
    class Priced(TSModel):
        price: Scaled = field(storage=Int32, digits=2)

    with connect("memory:") as session:
        windows = session.query(Reading).resample("15m")
        with pytest.raises(QueryError, match="start already"):
            windows.agg(start=count())
        with pytest.raises(QueryError, match="takes an aggregate"):
            windows.agg(n=3)  # type: ignore[arg-type]
        with pytest.raises(QueryError, match="not a column of Reading"):
            windows.agg(n=Other.big.sum())
        with pytest.raises(QueryError, match="agg"):
            windows.agg()
        with pytest.raises(QueryError, match="not a plain number"):
            session.query(Priced).resample("15m").agg(n=Priced.price.mean())
        with pytest.raises(QueryError, match="longer than nothing"):
            session.query(Reading).resample(0)
        with pytest.raises(QueryError, match="leave int64"):
            session.query(Other).resample("1h").agg(n=Other.huge.sum())
        session.add_all(Other(cid=1, mid=1, moid=1, cap=n, big=2**62, huge=0) for n in range(3))
        session.flush()
        with pytest.raises(QueryError, match="leaves int64"):
            session.query(Other).resample("1h").agg(n=Other.big.sum())
        assert session.query(Other).resample("1h").agg(m=Other.big.max()).columns()["m"].tolist() == [2**62]
