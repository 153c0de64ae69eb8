"""Windows against brute force, for records in any order and any chunks."""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.sessions import EVERYWHERE, opened_at

from tsmodel import (
    Bool,
    Float32,
    Int32,
    Int64,
    Nullable,
    Scaled,
    Text,
    TSModel,
    UInt64,
    connect,
    connect_async,
    count,
    field,
)
from tsmodel.errors import QueryError
from tsmodel.query import resample
from tsmodel.server import serve_in_thread


class Reading(TSModel):
    counter: Int32
    volts: Float32
    on: Bool
    maybe: Nullable[float] = field(item=Float32, default=None)


class Other(TSModel):
    big: Int64
    huge: UInt64
    name: Text = field(size=4, default="")


numbers = st.integers(-1000, 1000).map(lambda n: n / 4)
records = st.builds(
    Reading,
    cid=st.integers(0, 2),
    mid=st.integers(-1, 1),
    moid=st.integers(0, 1),
    cap=st.integers(-60, 60),
    counter=st.integers(-(2**31), 2**31 - 1),
    volts=numbers,
    on=st.booleans(),
    maybe=st.none() | numbers,
)
EXAMPLES = itertools.count()
PER = 7
ASKED: dict[str, Any] = {
    "n": count(),
    "known": Reading.maybe.count(),
    **{kind: getattr(Reading.maybe, kind)() for kind in ("sum", "mean", "min", "max", "std", "first", "last")},
    "total": Reading.counter.sum(),
    "middle": Reading.counter.mean(),
    "spread": Reading.counter.std(),
    "opening": Reading.volts.first(),
    "closing": Reading.volts.last(),
    "often": Reading.on.sum(),
    "ever": Reading.on.max(),
    "median": Reading.maybe.median(),
    "high": Reading.maybe.quantile(0.9),
    "rough": Reading.maybe.quantile(0.7, error=0.02),
    "grown": Reading.counter.delta(),
    "speed": Reading.maybe.rate(PER),
    "weighed": Reading.maybe.time_weighted_mean(),
}


class Rough(float):
    """A float that equals others within a relative error."""

    error = 0.0

    @staticmethod
    def of(value: float | None, error: float) -> Rough | None:
        if value is None:
            return None
        rough = Rough(value)
        rough.error = error
        return rough

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and abs(self - other) <= self.error * abs(self) + 1e-12

    __hash__ = None  # type: ignore[assignment]


def quantile(values: list[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None


def steps(rows: list[Reading], name: str) -> list[tuple[int, int, Any, Any]]:
    """Times and values of neighbouring records in one series."""
    newest = {
        row.cap: getattr(row, name) for row in sorted(rows, key=lambda row: row.acq) if getattr(row, name) is not None
    }
    return [(a, b, newest[a], newest[b]) for a, b in itertools.pairwise(sorted(newest))]


def grown(pairs: list[tuple[int, int, Any, Any]]) -> Any:
    return sum(after - before if after >= before else after for _, _, before, after in pairs) if pairs else None


def window_values(inside: list[Reading], series: list[Reading], start: int, end: int) -> list[Any]:
    inside = sorted(inside, key=lambda row: (row.cap, row.acq))
    known = [row.maybe for row in inside if row.maybe is not None]
    counters = [row.counter for row in inside]
    made: list[Any] = [len(inside), len(known)]
    made += [sum(known), sum(known) / len(known), min(known), max(known)] if known else [None] * 4
    made.append(statistics.stdev(known) if len(known) > 1 else None)
    made += [known[0], known[-1]] if known else [None, None]
    made += [sum(counters), sum(counters) / len(counters), statistics.stdev(counters) if len(counters) > 1 else None]
    made += [inside[0].volts, inside[-1].volts, sum(row.on for row in inside), any(row.on for row in inside)]
    made += [quantile(known, 0.5), quantile(known, 0.9), Rough.of(rough(known, 0.7), 0.02)]
    made.append(grown([pair for pair in steps(series, "counter") if start <= pair[0] < end]))
    pairs = [pair for pair in steps(series, "maybe") if start <= pair[0] < end]
    made.append(grown(pairs) / sum(b - a for a, b, _, _ in pairs) * PER if pairs else None)
    held = [(max(0, min(b, end) - max(a, start)), value) for a, b, value, _ in steps(series, "maybe")]
    time = sum(span for span, _ in held)
    made.append(sum(span * value for span, value in held) / time if time else None)
    return made


def brute(rows: list[Reading], every: int, origin: int) -> list[tuple[Any, ...]]:
    windows, series = defaultdict(list), defaultdict(list)
    for row in rows:
        windows[row.cid, row.mid, row.moid, (row.cap - origin) // every * every + origin].append(row)
        series[row.cid, row.mid, row.moid].append(row)
    return [
        (*key, *window_values(inside, series[key[:3]], key[3], key[3] + every)) for key, inside in sorted(windows.items())
    ]


def rough(values: list[float], q: float) -> float | None:
    """The value nearest to the quantile, for comparison with an estimate."""
    return sorted(values)[math.floor((len(values) - 1) * q + 0.5)] if values else None


def alike(got: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is None) == (b is None), (one, other)
            assert a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6), (one, other)


def tuples(windows: Any) -> list[tuple[Any, ...]]:
    return [tuple(getattr(row, name) for name in row.__struct_fields__) for row in windows]


@pytest.fixture(scope="module", params=EVERYWHERE, ids="-".join)
def anywhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened_at(*request.param, tmp_path_factory.mktemp("resample")) as session:
        yield session


@pytest.mark.parametrize("merge_at", [0, resample._MERGE_AT])
def test_windows_match_brute_force(anywhere: Any, merge_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_MERGE_AT", merge_at)

    @settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(records, max_size=15), max_size=4), st.integers(1, 50), st.integers(-100, 100))
    def check(puts: list[list[Reading]], every: int, origin: int) -> None:
        first = 3 * next(EXAMPLES)
        for rows in puts:
            for row in rows:
                row.cid += first
            anywhere.add_all(rows)
            anywhere.flush()
        query = anywhere.query(Reading).cid(*range(first, first + 3))
        expected = brute(query.all(), every, origin)
        alike(tuples(query.resample(every, origin=origin).agg(**ASKED)), expected)
        several = query.cid(first, first + 2).max_boxes(2)
        kept = [row for row in expected if row[0] != first + 1]
        alike(tuples(several.resample(every, origin=origin).agg(**ASKED)), kept)

    check()


def test_aggregates_do_not_depend_on_each_other() -> None:
    rows = [
        Reading(cid=1, mid=n % 2, moid=1, cap=n * 31 % 997, counter=n * n, volts=n, on=n % 3 == 0, maybe=n % 17 or None)
        for n in range(1000)
    ]
    with connect("memory:") as session:
        session.add_all(rows)
        session.flush()
        resampling = session.query(Reading).resample(100)
        together = resampling.agg(**ASKED).columns()
        for name, aggregate in ASKED.items():
            alone = resampling.agg(**{name: aggregate}).columns()[name]
            assert alone.dtype == together[name].dtype
            assert alone.tolist() == together[name].tolist(), name


def test_windows_over_a_server_and_async() -> None:
    rows = [
        Reading(
            cid=n % 3, mid=n % 50, moid=1, cap=n * 7919 % 10_000, counter=n, volts=n, on=True, maybe=None if n % 3 else n
        )
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


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(records, min_size=1, max_size=30),
    st.integers(1, 50),
    st.sampled_from(["null", "previous", "linear"]),
    st.none() | st.integers(-70, 0),
    st.none() | st.integers(1, 70),
)
def test_gaps_are_filled(rows: list[Reading], every: int, fill: Any, low: int | None, high: int | None) -> None:
    with connect("memory:") as session:
        session.add_all(rows)
        session.flush()
        query = session.query(Reading)
        if low is not None:
            query = query.where(Reading.cap >= low)
        if high is not None:
            query = query.where(Reading.cap < high)
        asked = {"n": count(), "low": Reading.maybe.min(), "total": Reading.counter.sum()}
        sparse = {(w.cid, w.mid, w.moid, w.start): w for w in query.resample(every).agg(**asked)}
        filled = tuples(query.resample(every, fill=fill).agg(**asked))
        expected = []
        for series in sorted({key[:3] for key in sparse}):
            starts = [key[3] for key in sparse if key[:3] == series]
            first = min(starts) if low is None else low // every * every
            last = max(starts) if high is None else (high - 1) // every * every
            axis = range(first, last + 1, every)
            for start in axis:
                found = sparse.get((*series, start))
                values = []
                for name in ("low", "total"):
                    known = [
                        (at, value) for at in axis if (value := getattr(sparse.get((*series, at)), name, None)) is not None
                    ]
                    values.append(filling(fill, known, start))
                expected.append((*series, start, found.n if found else 0, *values))
        alike(filled, expected)


def filling(fill: str, known: list[tuple[int, float]], start: int) -> float | None:
    before = [each for each in known if each[0] <= start]
    after = [each for each in known if each[0] >= start]
    if before and before[-1][0] == start:
        return before[-1][1]
    if fill == "null" or not before or (fill == "linear" and not after):
        return None
    (a, one), (b, other) = before[-1], after[0] if after else before[-1]
    return one if fill == "previous" else one + (other - one) * (start - a) / (b - a)


def test_frames_of_windows() -> None:
    day = 86_400 * 10**9
    with connect("memory:") as session:
        session.add_all(
            Reading(cid=1, mid=2, moid=3, cap=n * day, counter=2**31 - 1 - n, volts=n, on=True, maybe=None if n < 2 else n)
            for n in range(5)
        )
        session.flush()
        resampling = session.query(Reading).resample("2d", origin=0, tz="Europe/Warsaw")
        windows = resampling.agg(
            n=count(), low=Reading.maybe.min(), last=Reading.counter.last(), ups=Reading.counter.delta()
        )
        table = windows.to_arrow()
        assert table.schema.field("start").type.tz == "UTC"
        assert table["low"].to_pylist() == [None, 2, 4]
        frame = windows.to_pandas()
        assert str(frame["start"].dt.tz) == "Europe/Warsaw"
        assert {time.hour for time in frame["start"]} == {1}  # the origin, in local time
        assert str(frame["ups"].dtype) == "Int64"
        assert frame["ups"].isna().sum() == 1
        assert windows.to_polars()["n"].sum() == 5
        empty = session.query(Reading).cid(7).resample("1d", fill="null").agg(n=count(), low=Reading.maybe.min())
        assert (len(empty), empty.to_arrow().num_rows, len(empty.to_pandas())) == (0, 0, 0)


def test_nan_propagates_and_null_is_none() -> None:
    with connect("memory:") as session:
        nan = float("nan")
        rows = [Reading(cid=1, mid=1, moid=1, cap=n, counter=1, volts=v, on=False) for n, v in enumerate((1, nan, 3))]
        session.add_all(rows)
        session.flush()
        kinds = ("mean", "max", "median", "delta", "time_weighted_mean")
        (row,) = (
            session.query(Reading)
            .resample("1s")
            .agg(
                last=Reading.volts.last(),
                none=Reading.maybe.min(),
                **{kind: getattr(Reading.volts, kind)() for kind in kinds},
            )
        )
        assert [math.isnan(getattr(row, kind)) for kind in kinds] == [True] * 5
        assert (row.last, row.none) == (3, None)
        assert list(session.query(Reading).cid(5).resample("1s").agg(n=count())) == []


def test_value_holds_across_empty_windows() -> None:
    with connect("memory:") as session:
        values = {0: 10.0, 15: None, 25: 20.0, 35: 0.0}
        session.add_all(
            Reading(cid=1, mid=1, moid=1, cap=cap, counter=1, volts=0, on=False, maybe=value)
            for cap, value in values.items()
        )
        session.flush()
        windows = session.query(Reading).resample(10).agg(mean=Reading.maybe.time_weighted_mean())
        assert [row.mean for row in windows] == [10, 10, 15, 20]


def test_counter_restart() -> None:
    counters = [100, 110, 3, 8, 2**31 - 1]
    with connect("memory:") as session:
        session.add_all(
            Reading(cid=1, mid=1, moid=1, cap=10 * n, counter=value, volts=value, on=False)
            for n, value in enumerate(counters)
        )
        session.flush()
        session.add(Reading(cid=1, mid=1, moid=1, cap=10, counter=111, volts=111, on=False))  # a correction
        session.flush()
        ups = session.query(Reading).resample(20).agg(up=Reading.counter.delta(), rate=Reading.volts.rate(per=1))
        assert [(row.start, row.up) for row in ups] == [(0, 11 + 3), (20, 5 + 2**31 - 9), (40, None)]
        assert next(iter(ups)).rate == pytest.approx(14 / 20)


class Priced(TSModel):
    price: Scaled = field(digits=2)
    rough: Scaled[float] = field(storage=Int32, digits=2, default=0.5)
    huge: Scaled = field(storage=UInt64, digits=1, default=Decimal("0.1"))
    maybe: Nullable[Decimal] = field(item=Scaled, digits=3, default=None)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-(2**59), 2**59) | st.integers(0, 100)), min_size=1, max_size=6))
def test_decimals_are_exact(anywhere: Any, units: list[tuple[int, int]]) -> None:
    cid = 10**6 + next(EXAMPLES)
    rows = [
        Priced(cid=cid, mid=1, moid=1, cap=2 * n, price=Decimal(unit).scaleb(-2), maybe=Decimal(1) / 8 if skip else None)
        for n, (skip, unit) in enumerate(units)
    ]
    anywhere.add_all(rows)
    anywhere.flush()
    prices = [row.price for row in rows]
    windows = (
        anywhere.query(Priced)
        .cid(cid)
        .resample("1h", fill="previous")
        .agg(
            sum=Priced.price.sum(),
            min=Priced.price.min(),
            max=Priced.price.max(),
            first=Priced.price.first(),
            last=Priced.price.last(),
            up=Priced.price.delta(),
            mean=Priced.price.mean(),
            rough=Priced.rough.sum(),
            huge=Priced.huge.sum(),
            maybe=Priced.maybe.sum(),
            n=Priced.price.count(),
        )
    )
    (row,) = windows
    up = sum((after - before if after >= before else after) for before, after in itertools.pairwise(prices))
    known = [row.maybe for row in rows if row.maybe is not None]
    assert (row.sum, row.min, row.max, row.n) == (sum(prices), min(prices), max(prices), len(prices))
    assert (row.first, row.last, row.up) == (prices[0], prices[-1], up if len(prices) > 1 else None)
    assert row.mean == pytest.approx(float(sum(prices)) / len(prices))
    assert (row.rough, row.huge, row.maybe) == (0.5 * len(rows), len(rows) / Decimal(10), sum(known) if known else None)
    assert [type(value) for value in (row.sum, row.min, row.last, row.huge, row.rough, row.n)] == [Decimal] * 4 + [
        float,
        int,
    ]
    assert windows.columns()["sum"].tolist() == [row.sum]
    for made in (windows.to_arrow().to_pylist(), windows.to_pandas().to_dict("records"), windows.to_polars().to_dicts()):
        assert [(each["sum"], each["last"], each["maybe"]) for each in made] == [(row.sum, row.last, row.maybe)]


def test_decimal_sum_overflow_is_refused() -> None:
    with connect("memory:") as session:
        huge = Decimal(2**64 - 1).scaleb(-1)
        session.add_all(Priced(cid=1, mid=1, moid=1, cap=n, price=Decimal(0), huge=huge) for n in range(2))
        session.flush()
        windows = session.query(Priced).resample("1h")
        assert [row.most for row in windows.agg(most=Priced.huge.max())] == [huge]
        with pytest.raises(QueryError, match="total: a sum of integers overflows int64"):
            windows.agg(total=Priced.huge.sum())


class Meter(TSModel):
    small: Int32
    big: UInt64
    whole: Int64
    real: Float32
    price: Scaled = field(digits=1)


def added(values: list[int], modulus: int | None, on_drop: str) -> tuple[int, int, int]:
    """The increase of a counter and its numbers of drops and rollovers."""
    total = drops = rollovers = 0
    last = values[0]
    for value in values[1:]:
        if value >= last:
            total += value - last
        elif modulus is not None and 2 * (value - last + modulus) < modulus:
            total += value - last + modulus
            rollovers += 1
        else:
            drops += 1
            if on_drop == "ignore":
                continue
            total += value
        last = value
    return total, drops, rollovers


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=12), min_size=1, max_size=3),
    st.sampled_from([None, 21, 24, 2**40, 2**63]),
    st.sampled_from(["reset", "ignore", "raise"]),
    st.integers(1, 7),
)
def test_counters(anywhere: Any, series: list[list[int]], modulus: int | None, on_drop: Any, every: int) -> None:
    cid = 10**6 + next(EXAMPLES)
    anywhere.add_all(
        Meter(cid=cid, mid=mid, moid=1, cap=n, small=value, big=value, whole=value, real=value, price=Decimal(value) / 10)
        for mid, values in enumerate(series)
        for n, value in enumerate(values)
    )
    anywhere.flush()
    expected = [added(values, modulus, on_drop) for values in series]
    per_price = None if modulus is None else Decimal(modulus) / 10
    ups = {
        name: column.delta(modulus=per_price if name == "price" else modulus, on_drop=on_drop)
        for name, column in (("small", Meter.small), ("big", Meter.big), ("whole", Meter.whole), ("real", Meter.real))
    }
    ups |= {"price": Meter.price.delta(modulus=per_price, on_drop=on_drop)}
    rates = {f"{name}_rate": Meter.small.rate(1, modulus=modulus, on_drop=on_drop) for name in ("small",)}
    windows = anywhere.query(Meter).cid(cid).resample(every)
    if on_drop == "raise" and any(drops for _, drops, _ in expected):
        with pytest.raises(
            QueryError, match=rf"small: the counter of cid {cid}, mid \d, moid 1 drops at 2001-01-01T.*on_drop="
        ):
            windows.agg(**ups)
        return
    made = windows.agg(**ups, **rates)
    drops, rollovers = (sum(each[at] for each in expected) for at in (1, 2))
    assert made.drops == dict.fromkeys([*ups, *rates], drops)
    assert made.rollovers == dict.fromkeys([*ups, *rates], rollovers)
    for name in ups:
        for mid, (total, _, _) in enumerate(expected):
            grown = sum(getattr(row, name) for row in made if row.mid == mid and getattr(row, name) is not None)
            assert grown == (Decimal(total) / 10 if name == "price" else total)
    for values, mid in zip(series, range(len(series)), strict=True):
        if on_drop == "reset" and every > len(values) > 1:
            (rate,) = [row.small_rate for row in made if row.mid == mid]
            assert rate == pytest.approx(expected[mid][0] / (len(values) - 1))


def test_faulty_meters() -> None:
    """One meter drops to 0 for a while; the register of another rolls over at 2**31."""
    with connect("memory:") as session:
        for mid, values in enumerate([(14000, 14010, 0, 0, 14020, 14030), (2147483628, 2147483638, 5)]):
            blank = {"big": 0, "whole": 0, "real": 0.0, "price": Decimal(0)}
            session.add_all(Meter(cid=1, mid=mid, moid=1, cap=n, small=value, **blank) for n, value in enumerate(values))
        session.flush()
        for mid, options, up, drops, rollovers in [
            (0, {}, 10 + 0 + 0 + 14020 + 10, 1, 0),
            (0, {"on_drop": "ignore"}, 30, 2, 0),
            (0, {"on_drop": "ignore", "modulus": 2**31}, 30, 2, 0),
            (1, {}, 15, 1, 0),
            (1, {"modulus": 2**31}, 25, 0, 1),
            (1, {"modulus": 2**31, "on_drop": "raise"}, 25, 0, 1),
        ]:
            windows = session.query(Meter).mid(mid).resample("1h").agg(up=Meter.small.delta(**options))
            assert [row.up for row in windows] == [up]
            assert (windows.drops, windows.rollovers) == ({"up": drops}, {"up": rollovers})
        both = session.query(Meter).mid(0).resample("1h")
        made = both.agg(reset=Meter.small.delta(), ignored=Meter.small.delta(on_drop="ignore"))
        assert [(row.reset, row.ignored) for row in made] == [(14040, 30)]
        assert made.drops == {"reset": 1, "ignored": 2}
        with pytest.raises(QueryError, match=r"up: a counter with modulus=100 cannot have the value 14000"):
            both.agg(up=Meter.small.delta(modulus=100))
    for modulus in (0, -5, 0.5, math.inf):
        with pytest.raises(QueryError, match=r"Meter.small: delta\(modulus=...\) takes the number at which"):
            Meter.small.delta(modulus=modulus)  # type: ignore[arg-type]
    with pytest.raises(
        QueryError, match=r'rate\(on_drop=...\) takes "reset", "ignore" or "raise", not "drop"|not \'drop\''
    ):
        Meter.small.rate(on_drop="drop")  # type: ignore[arg-type]


def test_estimated_quantiles_do_not_hold_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_MERGE_AT", 100)
    generator = np.random.default_rng(7)
    values = np.concatenate([generator.lognormal(0, 5, 4000), -generator.lognormal(0, 5, 4000), [0.0, math.inf, -math.inf]])
    with connect("memory:") as session:
        columns = {"cid": 1, "mid": np.arange(len(values)) % 3, "moid": 1, "cap": np.arange(len(values))}
        session.add_columns(Reading, **columns, counter=0, on=False, volts=values.astype(np.float32))
        session.flush()
        parts = (0, 0.01, 0.3, 0.5, 0.95, 1)
        asked = {f"q{at}": Reading.volts.quantile(q, error=0.01) for at, q in enumerate(parts)}
        windows = session.query(Reading).max_rows_in_memory(10).resample("1h").agg(**asked)
        assert len(windows) == 3
        for window in windows:
            inside = np.sort(values[window.mid :: 3].astype(np.float32)).tolist()
            for at, q in enumerate(parts):
                expected = inside[math.floor((len(inside) - 1) * q + 0.5)]
                assert getattr(window, f"q{at}") == pytest.approx(expected, rel=0.0100001)


def test_times_further_apart_than_int64_holds() -> None:
    first, last = -(2**63) + 10**17, 2**63 - 10**17
    with connect("memory:") as session:
        session.add_columns(Reading, cid=1, mid=1, moid=1, cap=[first, last], counter=0, volts=[1.0, 5.0], on=True)
        session.flush()
        query = session.query(Reading)
        rates = query.resample("1d").agg(rate=Reading.volts.rate(per="365d"))
        assert rates.columns()["rate"].tolist() == [pytest.approx(4 / ((last - first) / (365 * 86_400 * 10**9))), None]
        line = query.resample("1y", fill="linear").agg(volts=Reading.volts.mean()).columns()["volts"].tolist()
        assert line == sorted(line)
        assert (line[0], line[-1]) == (1.0, 5.0)


def test_refusals() -> None:
    with connect("memory:") as session:
        query = session.query(Reading)
        windows = query.resample("15m")
        with pytest.raises(QueryError, match="already has a start"):
            windows.agg(start=count())
        with pytest.raises(QueryError, match="takes an aggregate"):
            windows.agg(n=3)  # type: ignore[arg-type]
        with pytest.raises(QueryError, match="not a column of Reading"):
            windows.agg(n=Other.big.sum())
        with pytest.raises(QueryError, match="agg"):
            windows.agg()
        with pytest.raises(QueryError, match="is not a number"):
            session.query(Other).resample("15m").agg(n=Other.name.min())
        with pytest.raises(QueryError, match="must be longer than 0"):
            query.resample(0)
        with pytest.raises(QueryError, match="leave out origin="):
            query.resample("3mo", origin=5)
        with pytest.raises(QueryError, match="no time zone 'Mars/Olympus'"):
            query.resample("1d", tz="Mars/Olympus")
        with pytest.raises(QueryError, match="one of 'null', 'previous', 'linear', not 'zero'"):
            query.resample("1d", fill="zero")  # type: ignore[arg-type]
        with pytest.raises(QueryError, match="from 0 to 1"):
            Reading.volts.quantile(95)
        with pytest.raises(QueryError, match="relative error from"):
            Reading.volts.median(error=0)
        with pytest.raises(QueryError, match="unit of time"):
            Reading.volts.rate(per=0)
        with pytest.raises(QueryError, match="overflow int64"):
            session.query(Other).resample("1h").agg(n=Other.huge.sum())
        session.add_all(
            Other(cid=1, mid=1, moid=1, cap=n * 10, big=2**62 * (n % 2), huge=2**63 * (n % 2)) for n in range(6)
        )
        session.flush()
        big = session.query(Other).resample("1h")
        with pytest.raises(QueryError, match="n: a sum of integers overflows int64"):
            big.agg(n=Other.big.sum())
        with pytest.raises(QueryError, match="n: increments of integers overflow int64"):
            big.agg(n=Other.huge.delta())
        assert big.agg(m=Other.big.max()).columns()["m"].tolist() == [2**62]
        assert session.query(Other).resample(10).agg(m=Other.big.delta()).columns()["m"].tolist() == [
            2**62,
            0,
            2**62,
            0,
            2**62,
            None,
        ]
        with pytest.raises(QueryError, match="6 so far, more than the 5 allowed"):
            session.query(Other).max_rows_in_memory(5).resample("1h").agg(m=Other.big.median())
        with pytest.raises(QueryError, match="gaps filled the result has up to 51 windows, more than the 50 allowed"):
            session.query(Other).max_rows_in_memory(50).resample(1, fill="null").agg(n=count())
