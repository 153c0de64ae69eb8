"""User-defined field types over every built-in storage, through every way in and out."""

from __future__ import annotations

import datetime as dt
import io
import ipaddress
import json
import re
import types
import uuid
from decimal import Decimal
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tsmodel as ts
from tsmodel import Converted, Encoded, Int16, TSModel, TSStruct, codegen, connect, field
from tsmodel.errors import ConversionError, DecodeError, EncodeError, QueryError, SchemaError
from tsmodel.model.model import codec_of
from tsmodel.types import FieldType


class State(IntEnum):
    OFF = 0
    ON = 1


class Alarm(IntFlag):
    HOT = 1
    COLD = 2


class Phase(TSStruct):
    volts: ts.Float32
    amps: ts.Float32


class Celsius(Converted[float], storage=Int16):
    """Without column hooks."""

    @staticmethod
    def load(stored: int) -> float:
        return stored / 100

    @staticmethod
    def dump(value: float) -> int:
        return round(value * 100)


class Hundredths(Celsius):
    """With column hooks."""

    calls = 0

    @classmethod
    def load_column(cls, stored: Any) -> Any:
        cls.calls += 1
        return stored / 100

    @staticmethod
    def dump_column(values: Any) -> Any:
        return np.rint(values * 100)


class Below(Converted[int], storage=ts.UInt8):
    """Reverses the order and refuses some values both ways."""

    @staticmethod
    def load(stored: int) -> int:
        if stored > 200:
            raise ValueError("more than 200")
        return -stored

    @staticmethod
    def dump(value: int) -> int:
        if value == -13:
            raise ValueError("bad luck")
        return -value


class Mac(Encoded[str], size=6):
    @staticmethod
    def load(stored: bytes) -> str:
        return stored.hex(":")

    @staticmethod
    def dump(value: str) -> bytes:
        return bytes.fromhex(value.replace(":", ""))


class Words(Encoded[list[str]]):
    @staticmethod
    def load(stored: bytes) -> list[str]:
        return stored.decode().split()

    @staticmethod
    def dump(value: list[str]) -> bytes:
        return " ".join(value).encode()


class Box:
    """A value type unknown to every library."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.held == other.held

    def __hash__(self) -> int:
        return hash(repr(self.held))


UTC = dt.timezone.utc
STORAGES: dict[str, tuple[Any, dict[str, Any], list[Any]]] = {
    "Int16": (Int16, {}, [-5, 0, 7]),
    "Int32, big": (ts.Int32, {"byte_order": "big"}, [-5, 0, 70_000]),
    "UInt64": (ts.UInt64, {}, [0, 1, 2**64 - 1]),
    "Float32": (ts.Float32, {}, [1.5, 0.0, -2.25]),
    "Bool": (ts.Bool, {}, [True, False]),
    "Timestamp": (ts.Timestamp, {}, [0, 10**18]),
    "Bits": (ts.Bits, {"bits": 3}, [0, 5, 7]),
    "Scaled": (ts.Scaled, {"digits": 2}, [Decimal("1.25"), Decimal("0.00")]),
    "DateTime": (ts.DateTime, {}, [dt.datetime(2026, 1, 2, tzinfo=UTC), dt.datetime(2001, 1, 1, tzinfo=UTC)]),
    "UnixTime": (ts.UnixTime, {"resolution": "ms"}, [0, 10**18]),
    "Duration": (ts.Duration, {}, [dt.timedelta(seconds=3), dt.timedelta(0)]),
    "Date": (ts.Date, {}, [dt.date(2026, 1, 2), dt.date(2001, 1, 1)]),
    "Enumerated": (ts.Enumerated[State], {}, [State.ON, State.OFF]),
    "Flags": (ts.Flags[Alarm], {}, [Alarm.HOT | Alarm.COLD, Alarm(0)]),
    "Char": (ts.Char, {}, ["a", "ü"]),
    "Text, fixed": (ts.Text, {"size": 4}, ["ab", ""]),
    "Text": (ts.Text, {}, ["ab", ""]),
    "Blob, fixed": (ts.Blob, {"size": 2}, [b"ab", b"\0\1"]),
    "Blob": (ts.Blob, {}, [b"ab", b""]),
    "Uuid": (ts.Uuid, {}, [uuid.UUID(int=7), uuid.UUID(int=0)]),
    "IpAddress": (ts.IpAddress, {}, [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("::2")]),
    "Array, fixed": (ts.Array[int], {"item": ts.Int8, "length": 2}, [[1, 2], [0, 0]]),
    "Array": (ts.Array[int], {"item": ts.Int8}, [[1, 2], []]),
    "Nested": (ts.Nested[Phase], {}, [Phase(volts=1.5, amps=2.0), Phase(volts=0.0, amps=0.0)]),
    "Packed": (ts.Packed[dict[str, int]], {}, [{"a": 1}, {}]),
}
NO_ITEMS = {"Bits", "Text", "Blob", "Array", "Packed"}


def boxed(storage: Any, **options: Any) -> Any:
    """A converted type that wraps the storage's values in `Box`."""
    hooks = {"load": staticmethod(Box), "dump": staticmethod(lambda box: box.held)}
    return types.new_class("Boxed", (Converted[Box],), {"storage": storage, **options}, lambda body: body.update(hooks))


def model(**fields: tuple[Any, dict[str, Any]]) -> Any:
    annotations = {name: annotation for name, (annotation, _) in fields.items()}
    given = {name: field(**options) for name, (_, options) in fields.items() if options}
    return type(TSModel)("Made", (TSModel,), {"__annotations__": annotations, "__module__": __name__, **given})


def objects(made: Any, values: list[Any]) -> list[Any]:
    return [made(cid=1, mid=2, moid=3, cap=at, value=value, n=at) for at, value in enumerate(values)]


def values_of(rows: Any) -> list[Any]:
    return [row.value for row in rows]


def rendered(made: Any, language: str) -> str:
    """The generated code without comments: type names in comments differ."""
    try:
        return re.sub(r"/\*.*?\*/|[ ]*//[^\n]*|[ ]*#[^\n]*", "", codegen.render(made, language), flags=re.DOTALL)
    except SchemaError as error:
        return str(error)


def check_all_ways(made: Any, values: list[Any]) -> None:
    """Sends values through every input and output."""
    rows = objects(made, values)
    with connect("memory:") as session:
        session.add_all(rows)
        session.flush()
        query = made.query.cid(1)
        assert values_of(query) == values
        for value in values:
            found = values_of(query.where(made.value == value))
            assert found == [each for each in values if each == value]
            assert values_of(query.where(made.value != value)) == [each for each in values if each != value]
            assert values_of(query.where(made.value.is_in([value]))) == found
        columns = query.columns(made.cid, made.mid, made.moid, made.cap, made.value, made.n)
        table = query.to_arrow()
        assert table.num_rows == len(rows)
        if made.layout.size is not None:
            assert query.to_numpy().dtype["value"] == made.layout.dtype[made.layout.fields[0].slot]
        session.add_columns(made, **{**columns, "cid": 11})
        session.add_frame(made, table.set_column(0, "cid", pa.array([12] * len(rows), pa.int32())))
        session.add_columns(
            made, cid=13, mid=2, moid=3, cap=[row.cap for row in rows], value=values, n=[row.n for row in rows]
        )
        session.flush()
        for cid in (11, 12, 13):
            assert values_of(made.query.cid(cid)) == values, cid
        assert values_of(made.query.cid(11).order_by(made.cap.desc())) == values[::-1]
    for row in rows:
        assert made.from_dict(row.to_dict()).value == row.value
        assert made.from_json(row.to_json()).value == row.value
        assert json.loads(row.to_json()) == row.to_dict()
    file = io.StringIO()
    made.dump_csv(rows, file, null="NULL")
    assert values_of(made.load_csv(io.StringIO(file.getvalue()), null="NULL")) == values
    assert set(made.json_schema()["properties"]) >= {"value", "n"}
    assert isinstance(repr(rows[0]), str)


@pytest.mark.parametrize("name", STORAGES)
def test_unknown_type_over_every_storage(name: str, tmp_path: Path) -> None:
    """Values of an unknown type are exported in their stored form."""
    storage, options, plain = STORAGES[name]
    kind = boxed(storage, **options)
    made = model(value=(kind, {}), n=(ts.Int8, {}))
    values = list(map(Box, plain))
    check_all_ways(made, values)
    check_all_ways(model(value=(boxed(storage), options), n=(ts.Int8, {})), values)
    bare = model(value=(storage, options), n=(ts.Int8, {}))
    row, plain_row = objects(made, values)[0], objects(bare, plain)[0]
    assert row.to_dict() == plain_row.to_dict()
    assert made.layout.size == bare.layout.size
    assert made.fingerprint != bare.fingerprint
    assert made.json_schema()["properties"] == bare.json_schema()["properties"]
    for language in codegen.LANGUAGES:
        assert rendered(made, language) == rendered(bare, language), language
    lock = tmp_path / "models.lock"
    ts.schema.freeze([made], lock)
    assert list(ts.schema.check([made], lock)) == []
    assert ts.schema.check([bare], lock).breaking


@pytest.mark.parametrize("name", STORAGES)
def test_unknown_type_inside_other_types(name: str) -> None:
    storage, options, plain = STORAGES[name]
    kind = boxed(storage, **options)
    values = list(map(Box, plain))
    if name != "Bits":
        check_all_ways(model(value=(ts.Nullable[Any], {"item": kind}), n=(ts.Int8, {})), [None, *values, None])
    if name not in NO_ITEMS:
        check_all_ways(
            model(value=(ts.Array[Any], {"item": kind, "length": 2}), n=(ts.Int8, {})), [values[:2], values[1::-1]]
        )
        check_all_ways(model(value=(ts.Array[Any], {"item": kind}), n=(ts.Int8, {})), [values, []])
        null = Box(plain[0])
        sentinel = model(value=(ts.Nullable[Any], {"item": kind, "null": null}), n=(ts.Int8, {}))
        check_all_ways(sentinel, [None, *values[1:]])
    inner = type(TSStruct)("Inner", (TSStruct,), {"__annotations__": {"x": kind, "y": ts.Int8}, "__module__": __name__})
    check_all_ways(model(value=(ts.Nested[inner], {}), n=(ts.Int8, {})), [inner(x=value, y=1) for value in values])


@pytest.mark.parametrize("kind", [Celsius, Hundredths, Below, Mac])
def test_known_types(kind: Any) -> None:
    values: list[Any] = {"Below": [-3, 0, -200], "Mac": ["00:11:22:33:44:55", "ff:ff:ff:ff:ff:ff"]}.get(
        kind.__name__, [21.5, -0.25, 0.0]
    )
    check_all_ways(model(value=(kind, {}), n=(ts.Int8, {})), values)
    check_all_ways(model(value=(ts.Nullable[Any], {"item": kind}), n=(ts.Int8, {})), [None, *values])
    check_all_ways(model(value=(ts.Array[Any], {"item": kind, "length": 2}), n=(ts.Int8, {})), [values[:2]])
    check_all_ways(model(value=(ts.Array[Any], {"item": kind}), n=(ts.Int8, {})), [values, []])


def test_variable_length_encoded_type() -> None:
    values = [["a", "bc"], [], ["ü"]]
    check_all_ways(model(value=(Words, {}), n=(ts.Int8, {})), values)
    check_all_ways(model(value=(Words, {"prefix": ts.UInt32}), n=(ts.Int8, {})), values)
    made = model(n=(ts.Int8, {}), value=(Words, {"rest": True}))
    check_all_ways(made, values)
    assert codec_of(made).payload_of(objects(made, [["x"]])[0]) == b"\0x"


class Reading(TSModel):
    t: Celsius
    h: Hundredths
    below: Below
    mac: Mac
    maybe: ts.Nullable[float] = field(item=Hundredths, default=None)


def reading(at: int = 0, **values: Any) -> Reading:
    given = {"cid": 1, "mid": 1, "moid": 1, "t": 20.5, "h": 1.25, "below": -1, "mac": "00:00:00:00:00:01"}
    return Reading(cap=at, **{**given, **values})


def test_numeric_types_in_queries_and_columns() -> None:
    before = Hundredths.calls
    with connect("memory:") as session:
        session.add_all(reading(at, t=20.0 + at, h=at / 4, below=-at, maybe=None if at % 2 else 0.5) for at in range(4))
        session.flush()
        query = Reading.query.cid(1)
        assert values(query.where(Reading.t > 21.999), "t") == [22.0, 23.0]
        assert values(query.where(Reading.t >= 21.001), "t") == [22.0, 23.0]  # between two storable values
        assert values(query.where(Reading.t.between(21, 23)), "t") == [21.0, 22.0]
        assert values(query.where(Reading.h < 0.5, Reading.h != 0), "h") == [0.25]
        assert values(query.where(Reading.below < -1), "below") == [-2, -3]  # the stored order is reversed
        assert values(query.where(Reading.below == 300), "below") == []
        assert values(query.where(Reading.maybe >= 0), "maybe") == [0.5, 0.5]
        assert values(query.where(Reading.maybe == None), "maybe") == [None, None]  # noqa: E711
        assert [row.below for row in query.order_by(Reading.below)] == [-3, -2, -1, 0]
        columns = query.columns(Reading.t, Reading.h, Reading.below, Reading.maybe)
        assert columns["t"].dtype == columns["h"].dtype == np.float64
        assert columns["h"].tolist() == [0.0, 0.25, 0.5, 0.75]
        assert columns["below"].dtype == np.int64
        assert columns["maybe"].tolist() == [0.5, None, 0.5, None]
        table = query.to_arrow()
        assert [str(table.schema.field(name).type) for name in ("t", "below", "mac")] == ["double", "int64", "string"]
        assert table["maybe"].to_pylist() == [0.5, None, 0.5, None]
        assert query.to_numpy()["t"].tolist() == [2000, 2100, 2200, 2300]
        (window,) = query.resample("1h").agg(mean=Reading.t.mean(), low=Reading.below.min())
        assert (window.mean, window.low) == (21.5, -3)
    assert Hundredths.calls > before


def values(query: Any, name: str) -> list[Any]:
    return [getattr(row, name) for row in query]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("t", "warm", r"Reading.t: 'warm' \(str\) is not a value of Celsius \(float\)"),
        ("t", True, "True"),
        ("t", None, "None"),
        ("t", 400.0, "400.0 becomes 40000 in Celsius: 40000"),
        ("t", float("nan"), "cannot convert float NaN to integer"),
        ("h", 400.0, "400.0 becomes 40000 in Hundredths"),
        ("below", -13, r"-13 \(int\) is not a value of Below \(int\): bad luck"),
        ("below", 1.5, "1.5"),
        ("below", 1, "1 becomes -1 in Below"),
        ("mac", "xy", "xy"),
        ("mac", "00:11", "'00:11' becomes 2 bytes, but the size is 6"),
        ("mac", 7, "7"),
        ("maybe", 1e9, "1000000000.0 becomes"),
    ],
)
def test_invalid_value_is_refused(name: str, value: Any, why: str) -> None:
    with pytest.raises(EncodeError, match=why), connect("memory:") as session:
        session.add(reading(**{name: value}))
    good = {each: getattr(reading(), each) for each in ("cid", "mid", "moid", "t", "h", "below", "mac")}
    if value is not None:
        with pytest.raises(EncodeError, match=rf"Reading\.{name}"), connect("memory:") as session:
            session.add_columns(Reading, **{**good, "cap": [0, 1], name: [good.get(name, 0.5), value]})
    with pytest.raises(EncodeError, match=rf"Reading\.{name}"):
        reading(**{name: value}).to_dict()
    if not isinstance(value, float) or value == value:
        with pytest.raises(ConversionError):
            Reading.from_dict({**reading().to_dict(), name: value if value is not None else []})


def test_integers_beyond_int64_are_refused() -> None:
    class Doubled(Converted[int], storage=ts.UInt64):
        load = staticmethod(lambda stored: stored * 2)
        dump = staticmethod(lambda value: value // 2)

    class Plain(TSModel):
        value: ts.UInt64

    made = model(value=(Doubled, {}))
    with pytest.raises(EncodeError, match="it does not fit in an int64"):
        made(cid=1, mid=1, moid=1, cap=0, value=2**63).to_dict()
    with connect("memory:") as session:
        session.add(Plain(cid=1, mid=1, moid=1, cap=0, value=2**62))
        session.flush()
        with pytest.raises(
            DecodeError, match=r"Doubled\.load\(\) returned 9223372036854775808, which does not fit in an int64"
        ):
            made.query.cid(1).all()


def test_load_failure_is_decode_error() -> None:
    class Plain(TSModel):
        below: ts.UInt8

    class Made(TSModel):
        below: Below

    with connect("memory:") as session:
        session.add_all(Plain(cid=1, mid=1, moid=1, cap=at, below=below) for at, below in enumerate([1, 201]))
        session.flush()
        with pytest.raises(DecodeError, match=r"Made\.below.*201 is not a Below: more than 200"):
            Made.query.cid(1).all()
        with pytest.raises(DecodeError, match="more than 200"):
            Made.query.cid(1).columns()
        assert [row.below for row in Made.query.cid(1).on_error("skip")] == [-1]


def test_invalid_conditions_are_refused() -> None:
    with pytest.raises(QueryError, match=r"Reading\.t .*cannot be compared with 'warm'"):
        Reading.query.where(Reading.t == "warm")
    with pytest.raises(QueryError, match="cannot be ordered"):
        Reading.query.where(model(value=(boxed(Int16), {}), n=(ts.Int8, {})).value > Box(1))


def test_constraints_apply_to_loaded_values() -> None:
    made = model(value=(Celsius, {"ge": 0.0, "lt": 30.0}), n=(ts.Int8, {}))
    (good,) = objects(made, [29.99])
    assert made.from_dict(good.to_dict()) == good
    with pytest.raises(ConversionError, match=r"30.0 is not less than 30.0"):
        made.from_dict({**good.to_dict(), "value": 30.0})
    with pytest.raises(EncodeError, match=r"-0.01 is not at least 0.0"), connect("memory:") as session:
        session.add_all(objects(made, [-0.01]))


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_messages_store_values(encoding: str) -> None:
    class Message(TSModel, encoding=encoding):
        t: Celsius
        mac: Mac
        maybe: ts.Nullable[float] = field(item=Celsius, default=None)

    row = Message(cid=1, mid=1, moid=1, cap=0, t=20.5, mac="00:00:00:00:00:01", maybe=1.5)
    with connect("memory:") as session:
        session.add(row)
        session.flush()
        (read,) = Message.query.cid(1).where(Message.t > 20)
        assert (read.t, read.mac, read.maybe) == (20.5, "00:00:00:00:00:01", 1.5)
        assert Message.query.cid(1).to_arrow()["t"].to_pylist() == [20.5]
    with pytest.raises(EncodeError, match="40000"), connect("memory:") as session:
        session.add(Message(cid=1, mid=1, moid=1, cap=0, t=400.0, mac="00:00:00:00:00:01"))


def test_unknown_type_in_message_is_refused() -> None:
    with pytest.raises(SchemaError, match="cannot be stored in a message"):
        type(TSModel)(
            "Made", (TSModel,), {"__annotations__": {"value": boxed(Int16)}, "__module__": __name__}, encoding="json"
        )


def test_generated_code_uses_storage_type() -> None:
    assert "    int16_t t; // Celsius\n" in codegen.render(Reading, "c")
    assert "    public short t; // Celsius\n" in codegen.render(Reading, "java")


def test_fingerprint_depends_on_type_name() -> None:
    class Other(Celsius):
        pass

    one, other = model(value=(Celsius, {})), model(value=(Other, {}))
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == "ca30e5c84178ab7c"


def test_options_of_converted_types() -> None:
    class Tagged(Converted[str], storage=ts.Text, size=4):
        load = staticmethod(str.upper)
        dump = staticmethod(str.lower)

    assert Tagged.takes == ("prefix", "rest", "byte_order")
    with pytest.raises(SchemaError, match="Tagged has no use for size=8"):
        model(value=(Tagged, {"size": 8}))
    big = model(value=(Celsius, {"byte_order": "big"}))
    assert codec_of(big).payload_of(big(cid=1, mid=1, moid=1, cap=0, value=2.58)) == b"\x01\x02"
    with pytest.raises(SchemaError, match="Celsius has no use for digits=2; .*takes byte_order"):
        model(value=(Celsius, {"digits": 2}))


def identity(value: Any) -> Any:
    return value


HOOKS = {"load": staticmethod(identity), "dump": staticmethod(identity)}


@pytest.mark.parametrize(
    ("bases", "keywords", "hooks", "why"),
    [
        ((FieldType[int],), {}, {}, r"class Wrong: a field type says how it is stored: derive it from Converted"),
        ((FieldType,), {}, {"load": staticmethod(identity)}, "derive it from Converted"),
        ((Converted[int],), {}, HOOKS, "storage=Int16"),
        ((Converted[int],), {"storage": int}, {}, "storage=<class 'int'> is not a field type"),
        ((Converted[int],), {"storage": Int16}, {"dump": staticmethod(identity)}, r"it has no load\(\)"),
        ((Converted[int],), {"storage": Int16}, {"load": staticmethod(identity)}, r"it has no dump\(\)"),
        ((Converted[int],), {"storage": ts.Nullable, "item": Int16}, HOOKS, r"Nullable\[\.\.\.\] = field\(item=\.\.\.\)"),
        ((Encoded[int],), {"size": 2}, {}, r"it has no load\(\)"),
        ((Encoded[int],), {"size": 0}, HOOKS, "size=0"),
        ((Encoded[int],), {"sise": 2}, HOOKS, "sise=2"),
        (
            (Converted[int],),
            {"storage": Int16},
            {"load": lambda self, stored: stored, "dump": staticmethod(identity)},
            r"load\(\) takes one value: write it as a @staticmethod",
        ),
        (
            (Converted[int],),
            {"storage": ts.Text},
            {name: staticmethod(identity) for name in ("load", "dump", "load_column")},
            "load_column and dump_column are for float, int and bool",
        ),
        *(
            (
                (Converted[int],),
                {"storage": storage},
                HOOKS,
                "class Wrong",
            )
            for storage in (ts.Padding, ts.Mid, ts.Nested, ts.Converted, FieldType)
        ),
    ],
)
def test_invalid_type_definition_is_refused(bases: Any, keywords: Any, hooks: Any, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        types.new_class("Wrong", bases, keywords, lambda body: body.update(hooks))


@pytest.mark.parametrize("annotation", [Converted, Encoded, Converted[int], FieldType, FieldType[int]])
def test_base_classes_are_not_field_types(annotation: Any) -> None:
    with pytest.raises(SchemaError):
        model(value=(annotation, {}))


@pytest.mark.parametrize("item", [ts.Mid, ts.Cap, ts.Padding, Converted, FieldType])
@pytest.mark.parametrize("outer", [ts.Array[Any], ts.Nullable[Any]])
def test_invalid_item_type_is_refused(outer: Any, item: Any) -> None:
    with pytest.raises(SchemaError):
        model(value=(outer, {"item": item}))


def test_as_numpy_array_of_converted_type_is_refused() -> None:
    with pytest.raises(SchemaError, match="as_numpy=True would return stored numbers, not values of Celsius"):
        model(value=(ts.Array[float], {"item": Celsius, "length": 2, "as_numpy": True}))


def test_codec_must_return_a_codec() -> None:
    class Odd(FieldType[int]):
        @classmethod
        def codec(cls, argument: Any, options: Any) -> Any:
            return 7

    with pytest.raises(SchemaError, match=r"Made\.value: Odd\.codec\(\) gave 7"):
        model(value=(Odd, {}))
