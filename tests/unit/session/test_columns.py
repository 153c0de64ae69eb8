"""Columns and frames that are added to a session: what they may be, and what is said of those that may not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.peer import playing, silent
from support.sessions import OPENERS, Opener, abandoned

import tsmodel as ts
from tsmodel import (
    Bits,
    Bool,
    Enumerated,
    Float32,
    Int16,
    Int32,
    Mid,
    Nullable,
    Scaled,
    Text,
    TSModel,
    UInt8,
    WriteError,
    connect,
    field,
    to_ns,
)
from tsmodel.errors import EncodeError, SessionError
from tsmodel.server import serve_in_thread

START = to_ns("2026-03-01T00:00:00Z")
HOUR = 3600 * 10**9
TIMES = np.datetime64("2026-03-01T00:00:00", "ns") + np.arange(6) * np.timedelta64(1, "h")


class State(IntEnum):
    OFF = 0
    ON = 1


class Reading(TSModel, moid=7):
    meter: Mid
    volts: Float32 = field(ge=0, le=1000)
    state: Enumerated[State] = field(default=State.OFF, storage=UInt8)
    price: Scaled = field(default=Decimal(0), digits=2)
    temp: Nullable[int] = field(default=None, item=Int32, ge=-40)
    name: Text = field(default="", size=8)
    low: Bits = field(default=0, bits=3)
    high: Bits = field(default=0, bits=5)
    valid: Bool = field(default=True)


class Note(TSModel, moid=8):
    text: Text = field(max_length=5)
    count: Int32


def columns(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "cid": 1,
        "meter": np.arange(6) // 2,
        "cap": TIMES,
        "volts": np.arange(6) / 2,
        "state": np.array(["ON", "OFF"] * 3),
        "price": np.arange(6) / 100,
        "temp": np.ma.MaskedArray(np.arange(6), [True] + [False] * 5),
        "name": np.array([f"né{at}" for at in range(6)]),
        "low": 3,
        "high": np.arange(6, dtype=np.int8),
    }
    return {**whole, **changes}


def objects() -> list[Reading]:
    return [
        Reading(
            cid=1,
            meter=at // 2,
            cap=START + at * HOUR,
            volts=at / 2,
            state=State((at + 1) % 2),
            price=Decimal(at).scaleb(-2),
            temp=at or None,
            name=f"né{at}",
            low=3,
            high=at,
        )
        for at in range(6)
    ]


def same(stored: list[Any], expected: list[Any]) -> bool:
    def plain(rows: list[Any]) -> list[str]:
        return [repr([getattr(row, name) for name in row.__struct_fields__ if name != "acq"]) for row in rows]

    return sorted(plain(stored)) == sorted(plain(expected))


@pytest.fixture(params=["memory", "file", "server"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "server":
        with serve_in_thread() as (host, port):
            yield f"tstorage://{host}:{port}"
    else:
        yield "memory:" if request.param == "memory" else str(tmp_path / "own.tsdb")


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_columns_and_frames_over_every_backend(target: str, opener: Opener, tmp_path: Path) -> None:
    with opener(target) as session:
        assert session.add_columns(Reading, **columns()) == 6
        assert same(list(session.pending), objects())
        receipt = session.flush()
        assert receipt.count == 6
        assert same(session.query(Reading).all(), objects())
        table = session.query(Reading).to_arrow()
        frame = session.query(Reading).to_pandas(tz="Europe/Vienna", index=("meter", "cap"))
        for source in (table, table.to_reader(), frame, pl.from_arrow(table), pl.from_arrow(table).lazy()):
            assert session.add_frame(Reading, source) == 6
        assert session.flush().count == 30
        assert same(session.query(Reading).all(), objects() * 6)


def test_parquet_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "readings.parquet"
    with connect("memory:") as session:
        session.add_all(objects())
        session.flush()
        session.query(Reading).dump_parquet(path, batch_size=4)
        acqs = sorted(row.acq for row in session.query(Reading).all())
    with connect("memory:") as session:
        assert session.load_parquet(Reading, path, keep_acq=True, batch_size=3) == 6
        receipt = session.flush()
        assert (receipt.acq_min, receipt.acq_max) == (acqs[0], acqs[-1])
        assert same(session.query(Reading).all(), objects())
        assert sorted(row.acq for row in session.query(Reading).all()) == acqs
        with pytest.raises(OSError, match="nowhere"):
            session.load_parquet(Reading, tmp_path / "nowhere.parquet")


def test_a_frame_whose_columns_have_other_names() -> None:
    frame = pd.DataFrame({"when": pd.to_datetime(["2026-03-01T00:00Z"]), "id": [5], "u": [230.5]})
    frame["cid"] = 1
    with connect("memory:") as session:
        assert session.add_frame(Reading, frame, columns={"cap": "when", "mid": "id", "volts": "u"}) == 1
        session.flush()
        (row,) = session.query(Reading).all()
    assert (row.meter, row.cap, row.volts, row.temp) == (5, START, 230.5, None)


def test_integers_for_a_decimal_field() -> None:
    """In arrays they are what is stored, as reading gives it; in frames and lists they are numbers."""
    given = columns(price=np.array([150] * 6))
    with connect("memory:") as session:
        session.add_columns(Reading, given)
        session.add_columns(Reading, columns(price=[2] * 6))
        session.add_frame(Reading, pl.DataFrame({"cid": 1, "mid": 1, "cap": [START], "volts": 1.0, "price": 3}))
        assert {row.price for row in session.pending} == {Decimal("1.50"), Decimal(2), Decimal(3)}
        session.discard()


def test_payloads_of_variable_size() -> None:
    with connect("memory:") as session:
        session.add_columns(Note, cid=1, mid=range(3), cap=START, text=["a", "é", ""], count=np.arange(3))
        frame = pa.table({"cid": [1], "mid": [9], "cap": [START], "text": ["abc"], "count": [7]})
        session.add_frame(Note, frame)
        session.flush()
        rows = sorted(session.query(Note).all(), key=lambda row: row.mid)
        assert [(row.mid, row.text, row.count) for row in rows] == [(0, "a", 0), (1, "é", 1), (2, "", 2), (9, "abc", 7)]
        with pytest.raises(EncodeError, match=r"row 1: Note.text: 'toolong' has a length of 7; the maximum is 5") as caught:
            session.add_columns(Note, cid=1, mid=[1, 2], cap=START, text=["a", "toolong"], count=1)
        assert (caught.value.record, caught.value.field) == (1, "text")


@pytest.mark.parametrize(
    ("changes", "row", "wording"),
    [
        ({"volts": np.array([1, 2, 3, -1, 2, 2.0])}, 3, "row 3: Reading.volts: -1.0 is not at least 0"),
        ({"volts": np.array([1, 2, 3, 1e39, 2, 2.0])}, 3, "row 3: Reading.volts: 1e+39 is too large for a Float32"),
        ({"volts": np.array(["1"] * 6)}, None, "Reading.volts: a column of <U1 cannot be stored as Float32: give a float"),
        ({"high": np.arange(6) + 27}, 5, "row 5: Reading.high: 32 is not an int from 0 to 31"),
        ({"low": 9}, 0, "row 0: Reading.low: 9 (int) is not an int from 0 to 7"),
        ({"state": np.array([0, 1, 2, 0, 0, 0])}, 2, "row 2: Reading.state: 2 is not a value of State"),
        ({"state": np.array(["ON"] * 5 + ["MAYBE"])}, 5, "row 5: Reading.state: 'MAYBE' is not a name in State: OFF, ON"),
        ({"price": np.array([1, 2, 3, 4, 5.001, 6])}, 4, "row 4: Reading.price: 5.001 has more than 2 decimal places"),
        ({"temp": np.ma.MaskedArray([-50, 0, 0, -41, 0, 0], [1, 0, 0, 0, 0, 0])}, 3, "row 3: Reading.temp: -41 is not at"),
        ({"temp": [None, 1, 2, "x", 3, 4]}, 3, "row 3: Reading.temp: 'x' (str) is not an int from"),
        ({"name": np.array(["é" * 5] * 6)}, 0, "has 10 bytes, but the field holds at most 8"),
        ({"name": ["a\0b"] * 6}, 0, "has a NUL character"),
        ({"valid": np.ones(6)}, None, "Reading.valid: a column of float64 cannot be stored as Bool: give True or False"),
        ({"cap": [dt.datetime(2026, 1, 1)] * 6}, 0, "row 0: Reading.cap"),
        ({"cap": np.full(6, np.datetime64("NaT", "ns"))}, 0, "NaT is not a time"),
        ({"cap": np.full(6, np.datetime64("3000-01-01", "s"))}, 0, "out of range"),
        ({"cid": -1}, 0, "row 0: Reading.cid: is -1 (-1 means that the component was never set); it must be 0 to"),
        ({"meter": np.array([0, 0, 0, 0, 0, 2**63], np.uint64)}, 5, "row 5: Reading.mid: 9223372036854775808 is not"),
        (
            {"meter": np.ma.MaskedArray(np.arange(6), [0, 0, 1, 0, 0, 0])},
            2,
            "row 2: Reading.mid (column 'meter'): the value",
        ),
        ({"meter": np.array([0.0, 1.5, 2, 3, 4, 5])}, 1, "1.5 (float) is not an int"),
        ({"moid": 8}, 0, "row 0: Reading.moid: is 8; it must be 7, which the class fixes"),
        ({"volts": np.arange(5.0)}, None, "columns of Reading differ in length: meter 6, cap 6, volts 5"),
    ],
)
def test_values_that_cannot_be_stored(changes: Any, row: int | None, wording: str) -> None:
    with connect("memory:") as session:
        with pytest.raises(EncodeError) as caught:
            session.add_columns(Reading, **columns(**changes))
        assert wording.replace(": Reading.mid:", ": Reading.mid (column 'meter'):") in str(caught.value)
        assert caught.value.record == row
        assert session.pending == ()


def test_columns_that_are_missing_or_unknown() -> None:
    with connect("memory:") as session:
        with pytest.raises(SessionError, match="columns of Reading are missing: cid, volts"):
            session.add_columns(Reading, meter=1, cap=START)
        with pytest.raises(SessionError, match="'amps' is not a column of Reading, which has cid, mid, meter, moid"):
            session.add_columns(Reading, columns(amps=1))
        with pytest.raises(SessionError, match="'mid' and 'meter' are the same column"):
            session.add_columns(Reading, columns(mid=1))
        with pytest.raises(SessionError, match="are missing: acq"):
            session.add_columns(Reading, columns(), keep_acq=True)
        with pytest.raises(SessionError, match="add_columns takes a model first, not 5"):
            session.add_columns(5, cid=1)  # type: ignore[type-var]
        with pytest.raises(SessionError, match="add_frame takes a pandas or polars frame, .* not dict"):
            session.add_frame(Reading, {})
        with pytest.raises(SessionError, match="columns= names 'id', which the frame does not have: cid"):
            session.add_frame(Reading, pa.table({"cid": [1]}), columns={"mid": "id"})
        empty: Any = {name: np.array(values)[:0] if np.ndim(values) else values for name, values in columns().items()}
        assert session.add_columns(Reading, empty) == 0
        assert session.flush().count == 0


@pytest.mark.parametrize(
    ("column", "values", "wording"),
    [
        ("cap", pa.array([0], pa.timestamp("ns")), "has times without a zone"),
        ("volts", pa.array([None], pa.float32()), "row 0: Reading.volts: the value is missing, and the field"),
        ("volts", pa.array(["x"]), "row 0: Reading.volts: 'x' (str) is not a number that a Float32 holds"),
        ("price", pa.array([Decimal("1.234")]), "row 0: Reading.price"),
        ("state", pa.array(["MAYBE"]), "row 0: Reading.state: 'MAYBE' is not a name in State"),
        ("name", pa.array(["123456789"]), "row 0: Reading.name: '123456789' has 9 bytes, but the field holds at most 8"),
        ("mid", pa.array([[1]]), "Reading.mid: a column of list<item: int64> cannot be stored as Int64"),
    ],
)
def test_frames_that_cannot_be_stored(column: str, values: Any, wording: str) -> None:
    whole = {"cid": pa.array([1]), "mid": pa.array([1]), "cap": pa.array([START]), "volts": pa.array([1.0]), column: values}
    with connect("memory:") as session:
        with pytest.raises(EncodeError) as caught:
            session.add_frame(Reading, pa.table(whole))
        assert wording in str(caught.value).replace("list<element:", "list<item:")
        assert session.pending == ()


def test_text_is_read_as_cells_of_csv_are() -> None:
    class Everything(TSModel, cid=1, moid=7):
        number: Int32
        volts: Float32
        total: Scaled = field(digits=2)
        valid: Bool
        note: Text
        maybe: Nullable[int] = field(item=Int16, default=None)

    text = {
        "mid": ["1", "0x2"],
        "cap": ["2026-03-01T00:00:00Z", "2026-03-01T01:00:00+01:00"],
        "number": ["5", "-6"],
        "volts": ["1.5", "nan"],
        "total": ["3.25", "4"],
        "valid": ["yes", "0"],
        "note": ["5", ""],
        "maybe": ["7", None],
    }
    large = pa.table(text).cast(pa.schema([(name, pa.large_string()) for name in text]))
    with connect("memory:") as session:
        for frame in (pa.table(text), pl.DataFrame(text), large):
            session.add_frame(Everything, frame)
            session.flush()
            first, second = session.query(Everything).order_by(Everything.mid).all()[-2:]
            assert (first.number, first.volts, first.total, first.valid, first.note, first.maybe) == (
                *(5, 1.5, Decimal("3.25")),
                *(True, "5", 7),
            )
            assert (second.mid, second.number, second.valid, second.note, second.maybe) == (2, -6, False, "", None)
            assert second.volts != second.volts
            assert first.cap == second.cap == ts.to_ns("2026-03-01T00:00:00Z")
            session.query(Everything).delete(allow_full_scan=True)


def test_all_columns_at_fault_are_told_at_once() -> None:
    frame = pa.table({"cid": ["1"], "mid": ["one"], "cap": ["yesterday"], "volts": ["1,5"]})
    with connect("memory:") as session:
        with pytest.raises(EncodeError) as caught:
            session.add_frame(Reading, frame)
        assert [line.partition(":")[2].partition(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
            "Reading.mid",
            "Reading.cap",
            "Reading.volts",
        ]
        assert (caught.value.record, caught.value.field, caught.value.value) == (0, "mid", "one")
        assert session.pending == ()


def test_rows_of_a_frame_are_counted_through_its_batches() -> None:
    good, bad = (
        {"cid": [1] * 3, "mid": [1] * 3, "cap": [START] * 3, "volts": volts} for volts in ([1.0] * 3, [1, 2, -3.0])
    )
    with connect("memory:") as session:
        with pytest.raises(EncodeError, match=r"row 5: Reading.volts") as caught:
            session.add_frame(Reading, [pa.table(good), pa.table(bad)])
        assert caught.value.record == 5
        assert len(session.discard()) == 3


def test_nan_of_pandas() -> None:
    class Loose(TSModel):
        volts: Float32
        amps: Nullable[float] = field(item=Float32)

    frame = pd.DataFrame({"cid": 1, "mid": [1], "moid": 1, "cap": [START], "volts": [np.nan], "amps": [np.nan]})
    with connect("memory:") as session:
        session.add_frame(Loose, frame)
        (row,) = session.discard()
    assert np.isnan(row.volts)  # type: ignore[attr-defined]
    assert row.amps is None  # type: ignore[attr-defined]


def test_batches_and_order() -> None:
    """A put for each batch, objects and columns in the order of addition."""
    with connect("memory:", batch_size=4) as session:
        session.add(objects()[0])
        session.add_columns(Reading, columns(), cid=2)
        session.add(objects()[1])
        assert [row.cid for row in session.pending] == [1]
        assert session.flush().count == 8
        rows = sorted(session.query(Reading).all(), key=lambda row: row.acq)
        assert [row.cid for row in rows] == [1, *[2] * 6, 1]
        for meter in range(3):
            session.add_columns(Reading, cid=3, meter=meter, cap=START, volts=1)
        assert "3 pending" in repr(session)
        assert session.flush().count == 3


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_a_write_that_fails_is_accounted_for(opener: Opener) -> None:
    with (
        playing(silent) as (host, port),
        abandoned(opener(f"tstorage://{host}:{port}?timeout=0.3", batch_size=4)) as session,
    ):
        session_error: Any = None
        try:
            session.add_columns(Reading, columns())
        except WriteError as error:
            session_error = error
        assert session_error.stored == 0
        assert same([*session_error.unknown, *session_error.not_stored], objects())
        assert len(session_error.unknown) == 4
        assert list(session_error.not_stored_numbers) == [4, 5]
        assert same([*session.in_doubt, *session.pending], objects())


def test_what_was_given_may_change_afterwards() -> None:
    cids, meters = np.ones(6, np.int32), np.arange(6)
    with connect("memory:") as session:
        session.add_columns(Reading, columns(cid=cids, meter=meters))
        cids[:], meters[:] = 5, 9
        assert sorted((row.cid, row.meter) for row in session.discard()) == [(1, at) for at in range(6)]  # type: ignore[attr-defined]


def test_a_structure_whose_member_is_absent_everywhere() -> None:
    """An empty column of characters has no type to be told by."""

    class Part(ts.TSStruct):
        letter: ts.Nullable[str] = ts.field(item=ts.Char)

    class Whole(ts.TSModel):
        part: ts.Nested[Part]

    with ts.connect("memory:") as session, ts.connect("memory:") as other:
        session.add(Whole(cid=1, mid=1, moid=1, cap=1, part=Part(letter=None)))
        session.flush()
        assert other.add_frame(Whole, session.query(Whole).to_arrow()) == 1
        other.flush()
        assert other.query(Whole).one().part.letter is None


class Message(TSModel, encoding="msgpack"):
    x: Nullable[float] = field(item=ts.Float64)
    n: Nullable[int] = field(item=Int32)
    t: Nullable[str] = field(item=Text)
    c: Nullable[str] = field(item=ts.Char)
    need: Int32 = field(default=1)


def stored(model: Any, *, frame: Any = None, **columns: Any) -> list[Any]:
    """What is read of columns, or of a frame, that are given for cid 1, moid 1, and cap from 0."""
    with connect("memory:") as session:
        if frame is None:
            session.add_columns(model, cid=1, mid=1, moid=1, **columns)
        else:
            session.add_frame(model, frame)
        session.flush()
        return session.query(model).order_by(model.cap).all()


KEYS = {"cid": [1, 1], "mid": [1, 1], "moid": [1, 1], "cap": [0, 1]}


def test_none_in_messages() -> None:
    data: dict[str, Any] = {"x": [None, 1.5], "n": [2, None], "t": ["a", None], "c": [None, "z"]}
    want = [(None, 2, "a", None), (1.5, None, None, "z")]
    for rows in (
        stored(Message, cap=[0, 1], **data),
        stored(Message, frame=pl.DataFrame({**KEYS, **data})),
        stored(Message, frame=pa.table({**KEYS, **data})),
        stored(Message, frame=pd.DataFrame({**KEYS, **data, "n": pd.array([2, None], "Int64")})),
    ):
        assert [(row.x, row.n, row.t, row.c) for row in rows] == want
    (row,) = stored(Message, cap=0, x=None, n=None, t=None, c=None)
    assert (row.x, row.n, row.t, row.c) == (None, None, None, None)
    with pytest.raises(EncodeError, match="row 1: Message.need: the value is missing, and the field is not Nullable"):
        stored(Message, cap=[0, 1], **data, need=[1, None])


@pytest.mark.parametrize("item", [Bool, Float32, Int32, ts.Date, ts.DateTime, ts.Duration, ts.Char, ts.Uuid, Text])
@pytest.mark.parametrize(
    "nothing",
    [
        pd.Series([None, None], dtype=object),
        pd.Series([pd.NA, pd.NA], dtype=object),
        pd.Series([np.nan, np.nan]),
        pd.Series([pd.NaT, pd.NaT]),
        pd.Series([None, None], dtype="Int64"),
    ],
)
def test_a_column_of_nothing_has_no_type(item: Any, nothing: pd.Series[Any]) -> None:
    body = {"__annotations__": {"value": Nullable[object]}, "__module__": __name__, "value": field(item=item)}
    model: Any = type(TSModel)("Made", (TSModel,), body)
    for frame in (pd.DataFrame({**KEYS, "value": nothing}), pa.table({**KEYS, "value": pa.nulls(2)})):
        assert [row.value for row in stored(model, frame=frame)] == [None, None]
    assert [row.value for row in stored(model, cap=[0, 1], value=[None, None])] == [None, None]


def test_nan_in_lists_of_pandas() -> None:
    class Listed(TSModel):
        two: ts.Array[float] = field(item=Float32, length=2)
        many: ts.Array[float] = field(item=ts.Float64)

    items = [[1.5, np.nan], [2.5, 3.5]]
    for given in (items, list(map(np.array, items))):
        frame = pd.DataFrame({**KEYS, "two": given, "many": given})
        for part in (frame, pd.concat([frame] * 3)[2:4]):
            rows = stored(Listed, frame=part)
            assert repr([(row.two, row.many) for row in rows]) == repr([(each, each) for each in items])
    for name in ("two", "many"):
        with pytest.raises(EncodeError, match=rf"row 0: Listed.{name}"):
            stored(Listed, frame=pd.DataFrame({**KEYS, "two": items, "many": items, name: [[1.5, None], [1.5, 2.5]]}))


class Wide(TSModel):
    value: ts.Int64
    maybe: Nullable[int] = field(default=None, item=ts.UInt64)
    price: Scaled = field(default=Decimal(0), digits=2)


def test_integers_of_128_bits() -> None:
    frame = pl.DataFrame({**KEYS, "value": [1, -(2**63)], "maybe": [None, 2**64 - 1], "price": [3, 4]})
    wide = frame.with_columns(pl.col("value", "maybe", "price", "mid").cast(pl.Int128))
    for given in (wide, wide.lazy()):
        rows = stored(Wide, frame=given)
        assert [(row.value, row.maybe, row.price) for row in rows] == [
            (1, None, Decimal(3)),
            (-(2**63), 2**64 - 1, Decimal(4)),
        ]
    beyond = wide.with_columns(value=pl.Series([1, 2**70], dtype=pl.Int128))
    with pytest.raises(
        EncodeError, match="row 1: column 'value': 1180591620717411303424 needs more than 64 bits"
    ) as caught:
        stored(Wide, frame=beyond)
    assert caught.value.record == 1


def test_frames_that_arrow_does_not_take() -> None:
    with pytest.raises(SessionError, match="Arrow cannot convert the frame: column 'value': "):
        stored(Wide, frame=pd.DataFrame({**KEYS, "value": [1, "a"]}))


class Times(TSModel):
    unix: ts.UnixTime = field(default=0, resolution="ns")
    took: ts.Duration = field(default=dt.timedelta(0), resolution="s")
    stamp: ts.Timestamp = field(default=0)


@pytest.mark.parametrize("as_pandas", [False, True])
def test_the_least_integer_is_a_time_or_too_far_away(as_pandas: bool) -> None:
    least = -(2**63)
    there = np.array([least, 5])
    with connect("memory:") as session:
        session.add_columns(Times, cid=1, mid=1, moid=1, cap=there, unix=there, stamp=there)
        session.flush()
        query = session.query(Times)
        table = query.to_arrow("unix")
        assert table["unix"].cast(pa.int64()).to_pylist() == [least, 5]
        whole = pa.table({**KEYS, "unix": table["unix"], "stamp": there})
        session.add_frame(Times, whole.to_pandas(types_mapper=pd.ArrowDtype) if as_pandas else whole)
        session.flush()
        back = query.cap_between(0, 2).columns("unix", "stamp")
        assert back["unix"].tolist() == [least, 5]
        assert back["stamp"].tolist() == [least, 5]
        for name, kind in (("stamp", pa.timestamp("ns", "UTC")), ("unix", pa.timestamp("s", "UTC"))):
            far = pa.table({**KEYS, name: pa.array([least, 5], kind)})
            with pytest.raises(EncodeError, match=rf"row 0: Times.{name}: {least} .* is out of range"):
                session.add_frame(Times, far)


def test_missing_values_of_other_libraries_are_none() -> None:
    class Many(TSModel):
        n: Nullable[int] = field(item=ts.Int64)
        x: Nullable[float] = field(item=ts.Float64)
        t: Nullable[str] = field(item=Text, size=3)
        at: Nullable[int] = field(item=ts.Timestamp)

    n: Any = [2**53 + 1, None]
    at = [dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc), None]
    want = [(2**53 + 1, 1.5, "a", to_ns(at[0] or 0)), (None, None, None, None)]
    columns: dict[str, tuple[Any, ...]] = {
        "n": (
            pd.array(n, "Int64"),
            pd.Series(n, dtype="Int64"),
            pd.Series(n, dtype="int64[pyarrow]"),
            pl.Series(n),
            pa.array(n),
        ),
        "x": (pd.array([1.5, None], "Float64"), pd.Series([1.5, None], dtype="double[pyarrow]"), pl.Series([1.5, None])),
        "t": (pd.Series(["a", None], dtype="string"), pl.Series(["a", None]), pa.array(["a", None])),
        "at": (pd.to_datetime(pd.Series(at), utc=True), pl.Series(at), pa.array(at)),
    }
    for name, all_given in columns.items():
        for given in (*all_given, pa.chunked_array([pa.array(all_given[-1])])):
            whole = {"n": n, "x": [1.5, None], "t": ["a", None], "at": [want[0][3], None]} | {name: given}
            rows = stored(Many, cap=[0, 1], **whole)
            assert [(row.n, row.x, row.t, row.at) for row in rows] == want, (name, type(given))
