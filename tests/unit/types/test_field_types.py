"""Each field type: the bytes it writes, the values, bytes and declarations it refuses."""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import re
import struct
import uuid
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from support.batches import batches

import tsmodel as ts
from tsmodel import TSModel, TSStruct, connect, field, padding
from tsmodel.client.record import Record
from tsmodel.errors import ConversionError, DecodeError, EncodeError, QueryError, SchemaError
from tsmodel.keys import Key
from tsmodel.model.model import codec_of
from tsmodel.store import open_store
from tsmodel.timestamps import EPOCH


class State(IntEnum):
    OFF = 0
    ON = 1


class Side(Enum):
    LEFT = -2
    RIGHT = 3


class Alarm(IntFlag):
    HOT = 1
    COLD = 2


class Phase(TSStruct):
    volts: ts.Float32
    amps: ts.Float32 = field(default=0.0)


class Named(TSStruct):
    name: ts.Text
    level: ts.Int8


def model(annotation: Any, **options: Any) -> Any:
    """A model with one field, `value`."""
    namespace = {"__annotations__": {"value": annotation}, "value": field(**options), "__module__": __name__}
    return type(TSModel)("Made", (TSModel,), namespace)


def payload(annotation: Any, value: Any, **options: Any) -> bytes:
    made = model(annotation, **options)
    encoded: bytes = made.payload_type.to_bytes(made(cid=1, mid=2, moid=3, cap=4, value=value))
    return encoded


NOON = dt.datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)))
NOON_NS = (NOON - EPOCH) // dt.timedelta(microseconds=1) * 1000
IDENT = uuid.UUID("12345678-1234-5678-1234-567812345678")

WRITTEN: list[tuple[Any, dict[str, Any], Any, bytes]] = [
    (ts.Float16, {}, 1.5, struct.pack("<e", 1.5)),
    (ts.Int32, {"byte_order": "big"}, 1, b"\0\0\0\1"),
    (ts.Char, {}, "é", b"\xe9"),
    (ts.Bits, {"bits": 3}, 5, b"\5"),
    (ts.Timestamp, {}, -2, struct.pack("<q", -2)),
    (ts.UnixTime, {}, 0, struct.pack("<q", 978_307_200)),
    (ts.UnixTime, {"resolution": "ms", "storage": ts.Int64}, 5_000_000, struct.pack("<q", 978_307_200_005)),
    (ts.DateTime, {}, NOON, struct.pack("<q", NOON_NS)),
    (ts.Duration, {}, dt.timedelta(microseconds=3), struct.pack("<q", 3000)),
    (ts.Duration, {"resolution": "s", "storage": ts.UInt16}, dt.timedelta(minutes=1), b"\x3c\0"),
    (ts.Date, {}, dt.date(2001, 1, 3), b"\2\0\0\0"),
    (ts.Date, {}, dt.date(2000, 12, 31), b"\xff\xff\xff\xff"),
    (ts.Scaled, {"digits": 2, "storage": ts.Int32}, Decimal("-1.25"), struct.pack("<i", -125)),
    (ts.Scaled, {"digits": 2, "storage": ts.Int32}, 3, struct.pack("<i", 300)),
    (ts.Scaled[float], {"digits": 3}, 0.1, struct.pack("<q", 100)),
    (ts.Enumerated[State], {}, State.ON, b"\1"),
    (ts.Enumerated[State], {"storage": ts.UInt16, "byte_order": "big"}, 1, b"\0\1"),
    (ts.Enumerated[Side], {}, Side.LEFT, b"\xfe"),
    (ts.Flags[Alarm], {"storage": ts.UInt16}, Alarm.HOT | Alarm.COLD, b"\3\0"),
    (ts.Flags[Alarm], {"unknown": "keep"}, 0x80, b"\x80"),
    (ts.Text, {"size": 4}, "hé", b"h\xc3\xa9\0"),
    (ts.Text, {}, "hé", b"\3\0h\xc3\xa9"),
    (ts.Text, {"prefix": ts.UInt32, "byte_order": "big"}, "a", b"\0\0\0\1a"),
    (ts.Text, {"rest": True}, "abc", b"abc"),
    (ts.Blob, {"size": 3}, b"a", b"a\0\0"),
    (ts.Blob, {"prefix": ts.UInt8}, b"ab", b"\2ab"),
    (ts.Uuid, {}, IDENT, IDENT.bytes),
    (ts.IpAddress, {}, ipaddress.ip_address("1.2.3.4"), bytes(10) + b"\xff\xff\1\2\3\4"),
    (ts.IpAddress, {"version": 4}, ipaddress.ip_address("1.2.3.4"), b"\1\2\3\4"),
    (ts.IpAddress, {}, ipaddress.ip_address("::1"), bytes(15) + b"\1"),
    (ts.Array[float], {"item": ts.Float32, "length": 2}, [1.0, 2.0], struct.pack("<ff", 1, 2)),
    (ts.Array[float], {"item": ts.Float32, "length": 2, "as_numpy": True}, np.array([1, 2]), struct.pack("<ff", 1, 2)),
    (ts.Array[int], {"item": ts.Int16, "byte_order": "big"}, [1, 2], b"\0\2\0\1\0\2"),
    (ts.Array[State], {"item": ts.Enumerated[State], "storage": ts.UInt8, "rest": True}, [State.ON, 0], b"\1\0"),
    (ts.Array[Phase], {"item": Phase, "length": 1}, [Phase(volts=1.0)], struct.pack("<ff", 1, 0)),
    (ts.Nested[Phase], {}, Phase(volts=1.5, amps=2.0), struct.pack("<ff", 1.5, 2)),
    (ts.Nested[Named], {}, Named(name="ab", level=-1), b"\2\0ab\xff"),
    (ts.Nullable[int], {"item": ts.Int16}, 5, b"\1\5\0"),
    (ts.Nullable[int], {"item": ts.Int16}, None, b"\0\0\0"),
    (ts.Nullable[int], {"item": ts.Int16, "null": -1}, None, b"\xff\xff"),
    (ts.Nullable[float], {"item": ts.Float32, "null": float("nan")}, None, struct.pack("<f", float("nan"))),
    (ts.Nullable[str], {"item": ts.Text, "size": 3}, "x", b"\1x\0\0"),
    (ts.Nullable[str], {"item": ts.Text}, None, b"\0"),
    (ts.Packed[dict[str, int]], {}, {"a": 1}, b"\4\0" + msgspec.msgpack.encode({"a": 1})),
    (ts.Packed[list[int]], {"encoding": "json", "rest": True}, [1, 2], b"[1,2]"),
]


@pytest.mark.parametrize(("annotation", "options", "value", "data"), WRITTEN)
def test_encoded_bytes(annotation: Any, options: dict[str, Any], value: Any, data: bytes) -> None:
    made = model(annotation, **options)
    row = made(cid=1, mid=2, moid=3, cap=4, value=value)
    assert made.payload_type.to_bytes(row) == data
    back = made.payload_type.from_bytes(data).value
    if isinstance(value, np.ndarray):
        assert back.tolist() == value.tolist()
        assert back.dtype == np.dtype("<f4")
        assert not back.flags.writeable
    elif annotation is ts.Blob and "size" in options:
        assert back == value.ljust(options["size"], b"\0")
    else:
        assert back == value
    with connect("memory:") as session:
        session.add(row)
        session.flush()
        assert repr(made.query.one().value) == repr(back)


REFUSED: list[tuple[Any, dict[str, Any], Any, str]] = [
    (ts.Char, {}, "ab", "'ab' (str) is not a text of one character"),
    (ts.Char, {}, "€", "is not a text of one character"),
    (ts.Bits, {"bits": 3}, 8, "8 (int) is not an int from 0 to 7"),
    (ts.Bits, {"bits": 3}, True, "is not an int from 0 to 7"),
    (ts.UnixTime, {}, 1, "1 is not a whole number of s: round it first"),
    (ts.UnixTime, {"storage": ts.UInt8}, 0, "is not an int of ns since 2001"),
    (ts.DateTime, {}, dt.datetime(2026, 1, 1), "has no offset from UTC"),
    (ts.DateTime, {}, dt.date(2026, 1, 1), "is not an aware datetime"),
    (ts.DateTime, {}, dt.datetime(1, 1, 1, tzinfo=dt.timezone.utc), "is not an aware datetime from 1708 to 2293"),
    (ts.Duration, {"resolution": "ms"}, dt.timedelta(microseconds=1), "is not a whole number of ms"),
    (ts.Duration, {}, pd.Timedelta(1001), "1001 ns is not a whole number of microseconds"),
    (ts.DateTime, {}, pd.Timestamp("2026-01-01T00:00:00.000000007Z"), "has 7 ns, and a datetime holds microseconds"),
    (ts.Duration, {"resolution": "s", "storage": ts.UInt8}, dt.timedelta(hours=1), "is not a timedelta that UInt8 holds"),
    (ts.Date, {}, dt.datetime(2026, 1, 1), "is not a date (not a datetime)"),
    (ts.Scaled, {"digits": 2}, Decimal("1.005"), "has more than 2 decimal places"),
    (ts.Scaled, {"digits": 2}, 1.005, "has more than 2 decimal places"),
    (ts.Scaled, {"digits": 2, "storage": ts.Int8}, Decimal("1.28"), "from -1.28 to 1.27"),
    (ts.Scaled, {"digits": 2}, Decimal("NaN"), "is not a number"),
    (ts.Scaled, {"digits": 2}, "1.5", "is not a number"),
    (ts.Scaled, {"digits": 2}, True, "is not a number"),
    (ts.Scaled[float], {"digits": 2}, float("inf"), "is not a number"),
    (ts.Enumerated[State], {}, 2, "2 (int) is not a member of State"),
    (ts.Enumerated[State], {}, Side.LEFT, "is not a member of State"),
    (ts.Enumerated[State], {}, True, "is not a member of State"),
    (ts.Enumerated[State], {"unknown": "keep"}, 256, "is not a member of State or an int from 0 to 255"),
    (ts.Flags[Alarm], {}, 4, "is not a set of members of Alarm"),
    (ts.Text, {"size": 2}, "abc", "'abc' has 3 bytes in UTF-8, but the field holds at most 2"),
    (ts.Text, {"size": 4}, "a\0b", "has a NUL character"),
    (ts.Text, {}, "x" * 2**16, "65536 bytes are too many for a length in UInt16"),
    (ts.Text, {}, "\ud800", "a lone surrogate"),
    (ts.Text, {"size": 9}, "\ud800", "is not a text of at most 9 bytes"),
    (ts.Text, {}, b"x", "is not a text"),
    (ts.Blob, {"size": 2}, b"abc", "3 bytes are too many: the field holds at most 2"),
    (ts.Blob, {}, "x", "is not bytes"),
    (ts.Blob, {}, 5, "is not bytes"),
    (ts.Uuid, {}, str(IDENT), "is not a uuid.UUID"),
    (ts.IpAddress, {"version": 4}, ipaddress.ip_address("::1"), "is not an ipaddress.IPv4Address"),
    (ts.IpAddress, {}, ipaddress.ip_address("::ffff:1.2.3.4"), "would be read back as 1.2.3.4"),
    (ts.IpAddress, {}, ipaddress.ip_address("fe80::1%eth0"), "has a scope"),
    (ts.Array[float], {"item": ts.Float32, "length": 2}, [1.0], "1 items are given; the array has 2"),
    (ts.Array[float], {"item": ts.Float32}, [1.0, "x"], "value.1: 'x' (str) is not a float"),
    (ts.Array[bool], {"item": ts.Bool}, [True, 1], "value.1: 1 (int) is not True or False"),
    (ts.Array[float], {"item": ts.Float32}, "ab", "is not a list of items"),
    (ts.Array[int], {"item": ts.Int8, "prefix": ts.UInt8}, [0] * 256, "256 items are too many for a length in UInt8"),
    (ts.Nested[Phase], {}, (1, 2), "is not a Phase"),
    (ts.Nested[Phase], {}, Phase(volts=1e40), "value.volts: 1e+40 is too large for a Float32"),
    (ts.Nested[Named], {}, Named(name="", level=300), "value.level: 300 (int) is not an int"),
    (ts.Nullable[int], {"item": ts.Int16, "null": -1}, -1, "-1 is what stands for None"),
    (ts.Nullable[int], {"item": ts.Int16}, "x", "is not an int"),
    (ts.Packed[dict[str, int]], {}, {1: 2}, "cannot be stored as Packed[dict] msgpack"),
    (ts.Packed[Any], {}, object(), "cannot be stored as Packed"),
]


@pytest.mark.parametrize(("annotation", "options", "value", "wording"), REFUSED)
def test_invalid_value_is_refused(annotation: Any, options: dict[str, Any], value: Any, wording: str) -> None:
    made = model(annotation, **options)
    row = made(cid=1, mid=2, moid=3, cap=4, value=value)
    with pytest.raises(EncodeError) as caught:
        made.payload_type.to_bytes(row)
    assert wording in str(caught.value)
    with connect("memory:") as session:
        session.add(row)
        with pytest.raises(EncodeError, match=r"^record 0: Made\.value") as caught:
            session.flush()
        session.discard()
    assert wording in str(caught.value)
    assert (caught.value.record, caught.value.field) == (0, "value")


UNREADABLE: list[tuple[Any, dict[str, Any], bytes, int, str]] = [
    (ts.Bool, {}, b"\2", 0, "byte 2 is neither 0 nor 1"),
    (ts.DateTime, {}, struct.pack("<q", 1), 0, "use Timestamp"),
    (ts.Duration, {}, struct.pack("<q", 1), 0, "use Int64"),
    (ts.Duration, {"resolution": "s"}, struct.pack("<q", 2**62), 0, "outside the range of a timedelta"),
    (ts.Date, {}, struct.pack("<i", 2**31 - 1), 0, "outside the range of a date"),
    (ts.Scaled[float], {"digits": 2}, struct.pack("<q", 2**60), 0, "more digits than a float"),
    (ts.Enumerated[State], {}, b"\7", 0, '7 is not a value of State; field(unknown="keep")'),
    (ts.Flags[Alarm], {}, b"\5", 0, "0x5 has bits that Alarm does not name (0x4)"),
    (ts.Text, {"size": 4}, b"a\0b\0", 2, "bytes follow the NUL that ends the text"),
    (ts.Text, {"size": 4}, b"ab\xff\0", 2, "byte 0xff is not UTF-8"),
    (ts.Text, {}, b"\2\0\xc3\x28", 2, "byte 0xc3 is not UTF-8"),
    (ts.Text, {}, b"\5\0ab", 0, "the length says 5 bytes, but only 2 are left"),
    (ts.Text, {}, b"\1", 0, "the length takes 2 bytes, but only 1 are left"),
    (ts.Text, {}, b"\1\0ab", 3, "has 1 bytes after its last field"),
    (ts.Text, {"prefix": ts.UInt32}, b"\xff\xff\xff\xffab", 0, "the length says 4294967295 bytes, but only 2 are left"),
    (ts.Array[int], {"item": ts.Int16, "rest": True}, b"\1\0\2", 0, "3 bytes are not a whole number of items of 2"),
    (ts.Array[bool], {"item": ts.Bool, "length": 2}, b"\1\2", 1, "not a value of its type"),
    (ts.Array[State], {"item": ts.Enumerated[State]}, b"\2\0\1\x09", 3, "9 is not a value of State"),
    (ts.Nullable[int], {"item": ts.Int16}, b"\0\1\0", 1, "absent, but its bytes are not zero"),
    (ts.Nullable[int], {"item": ts.Int16}, b"\2\0\0", 0, "bits set that belong to no field"),
    (ts.Nested[Named], {}, b"\1\0a", 3, "Int8 takes 1 bytes, but only 0 are left"),
    (ts.Packed[dict[str, int]], {"rest": True}, b"\xc1", 0, "Packed[dict] msgpack"),
    (ts.Packed[list[int]], {"encoding": "json", "rest": True}, b"[1,", 0, "Packed[list] json"),
]


@pytest.mark.parametrize(("annotation", "options", "data", "offset", "wording"), UNREADABLE)
def test_invalid_bytes_are_refused(
    annotation: Any, options: dict[str, Any], data: bytes, offset: int, wording: str
) -> None:
    made = model(annotation, **options)
    key = Key(1, 2, 3, 4, 5)
    with pytest.raises(DecodeError) as caught:
        made.from_record(Record(key, data))
    assert wording in str(caught.value)
    assert caught.value.offset == offset
    assert caught.value.key == key
    assert made.payload_type.from_bytes(data) is None
    blobs = model(ts.Blob, rest=True)
    with connect("memory:") as session:
        session.add(blobs(cid=1, mid=2, moid=3, cap=4, value=data))
        session.flush()
        with pytest.raises(DecodeError) as caught:
            made.query.all()
        assert wording in str(caught.value)
        assert made.query.on_error("skip").all() == []


DECLARED: list[tuple[Any, dict[str, Any], str]] = [
    (ts.Int32, {"digits": 2}, "Int32 has no use for digits=2"),
    (ts.Int32, {"size": 4}, "Int32 has no use for size=4"),
    (ts.Enumerated, {}, "write Enumerated[State] with an Enum"),
    (ts.Enumerated[int], {}, "write Enumerated[State] with an Enum"),
    (ts.Enumerated[Alarm], {}, "Alarm is a Flag: write Flags[Alarm]"),
    (ts.Enumerated[State], {"storage": ts.Float32}, "storage=Float32 is not an integer type"),
    (ts.Enumerated[Side], {"storage": ts.UInt8}, "Side has the value -2, which UInt8 cannot hold"),
    (ts.Enumerated[Enum("Words", {"A": "a"})], {}, "Words has the value 'a'; only ints can be stored"),  # type: ignore[misc]
    (ts.Enumerated[Enum("Empty", {})], {}, "Empty has no members"),  # type: ignore[misc]
    (ts.Enumerated[State], {"unknown": "maybe"}, "unknown='maybe' is not"),
    (ts.Flags[State], {}, "write Flags[Alarm] with a Flag"),
    (ts.Scaled, {}, "it requires field(digits=2)"),
    (ts.Scaled, {"digits": -1}, "digits=-1 is not an int from 0 to 30"),
    (ts.Scaled[int], {"digits": 2}, "write Scaled or Scaled[float]"),
    (ts.Bits, {}, "it requires field(bits=3)"),
    (ts.Bits, {"bits": 9}, "bits=9 is not an int from 1 to 8, the bits of UInt8"),
    (ts.Bits, {"bits": 2, "storage": ts.Int8}, "storage=Int8 is not UInt8"),
    (ts.UnixTime, {"resolution": "min"}, "resolution='min' is not one of"),
    (ts.Text, {"size": 0}, "size=0 is not an int from 1"),
    (ts.Text, {"size": 4, "rest": True}, "Text has no use for rest=True"),
    (ts.Text, {"prefix": ts.Int16}, "prefix=Int16 is not UInt8"),
    (ts.Text, {"prefix": ts.UInt16, "rest": True}, "give prefix= or rest=True, not both"),
    (ts.IpAddress, {"version": 5}, "version=5 is not 4 or 6"),
    (ts.Array[float], {}, "it requires field(item=Float32)"),
    (ts.Array[float], {"item": float}, "item=<class 'float'> is not a field type"),
    (ts.Array[str], {"item": ts.Text}, "an item of an Array must have a fixed width, but Text does not"),
    (ts.Array[float], {"item": ts.Float32, "length": 0}, "length=0 is not an int from 1"),
    (ts.Array[float], {"item": ts.Float32, "length": 2, "rest": True}, "Array has no use for rest=True"),
    (ts.Array[int], {"item": ts.Bits, "bits": 2}, "an item of an Array cannot be Bits"),
    (ts.Nullable[int], {}, "it requires field(item=Float32)"),
    (ts.Nullable[int], {"item": ts.Int8, "null": 300}, "null=300: 300 (int) is not an int from -128"),
    (ts.Nullable[int], {"item": ts.Bits, "bits": 2}, "a Nullable cannot be Bits"),
    (ts.Nullable[str], {"item": ts.Text, "null": ""}, "a Nullable with null= must have a fixed width"),
    (ts.Nested[int], {}, "write Nested[Phase] with class Phase(TSStruct)"),  # type: ignore[type-var]
    (ts.Nested[TSModel], {}, "write Nested[Phase] with class Phase(TSStruct)"),
    (ts.Packed, {}, "write Packed[dict[str, str]]"),
    (ts.Packed[dict[str, str]], {"encoding": "xml"}, "encoding='xml' is not"),
    (ts.Enumerated[State], {"default": 7}, "the default 7 (int) is not a member of State"),
    (ts.Int32, {"default": 5, "ge": 6}, "the default 5 is not at least 6"),
    (ts.Text, {"rest": True, "default": 3}, "the default 3 (int) is not a text"),
]


@pytest.mark.parametrize(("annotation", "options", "wording"), DECLARED)
def test_invalid_declaration_is_refused(annotation: Any, options: dict[str, Any], wording: str) -> None:
    with pytest.raises(SchemaError) as caught:
        model(annotation, **options)
    assert str(caught.value).startswith("Made.value: ")
    assert wording in str(caught.value)
    assert (caught.value.model, caught.value.field) == ("Made", "value")


def test_field_after_rest_is_refused() -> None:
    with pytest.raises(SchemaError, match="level follows note, which takes the rest of the payload: make it"):

        class Made(TSModel):
            note: ts.Text = field(rest=True)
            level: ts.Int8


def test_variable_field_in_c_struct_is_refused() -> None:
    with pytest.raises(SchemaError, match="note has a variable length, which no C struct can hold"):

        class Made(TSModel, align="c"):
            note: ts.Text


def test_bit_fields_share_integers_while_they_fit() -> None:
    class Made(TSModel):
        a: ts.Bits = field(bits=3)
        b: ts.Bits = field(bits=5)
        c: ts.Bits = field(bits=4)
        d: ts.Bits = field(bits=4, storage=ts.UInt16)
        e: ts.Bits = field(bits=12, storage=ts.UInt16)

    assert Made.layout.size == 4
    row = Made(cid=1, mid=2, moid=3, cap=4, a=5, b=17, c=9, d=3, e=0xABC)
    assert Made.payload_type.to_bytes(row) == bytes([17 << 3 | 5, 9]) + struct.pack("<H", 0xABC << 4 | 3)
    with connect("memory:") as session:
        session.add(row)
        session.flush()
        assert Made.query.where(Made.e == 0xABC, Made.b > 16).one().c == 9


def test_padding_is_written_as_zeros_and_ignored_on_read() -> None:
    class Made(TSModel):
        a: ts.Int8
        _gap: ts.Padding = padding(2)
        b: ts.Int8
        tail: ts.Padding = padding(1)

    assert Made.layout.size == 5
    assert Made.struct_format == "<b2xb1x"
    assert not hasattr(Made(cid=1, mid=1, moid=1, cap=1, a=1, b=2), "tail")
    assert Made.payload_type.to_bytes(Made(cid=1, mid=1, moid=1, cap=1, a=1, b=2)) == b"\1\0\0\2\0"
    value = Made.payload_type.from_bytes(b"\1\xff\xff\2\xff")
    assert value is not None
    assert (value.a, value.b) == (1, 2)


def test_quarantined_payload_keeps_its_padding() -> None:
    class Made(TSModel):
        good: ts.Bool
        _gap: ts.Padding = padding(2)
        b: ts.Int8

    store = open_store(None)
    payloads = [b"\1\0\0\1", b"\2\7\7\1", b"\3\6\6\1"]
    store.append(batches([(1, at, 1, 1, payload) for at, payload in enumerate(payloads)]))
    with ts.Session(store) as session:
        query = session.query(Made).on_error("quarantine")
        assert [row.b for row in query.all()] == [1]
        assert [each.payload for each in query.stats.quarantined] == payloads[1:]


class Meter(TSModel, moid=7):
    site: ts.Cid
    meter: ts.Mid
    at: ts.Cap
    volts: ts.Float32


def test_renamed_key_components() -> None:
    row = Meter(site=1, meter=4, at=10, volts=1.5)
    assert (row.site, row.meter, row.at, row.moid) == (1, 4, 10, 7)
    assert (row.cid, row.mid, row.cap) == (1, 4, 10)
    assert row.key == Key(1, 4, 7, 10, -1)
    assert Meter.meter.name == Meter.mid.name == "meter"
    with connect("memory:") as session:
        session.add_all(Meter(site=1, meter=at, at=10, volts=at) for at in range(9))
        session.flush()
        assert Meter.query.where(Meter.meter == 4).one().volts == 4
        assert Meter.query.mid(4).one() == Meter.query.where(Meter.mid == 4).one()
        assert Meter.query.where(Meter.at < 10).count() == 0
        assert [box.min.mid for box in Meter.query.where(Meter.meter.is_in([2, 4])).key_ranges()] == [2, 4]
    with pytest.raises(TypeError, match="missing required argument 'meter'|Missing required argument 'meter'"):
        Meter(site=1, at=10, volts=1.0)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("body", "wording"),
    [
        ({"a": ts.Mid, "b": ts.Mid}, "Made.b: mid already has the name a"),
        ({"cid": ts.Mid}, "Made.cid: this is the name of another key component"),
        ({"query": ts.Mid}, "Made.query: models use this name themselves"),
        ({"_m": ts.Mid}, "names with a leading underscore are not fields"),
    ],
)
def test_invalid_key_component_names_are_refused(body: dict[str, Any], wording: str) -> None:
    with pytest.raises(SchemaError) as caught:
        type(TSModel)("Made", (TSModel,), {"__annotations__": body, "__module__": __name__})
    assert wording in str(caught.value)


def test_structure_has_no_key() -> None:
    assert Phase(volts=1.0) == Phase(volts=1.0, amps=0.0)
    assert Phase.layout.size == 8
    assert not hasattr(Phase, "query")
    with pytest.raises(SchemaError, match="a TSStruct has no key, so no cid"):
        type(TSStruct)("Made", (TSStruct,), {"__annotations__": {}, "__module__": __name__}, cid=1)


class Limited(TSModel):
    volts: ts.Float32 = field(ge=0, lt=500, default=1.0)
    count: ts.Int32 = field(gt=0, le=100, multiple_of=5, default=5)
    name: ts.Text = field(pattern=r"^[a-z]+$", min_length=1, max_length=3, default="a")
    when: ts.DateTime = field(ge=EPOCH, default=EPOCH)
    even: ts.Nullable[int] = field(item=ts.Int8, validate=lambda value: value % 2 == 0, default=None)


class FixedLimited(TSModel):
    volts: ts.Float32 = field(ge=0, le=500, default=1.0)
    count: ts.Int32 = field(gt=0, le=100, multiple_of=5, default=5)
    price: ts.Scaled = field(digits=2, lt=Decimal("9.995"), default=1)
    tenth: ts.Float64 = field(multiple_of=0.5, default=0.5)


VIOLATIONS = [
    (Limited, "volts", -0.5, "-0.5 is not at least 0"),
    (Limited, "volts", 500.0, "500.0 is not less than 500"),
    (Limited, "volts", float("nan"), "nan is not at least 0"),
    (Limited, "count", 0, "0 is not greater than 0"),
    (Limited, "count", 7, "7 is not a multiple of 5"),
    (Limited, "name", "", "'' has a length of 0; the minimum is 1"),
    (Limited, "name", "abcd", "'abcd' has a length of 4; the maximum is 3"),
    (Limited, "name", "A", "'A' does not match the pattern '^[a-z]+$'"),
    (Limited, "when", EPOCH - dt.timedelta(1), "is not at least"),
    (Limited, "even", 3, "3 is rejected by <lambda>"),
    (FixedLimited, "volts", -1.0, "-1.0 is not at least 0"),
    (FixedLimited, "volts", float("nan"), "nan is not at least 0"),
    (FixedLimited, "count", 105, "105 is not at most 100"),
    (FixedLimited, "count", 7, "7 is not a multiple of 5"),
    (FixedLimited, "price", Decimal(10), "is not less than"),
    (FixedLimited, "tenth", 0.3, "0.3 is not a multiple of 0.5"),
]


@pytest.mark.parametrize(("made", "name", "value", "wording"), VIOLATIONS)
def test_constraints_are_checked_on_write(made: Any, name: str, value: Any, wording: str) -> None:
    good = made(cid=1, mid=1, moid=1, cap=1)
    bad = made(cid=1, mid=2, moid=1, cap=1, **{name: value})
    with connect("memory:") as session:
        session.add_all([good, bad])
        with pytest.raises(EncodeError, match=rf"^record 1: {made.__name__}.{name}: ") as caught:
            session.flush()
        session.discard()
        assert wording in str(caught.value)
        session.add(good)
        session.flush()
        assert made.query.count() == 1
    with pytest.raises(EncodeError) as caught:
        made.payload_type.to_bytes(bad)
    assert wording in str(caught.value)


def test_strict_read_checks_constraints() -> None:
    class Loose(TSModel):
        count: ts.Int32

    class Tight(TSModel):
        count: ts.Int32 = field(ge=5)

    class Strict(TSModel, strict_read=True):
        count: ts.Int32 = field(ge=5)

    with connect("memory:") as session:
        session.add_all(Loose(cid=1, mid=at, moid=1, cap=1, count=at) for at in range(8))
        session.flush()
        assert Tight.query.count() == 8
        with pytest.raises(DecodeError, match=r"Strict.count, at byte 0: \d is not at least 5") as caught:
            Strict.query.all()
        assert caught.value.field == "count"
        assert sorted(row.mid for row in Strict.query.on_error("skip").all()) == [5, 6, 7]


def one_field(
    kind: Any, value: Any, options: dict[str, Any], others: dict[str, Any] | None = None, encoding: str = "struct"
) -> tuple[Any, Any]:
    """A strict_read model with field `v` and optionally `others`, and one object of it."""
    body = {"__annotations__": {"v": kind, **(others or {})}, "v": field(**options), "t": "", "__module__": __name__}
    if not others:
        del body["t"]
    made: Any = type(TSModel)("Bound", (TSModel,), body, strict_read=True, encoding=encoding)
    return made, made(cid=1, mid=1, moid=1, cap=1, v=value)


F32, F32_ABOVE = 231.6999969482422, 231.70001220703125
SINGLE = {"item": ts.Float32}
MET = [
    (ts.Float32, {"ge": 231.7}, 231.7, F32),
    (ts.Float32, {"ge": F32, "le": 231.7}, 231.7000001, F32),
    (ts.Float32, {"gt": 231.7}, F32_ABOVE, F32_ABOVE),
    (ts.Float32, {"lt": 1e39}, 3.4028234663852886e38, 3.4028234663852886e38),
    (ts.Float32, {"gt": 1e39}, math.inf, math.inf),
    (ts.Float32, {"ge": Decimal("231.69")}, 231.7, F32),
    (ts.Float32, {"multiple_of": 0.1}, 0.1, 0.10000000149011612),
    (ts.Float32, {"validate": lambda value: value == F32}, 231.7, F32),
    (ts.Float16, {"ge": 231.7, "le": 231.7}, 231.7, 231.75),
    (ts.Nullable[float], {**SINGLE, "ge": 231.7}, 231.7, F32),
    (ts.Nullable[float], {**SINGLE, "ge": 231.7}, None, None),
    (ts.Nullable[float], {**SINGLE, "ge": 231.7, "null": -1.0}, 231.7, F32),
    (ts.Array[float], {**SINGLE, "ge": [231.7]}, [231.7], [F32]),
    (ts.Array[float], {**SINGLE, "length": 1, "ge": [231.7]}, [231.7], [F32]),
    (ts.Array[float], {**SINGLE, "validate": lambda value: value == [F32]}, [231.7], [F32]),
    (ts.Nested[Phase], {"validate": lambda value: value.volts == F32}, Phase(volts=231.7), Phase(volts=F32)),
    (ts.Scaled, {"digits": 2, "ge": 0.1, "le": 0.1}, Decimal("0.10"), Decimal("0.1")),
    (ts.Scaled[float], {"digits": 2, "ge": Decimal("0.1"), "le": Decimal("0.1")}, 0.1, 0.1),
    (ts.Scaled, {"digits": 2, "multiple_of": 0.05}, Decimal("0.15"), Decimal("0.15")),
    (ts.Timestamp, {"ge": "2020-01-01T00:00:00Z"}, 10**18, 10**18),
]
BROKEN = [
    (ts.Float32, {"gt": 231.7}, 231.7, "231.7 is not greater than 231.7"),
    (ts.Float32, {"lt": 231.7}, 231.6999999, "231.6999999 is not less than 231.7, as a Float32"),
    (ts.Float32, {"ge": 2**60 + 1}, 2.0**60, "is not at least"),
    (ts.Float32, {"lt": 1e39}, math.inf, "inf is not less than"),
    (ts.Float32, {"gt": -math.inf}, -math.inf, "-inf is not greater"),
    (ts.Float32, {"gt": math.inf}, math.inf, "inf is not greater"),
    (ts.Float16, {"ge": 231.7}, 231.6, "231.6 is not at least 231.7"),
    (ts.Array[float], {**SINGLE, "gt": [231.7]}, [231.7], "is not greater than"),
    (ts.Nullable[float], {**SINGLE, "gt": 231.7}, 231.7, "is not greater than"),
    (ts.Float32, {"validate": lambda value: value >= 231.7}, 231.7, "231.6999969482422 is rejected"),
]


@pytest.mark.parametrize("beside", [False, True], ids=["fixed", "with a text"])
@pytest.mark.parametrize(("kind", "options", "value", "as_read"), MET)
def test_bounds_met_on_write_are_met_on_read(
    kind: Any, options: dict[str, Any], value: Any, as_read: Any, beside: bool
) -> None:
    made, row = one_field(kind, value, options, {"t": ts.Text} if beside else None)
    with connect("memory:") as session:
        session.add(row)
        session.flush()
        assert [each.v for each in made.query.all()] == [as_read]
    payload = made.payload_type.to_bytes(row)
    assert made.payload_type.from_bytes(payload).v == as_read
    assert made.from_dict({**row.to_dict(), "acq": 1}).v == value


@pytest.mark.parametrize(("kind", "options", "value", "wording"), BROKEN)
def test_bounds_are_compared_in_field_width(kind: Any, options: dict[str, Any], value: Any, wording: str) -> None:
    for encoding in ("struct", "msgpack"):
        made, row = one_field(kind, value, options, encoding=encoding)
        with connect("memory:") as session:
            session.add(row)
            with pytest.raises(EncodeError) as caught:
                session.flush()
            session.discard()
        assert wording in str(caught.value)
        with pytest.raises(EncodeError) as caught:
            made.payload_type.to_bytes(row)
        assert wording in str(caught.value)


def test_bounds_apply_to_columns() -> None:
    made, _ = one_field(ts.Float32, 231.7, {"ge": 231.7, "lt": 240})
    with connect("memory:") as session:
        session.add_columns(made, cid=1, mid=1, moid=1, cap=[1, 2], v=np.array([231.7, 231.8]))
        session.flush()
        assert made.query.count() == 2
        with pytest.raises(EncodeError, match="row 1: "):
            session.add_columns(made, cid=1, mid=1, moid=1, cap=[1, 2], v=np.array([231.7, 231.69]))


@pytest.mark.parametrize(
    ("kind", "options", "wording"),
    [
        (ts.Int32, {"ge": "x"}, "'x'"),
        (ts.Int32, {"le": math.nan}, "nan"),
        (ts.Array[float], {**SINGLE, "ge": 231.7}, "231.7"),
        (ts.Int32, {"multiple_of": 0}, "multiple of 0"),
    ],
)
def test_invalid_bound_is_refused_at_class_creation(kind: Any, options: dict[str, Any], wording: str) -> None:
    with pytest.raises(SchemaError, match="^Bound.v: ") as caught:
        one_field(kind, None, options)
    assert wording in str(caught.value)


def test_validator_message_is_shown() -> None:
    def checked(value: int) -> None:
        if value > 3:
            raise ValueError("too many")

    made = model(ts.Int8, validate=checked)
    with pytest.raises(EncodeError, match="5 is rejected by checked: too many"):
        made.payload_type.to_bytes(made(cid=1, mid=1, moid=1, cap=1, value=5))


CALLS: list[str] = []


class Counted(TSModel):
    value: ts.Int8

    def __post_init__(self) -> None:
        CALLS.append("constructed")

    @property
    def doubled(self) -> int:
        return self.value * 2


class Always(TSModel, post_init_on_read=True):
    value: ts.Int8

    def __post_init__(self) -> None:
        CALLS.append("made")


@pytest.mark.parametrize(("made", "on_read"), [(Counted, 0), (Always, 3)])
def test_post_init_runs_on_read_only_with_option(made: Any, on_read: int) -> None:
    with connect("memory:") as session:
        CALLS.clear()
        session.add_all(made(cid=1, mid=at, moid=1, cap=1, value=at) for at in range(3))
        assert len(CALLS) == 3
        session.flush()
        CALLS.clear()
        rows = made.query.all()
        assert len(CALLS) == on_read
        assert sorted(row.value for row in rows) == [0, 1, 2]
    if made is Counted:
        assert {row.doubled for row in rows} == {0, 2, 4}
    assert type(rows[0]) is made


def test_post_init_of_abstract_base_and_mixin() -> None:
    class Base(TSModel, abstract=True):
        value: ts.Int8

        def __post_init__(self) -> None:
            CALLS.append("base")

    class Mixin:
        __slots__ = ()

        def __post_init__(self) -> None:
            CALLS.append("mixin")

    class One(Base):
        more: ts.Int8 = field(default=0)

    class Two(Mixin, TSModel):
        value: ts.Int8

    CALLS.clear()
    One(cid=1, mid=1, moid=1, cap=1, value=1)
    Two(cid=1, mid=1, moid=1, cap=1, value=1)
    assert CALLS == ["base", "mixin"]
    CALLS.clear()
    assert One.payload_type.from_bytes(b"\1\2") is not None
    assert Two.payload_type.from_bytes(b"\1") is not None
    assert CALLS == []


def test_frozen_objects() -> None:
    class Frozen(TSModel, frozen=True):
        value: ts.Int8

    row = Frozen(cid=1, mid=1, moid=1, cap=1, value=1)
    with pytest.raises(AttributeError):
        row.value = 2
    assert len({row, Frozen(cid=1, mid=1, moid=1, cap=1, value=1)}) == 1
    with connect("memory:") as session:
        session.add(row)
        session.flush()
        assert Frozen.query.one().value == 1


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_message_encodings(encoding: Any) -> None:
    class Message(TSModel, encoding=encoding):
        count: ts.Int8
        when: ts.DateTime
        state: ts.Enumerated[State] = field(default=State.ON)
        note: ts.Nullable[str] = field(item=ts.Text, default=None)
        phase: ts.Nested[Phase] = field(default=Phase(volts=1.0))
        tags: ts.Packed[dict[str, int]] = field(default_factory=dict)

    row = Message(cid=1, mid=2, moid=3, cap=4, count=5, when=NOON, tags={"a": 1})
    data = Message.payload_type.to_bytes(row)
    plain = getattr(msgspec, encoding).decode(data)
    assert plain["count"] == 5
    assert plain["state"] == 1
    with connect("memory:") as session:
        session.add(row)
        session.flush()
        back = Message.query.where(Message.count == 5, Message.when == NOON, Message.note == None).one()  # noqa: E711
        assert back.phase == Phase(volts=1.0)
        assert (back.when, back.tags, back.state) == (NOON, {"a": 1}, State.ON)
    encode = getattr(msgspec, encoding).encode
    older = Message.payload_type.from_bytes(encode({"count": 1, "when": NOON, "gone": 3}))
    assert older is not None
    assert (older.count, older.note, older.state) == (1, None, State.ON)
    with pytest.raises(DecodeError, match="Message.*count"):
        Message.from_record(Record(Key(1, 2, 3, 4, 5), encode({"count": 300, "when": NOON})))
    with pytest.raises(DecodeError, match="it is not a .* message with these fields"):
        Message.from_record(Record(Key(1, 2, 3, 4, 5), encode({"when": NOON})))
    with connect("memory:") as session:
        session.add(Message(cid=1, mid=2, moid=3, cap=4, count=300, when=NOON))
        with pytest.raises(EncodeError, match=r"record 0: Message.count: 300"):
            session.flush()
        session.discard()
    assert "a map, as" in str(Message.layout)
    with pytest.raises(SchemaError, match="variable size has no dtype"):
        _ = Message.dtype


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("kind", "value", "options"),
    [
        (ts.Float64, Decimal("1.5"), {}),
        (ts.Float32, np.float32(1.5), {}),
        (ts.Int32, True, {}),
        (ts.Bool, np.bool_(True), {}),
        (ts.Array[float], [1.0, Decimal("2.5")], {"item": ts.Float32}),
    ],
)
def test_message_refuses_values_that_change_type(kind: Any, value: Any, options: dict[str, Any], encoding: Any) -> None:
    """msgspec would write a Decimal as text and True as a bool, which a reader then refuses."""
    made, row = one_field(kind, value, options, encoding=encoding)
    with pytest.raises(EncodeError, match=r"v: .* cannot be stored in a message: give "):
        made.payload_type.to_bytes(row)
    with connect("memory:") as session:
        session.add(row)
        with pytest.raises(EncodeError, match=r"record 0: \w+.v: .* cannot be stored in a message: give "):
            session.flush()
        session.discard()


BEYOND = Decimal("1E+400")


@pytest.mark.parametrize(
    ("kind", "value", "options"),
    [
        (ts.Float16, BEYOND, {}),
        (ts.Float32, BEYOND, {"byte_order": "big"}),
        (ts.Float64, -BEYOND, {}),
        (ts.Nullable[float], BEYOND, {"item": ts.Float32}),
        (ts.Nullable[float], BEYOND, {"item": ts.Float32, "null": -1.0}),
        (ts.Nullable[float], 1e300, {"item": ts.Float32, "null": -1.0}),
        (ts.Nullable[float], 10**400, {"item": ts.Float64, "null": -1.0}),
        (ts.Array[float], [1.0, BEYOND], {"item": ts.Float64}),
        (ts.Array[float], [1.0, BEYOND], {"item": ts.Float64, "length": 2}),
        (ts.Nested[Phase], Phase(volts=BEYOND), {}),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("beside", [None, {"t": ts.Text}], ids=["fixed", "with a text"])
def test_number_too_large_for_float_is_refused(
    kind: Any, value: Any, options: dict[str, Any], beside: dict[str, Any] | None
) -> None:
    """`struct` alone would store it as infinity."""
    made, row = one_field(kind, value, options, beside)
    with pytest.raises(EncodeError, match="is too large for a Float"):
        made.payload_type.to_bytes(row)
    with connect("memory:") as session:
        session.add(row)
        with pytest.raises(EncodeError, match="record 0: .*is too large for a Float"):
            session.flush()
        session.discard()
        column = np.empty(1, object)
        column[0] = value
        given = {"t": ["x"]} if beside else {}
        with pytest.raises(EncodeError, match="row 0: .*is too large for a Float"):
            session.add_columns(made, cid=1, mid=1, moid=1, cap=[1], v=column, **given)


def test_too_large_number_among_infinities_is_located() -> None:
    made, _ = one_field(ts.Float64, 1.0, {})
    values = [1.0, math.inf, Decimal("-Infinity"), *[2.0] * 600, BEYOND]
    with connect("memory:") as session:
        session.add_all([made(cid=1, mid=1, moid=1, cap=at, v=value) for at, value in enumerate(values[:-1])])
        session.flush()
        assert [each.v for each in made.query.all()] == [1.0, math.inf, -math.inf, *[2.0] * 600]
        session.add_all([made(cid=1, mid=1, moid=1, cap=at, v=value) for at, value in enumerate(values)])
        with pytest.raises(EncodeError, match=r"record 603: \w+.v: Decimal\('1E\+400'\) is too large for a Float64"):
            session.flush()
        session.discard()


def test_bits_in_message_are_refused() -> None:
    with pytest.raises(SchemaError, match="value cannot be stored in a message"):

        class Made(TSModel, encoding="json"):
            value: ts.Bits = field(bits=3)


class Addressed(TSStruct):
    at: ts.IpAddress


class Sampled(TSStruct):
    samples: ts.Array[float] = field(item=ts.Float32, as_numpy=True)


class Kept(TSStruct):
    states: ts.Array[State] = field(item=ts.Enumerated[State], unknown="keep")


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("annotation", "options", "why"),
    [
        (ts.IpAddress, {}, "msgspec does not encode IpAddress"),
        (ts.Nullable[object], {"item": ts.IpAddress}, "msgspec does not encode IpAddress"),
        (ts.Array[object], {"item": ts.IpAddress, "version": 4}, "msgspec does not encode IpAddress v4"),
        (ts.Nested[Addressed], {}, "msgspec does not encode IpAddress"),
        (ts.Array[Addressed], {"item": Addressed}, "msgspec does not encode IpAddress"),
        (ts.Array[float], {"item": ts.Float32, "as_numpy": True}, "msgspec does not encode ndarray"),
        (ts.Nested[Sampled], {}, "msgspec does not encode ndarray"),
        (ts.Enumerated[State], {"unknown": "keep"}, "more than one int-like type"),
        (ts.Nested[Kept], {}, "more than one int-like type"),
    ],
)
def test_unsupported_message_fields_are_refused(encoding: Any, annotation: Any, options: dict[str, Any], why: str) -> None:
    body = {"__annotations__": {"value": annotation}, "__module__": __name__, "value": field(**options)}
    with pytest.raises(SchemaError, match=f"class Made: value cannot be stored in a message: .*{why}"):
        type(TSModel)("Made", (TSModel,), body, encoding=encoding)


class Own:
    pass


def test_packed_of_unsupported_class_is_refused() -> None:
    with pytest.raises(SchemaError, match="msgspec does not support .*Own.*: msgspec does not encode Own"):

        class Made(TSModel):
            value: ts.Packed[dict[str, list[Own]]]


class Measured(TSStruct):
    volts: ts.Float64
    ratio: ts.Nullable[float] = field(item=ts.Float64, default=None)


class Measurement(TSModel, encoding="json"):
    x: ts.Float64 = field(default=1.0)
    n: ts.Nullable[float] = field(item=ts.Float64, default=None)
    xs: ts.Array[float] = field(item=ts.Float64, default_factory=list)
    one: ts.Nested[Measured] = field(default=Measured(volts=1.0))
    many: ts.Array[Measured] = field(item=Measured, default_factory=list)
    loose: ts.Packed[Any] = field(default_factory=dict)
    keyed: ts.Packed[dict[float, int]] = field(default_factory=dict)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "path", "wrap"),
    [
        ("x", "x", float),
        ("n", "n", float),
        ("xs", "xs.1", lambda number: [1.0, number]),
        ("one", "one.volts", lambda number: Measured(volts=number)),
        ("one", "one.ratio", lambda number: Measured(volts=1.0, ratio=number)),
        ("many", "many.0.ratio", lambda number: [Measured(volts=1.0, ratio=number)]),
        ("loose", "loose.a.1", lambda number: {"a": [None, number]}),
        ("keyed", "keyed", lambda number: {number: 1}),
    ],
)
def test_non_finite_floats_in_json_message_are_refused(name: str, path: str, wrap: Any, number: float) -> None:
    key = {"cid": 1, "mid": 1, "moid": 1, "cap": 1}
    bad = Measurement(**key, **{name: wrap(number)})
    why = f"Measurement.{re.escape(path)}.*{number!r} cannot be stored as JSON"
    with connect("memory:") as session:
        session.add_all([Measurement(**key), bad])
        with pytest.raises(EncodeError, match=f"record 1: {why}") as caught:
            session.flush()
        assert (caught.value.record, caught.value.field) == (1, name)
        session.discard()
        column = np.empty(2, object)
        column[:] = [getattr(Measurement(**key), name), wrap(number)]
        with pytest.raises(EncodeError, match=f"row 1: {why}"):
            session.add_columns(Measurement, **key, **{name: column})
    with pytest.raises(EncodeError, match=why):
        Measurement.payload_type.to_bytes(bad)
    data = {each: getattr(bad, each) for each in ("cid", "mid", "moid", "cap", name)}
    with pytest.raises(ConversionError, match="cannot be stored as JSON"):
        Measurement.from_dict(data)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_non_finite_floats_in_packed_json_are_refused(number: float) -> None:
    class Loose(TSModel):
        value: ts.Packed[Any] = field(encoding="json")

    with connect("memory:") as session:
        session.add(Loose(cid=1, mid=1, moid=1, cap=1, value={"a": [None, number]}))
        with pytest.raises(EncodeError, match=rf"record 0: Loose.value.a.1: {number!r} cannot be stored as JSON"):
            session.flush()
        session.discard()
        session.add(Loose(cid=1, mid=1, moid=1, cap=1, value={"a": [None, 1.5], "nan": "inf"}))
        session.flush()
        assert session.query(Loose).one().value == {"a": [None, 1.5], "nan": "inf"}


def test_non_finite_json_default_is_refused() -> None:
    with pytest.raises(SchemaError, match="Made.value: the default nan cannot be stored as JSON"):

        class Made(TSModel, encoding="json"):
            value: ts.Float64 = field(default=math.nan)


def test_mixed_byte_orders() -> None:
    class Mixed(TSModel, byte_order="big"):
        a: ts.Int16
        b: ts.Int16 = field(byte_order="little")
        c: ts.Array[int] = field(item=ts.Int16, length=2, byte_order="little")

    row = Mixed(cid=1, mid=1, moid=1, cap=1, a=1, b=2, c=[3, 4])
    assert Mixed.payload_type.to_bytes(row) == b"\0\1\2\0\3\0\4\0"
    with pytest.raises(SchemaError, match="fields of both byte orders have no struct format"):
        _ = Mixed.struct_format
    assert Mixed.dtype["a"] == np.dtype(">i2")
    with connect("memory:") as session:
        session.add(row)
        session.flush()
        assert Mixed.query.where(Mixed.a == 1, Mixed.b == 2).one().c == [3, 4]


def test_mutable_defaults_are_copied() -> None:
    class Made(TSModel):
        xs: ts.Array[int] = field(item=ts.Int8, default=[1, 2])
        phase: ts.Nested[Phase] = field(default=Phase(volts=1.0))

    first, second = (Made(cid=1, mid=1, moid=1, cap=1) for _ in range(2))
    first.xs.append(3)
    first.phase.volts = 9.0
    assert second.xs == [1, 2]
    assert second.phase.volts == 1.0


@pytest.mark.parametrize(
    ("annotation", "options", "value", "wording"),
    [
        (ts.Nested[Phase], {}, Phase(volts=1.0), "cannot be ordered"),
        (ts.Array[int], {"item": ts.Int8}, [1], "cannot be ordered"),
        (ts.Packed[dict[str, int]], {}, {}, "cannot be ordered"),
        (ts.Enumerated[State], {}, "ON", "cannot be compared with 'ON'; give a member of State"),
        (ts.DateTime, {}, "soon", "a time:"),
        (ts.DateTime, {}, 1.5, "cannot be compared with 1.5"),
        (ts.Duration, {}, "long", "a timedelta"),
        (ts.Date, {}, "soon", "give a date"),
        (ts.Scaled, {"digits": 2}, "x", "give a number"),
        (ts.Text, {}, 3, "cannot be compared with 3"),
        (ts.Uuid, {}, "x", "cannot be compared with 'x'"),
    ],
)
def test_meaningless_comparisons_are_refused(annotation: Any, options: dict[str, Any], value: Any, wording: str) -> None:
    with pytest.raises(QueryError, match=r"^Made\.value") as caught:
        _ = model(annotation, **options).value < value
    assert wording in str(caught.value)


def test_comparing_numpy_array_field_is_refused() -> None:
    made = model(ts.Array[int], item=ts.Int8, as_numpy=True)
    with pytest.raises(QueryError, match="cannot be compared"):
        _ = made.value == [1]


def test_layout_table_shows_every_byte() -> None:
    class Phase(TSStruct, align="c"):
        volts: ts.Float64

    class Aligned(TSModel, align="c"):
        kind: ts.UInt8
        count: ts.Int32
        low: ts.Bits = field(bits=3)
        high: ts.Bits = field(bits=3)
        phase: ts.Nested[Phase]
        last: ts.UInt8

    assert str(Aligned.layout) == (
        "offset  size  type                  field\n"
        "     0     1  UInt8                 kind\n"
        "     1     3  padding\n"
        "     4     4  Int32                 count\n"
        "     8     1  Bits 0 to 2 of UInt8  low\n"
        "     8     1  Bits 3 to 5 of UInt8  high\n"
        "     9     7  padding\n"
        "    16     8  Nested[Phase]         phase\n"
        "    24     1  UInt8                 last\n"
        "    25     7  padding\n"
        "32 bytes, little-endian, aligned as in C"
    )

    class Loose(TSModel):
        name: ts.Text
        gap: ts.Padding = padding(2)
        last: ts.UInt8
        end: ts.Padding = padding(4)

    assert str(Loose.layout) == (
        "offset  size  type                field\n"
        "     0     …  Text behind UInt16  name\n"
        "     …     2  padding\n"
        "     …     1  UInt8               last\n"
        "     …     4  padding\n"
        "variable size, little-endian, packed"
    )


def test_errors_after_variable_field_have_exact_offset() -> None:
    """Covers shared bit-field integers, gaps and trailing padding on the slow path that locates a fault."""

    class Loose(TSModel):
        name: ts.Text
        low: ts.Bits = field(bits=4)
        high: ts.Bits = field(bits=1)
        gap: ts.Padding = padding(2)
        last: ts.Bool
        end: ts.Padding = padding(3)

    payload = codec_of(Loose).payload_of(Loose(cid=1, mid=1, moid=1, cap=1, name="ab", low=9, high=1, last=True))
    assert payload == b"\x02\0ab\x19\0\0\x01\0\0\0"
    assert codec_of(Loose).layout.read(payload) == ("ab", 9, 1, True)
    key = Key(1, 1, 1, 1, 1)
    for damaged, offset in (
        (payload[:7] + b"\x02" + payload[8:], 7),
        (payload[:-1], 10),
        (payload + b"\0", 11),
        (payload[:4] + b"\0" + payload[4:], 11),
    ):
        with pytest.raises(DecodeError) as caught:
            Loose.from_record(Record(key, damaged))
        assert caught.value.offset == offset


@pytest.mark.parametrize("holder", ["fixed", "variable", "nested", "nested in a message"])
@pytest.mark.parametrize(
    ("item", "options", "null", "equal"),
    [
        (ts.Float64, {}, -999.0, -999),
        (ts.Float32, {}, 231.7, float(np.float32(231.7))),
        (ts.Float32, {}, 0.0, -0.0),
        (ts.Float16, {}, math.nan, math.nan),
        (ts.Int32, {"byte_order": "big"}, -1, -1),
        (ts.Bool, {}, False, False),
        (ts.Scaled, {"digits": 2}, Decimal("9.99"), Decimal("9.990")),
        (ts.Date, {}, dt.date(2001, 1, 1), dt.date(2001, 1, 1)),
        (ts.Text, {"size": 3}, "", ""),
        (ts.Blob, {"size": 2}, b"\0\0", b"\0"),
        (ts.Uuid, {}, uuid.UUID(int=0), uuid.UUID(int=0)),
        (ts.Enumerated[State], {}, State.OFF, State.OFF),
    ],
)
def test_sentinel_value_is_refused(holder: str, item: Any, options: Any, null: Any, equal: Any) -> None:
    annotations: dict[str, Any] = {"value": ts.Nullable[object]}
    body = {"__annotations__": annotations, "__module__": __name__, "value": field(item=item, null=null, **options)}
    base: Any = TSModel if holder in ("fixed", "variable") else TSStruct
    if holder == "variable":
        annotations["text"], body["text"] = ts.Text, field(default="")
    made: Any = type(base)("Made", (base,), body)
    model, wrap, path = made, lambda value: {"value": value}, "value"
    if base is TSStruct:
        outer = {"__annotations__": {"inner": ts.Nested[made]}, "__module__": __name__}
        encoding = "msgpack" if holder == "nested in a message" else "struct"
        model = type(TSModel)("Outer", (TSModel,), outer, encoding=encoding)
        wrap, path = lambda value: {"inner": made(value=value)}, "inner.value"
    why = f"{path}: .* is what stands for None; give None"
    key = {"cid": 1, "mid": 1, "moid": 1, "cap": 1}
    with pytest.raises(EncodeError, match=why):
        model.payload_type.to_bytes(model(**key, **wrap(equal)))
    with connect("memory:") as session:
        session.add_all([model(**key, **wrap(None)), model(**key, **wrap(equal))])
        with pytest.raises(EncodeError, match=f"record 1: .*{why}"):
            session.flush()
        session.discard()
        with pytest.raises(EncodeError, match=f"row 1: .*{why}"):
            session.add_columns(model, **key, **{name: [wrap(None)[name], value] for name, value in wrap(equal).items()})
        with pytest.raises(ConversionError, match=why):
            model.from_dict({**key, **wrap(equal)})
