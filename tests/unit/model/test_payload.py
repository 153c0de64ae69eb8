"""Models as payload types and as client records, and how a payload that does not fit reads."""

from __future__ import annotations

import datetime as dt
import struct
from typing import Any

import msgspec
import numpy as np
import pytest

from tsmodel import (
    Acq,
    Array,
    Bool,
    Cap,
    Float16,
    Float32,
    Float64,
    Int16,
    Int32,
    Nullable,
    Packed,
    Text,
    Timestamp,
    TSModel,
    TSStruct,
    UInt64,
    connect,
    field,
    to_ns,
)
from tsmodel.client.payload_type import PayloadType
from tsmodel.client.record import Key, Record
from tsmodel.errors import DecodeError, EncodeError, SchemaError
from tsmodel.model.model import hexdump


class Reading(TSModel):
    counter: Int32
    volts: Float32
    valid: Bool


class Other(TSModel):
    counter: Int32


KEY = Key(1, 2, 3, 4, 5)
PAYLOAD = struct.pack("<if?", 7, 1.5, True)
ROW = Reading(cid=1, mid=2, moid=3, cap=4, acq=5, counter=7, volts=1.5, valid=True)


def test_payload_type() -> None:
    payload_type = Reading.payload_type
    assert isinstance(payload_type, PayloadType)
    assert payload_type.to_bytes(ROW) == PAYLOAD
    for buffer in (PAYLOAD, memoryview(PAYLOAD)):
        row = payload_type.from_bytes(buffer)  # type: ignore[arg-type]
        assert row is not None
        assert row.key == Key()
        assert (row.counter, row.volts, row.valid) == (7, 1.5, True)


@pytest.mark.parametrize("buffer", [b"", PAYLOAD[:-1], PAYLOAD + b"!"])
def test_bytes_that_do_not_fit(buffer: bytes) -> None:
    assert Reading.payload_type.from_bytes(buffer) is None


def test_a_value_that_does_not_fit() -> None:
    broken = Reading(cid=1, mid=2, moid=3, cap=4, counter=2**31, volts=1.5, valid=True)
    with pytest.raises(EncodeError, match=r"Reading.counter: 2147483648 \(int\) is not an int") as caught:
        Reading.payload_type.to_bytes(broken)
    assert (caught.value.field, caught.value.value) == ("counter", 2**31)


def test_to_and_from_record() -> None:
    record = ROW.to_record()
    assert (record.key, record.value) == (KEY, ROW)
    assert Reading.from_record(record) == ROW
    assert Reading.from_record(Record(KEY, PAYLOAD)) == ROW
    keyless = Reading.payload_type.from_bytes(PAYLOAD)
    assert keyless is not None
    assert Reading.from_record(Record(KEY, keyless)) == ROW
    assert keyless.key == Key()


def test_a_record_whose_payload_does_not_fit() -> None:
    payload = bytes(range(60, 80))
    with pytest.raises(DecodeError) as caught:
        Reading.from_record(Record(KEY, payload))
    assert str(caught.value) == (
        "the payload of record cid 1, mid 2, moid 3, cap 4, acq 5 has 20 bytes; Reading takes 9\n"
        "  0000  3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b  <=>?@ABCDEFGHIJK\n"
        "  0010  4c 4d 4e 4f                                      LMNO"
    )
    assert (caught.value.key, caught.value.payload, caught.value.offset) == (KEY, payload, 9)


def test_a_long_payload_is_shown_in_part() -> None:
    with pytest.raises(DecodeError, match="… 872 more bytes"):
        Reading.from_record(Record(KEY, bytes(1000)))


def test_a_record_of_another_model() -> None:
    with pytest.raises(DecodeError, match="holds Other; expected bytes or Reading") as caught:
        Reading.from_record(Record(KEY, Other(cid=1, mid=2, moid=3, cap=4, counter=1)))  # type: ignore[arg-type]
    assert caught.value.key == KEY


def test_the_layout() -> None:
    assert str(Reading.layout).splitlines()[-1] == "9 bytes, little-endian, packed"
    assert Reading.struct_format == "<if?"
    assert Reading.dtype.itemsize == 9
    assert ROW.layout == Reading.layout


class Wide(TSModel, byte_order="big"):
    code: Int16
    level: Float64
    total: UInt64


WIDE = Wide(cid=1, mid=2, moid=3, cap=4, acq=5, code=-2, level=0.25, total=2**64 - 1)


def test_a_big_endian_payload() -> None:
    payload = struct.pack(">hdQ", -2, 0.25, 2**64 - 1)
    assert Wide.payload_type.to_bytes(WIDE) == payload
    back = Wide.payload_type.from_bytes(payload)
    assert back is not None
    assert (back.code, back.level, back.total) == (-2, 0.25, 2**64 - 1)
    assert Wide.from_record(Record(KEY, payload)) == WIDE


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind(kind: Any) -> None:
    row = Reading.payload_type.from_bytes(kind(PAYLOAD))
    assert row is not None
    assert row.counter == 7
    assert Reading.from_record(Record(KEY, kind(PAYLOAD))) == ROW
    with pytest.raises(DecodeError) as caught:
        Reading.from_record(Record(KEY, kind(b"abc")))
    assert caught.value.payload == b"abc"


def test_an_object_read_from_a_buffer_does_not_change_with_it() -> None:
    buffer = bytearray(PAYLOAD)
    row = Reading.payload_type.from_bytes(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert row is not None
    assert (row.counter, row.volts, row.valid) == (7, 1.5, True)


def test_floats_are_kept_to_the_bit() -> None:
    class Levels(TSModel):
        single: Float32
        double: Float64

    for text in ("nan", "inf", "-inf", "-0.0", "5e-324", "1e-45"):
        row = Levels(cid=1, mid=2, moid=3, cap=4, single=float(text), double=float(text))
        payload = Levels.payload_type.to_bytes(row)
        assert payload == struct.pack("<fd", float(text), float(text))
        back = Levels.payload_type.from_bytes(payload)
        assert back is not None
        assert struct.pack("<fd", back.single, back.double) == payload


def test_a_model_without_fields_has_an_empty_payload() -> None:
    class Mark(TSModel):
        pass

    mark = Mark(cid=1, mid=2, moid=3, cap=4, acq=5)
    assert Mark.payload_type.to_bytes(mark) == b""
    assert Mark.payload_type.from_bytes(b"") is not None
    assert Mark.payload_type.from_bytes(b"x") is None
    assert Mark.from_record(Record(KEY, b"")) == mark


def test_a_fixed_component_does_not_hide_what_a_record_says() -> None:
    class Event(TSModel, moid=7):
        code: Int16

    keyless = Event.payload_type.from_bytes(b"\5\0")
    assert keyless is not None
    assert keyless.key == Key()
    assert Event.from_record(Record(KEY, b"\5\0")).key == KEY


@pytest.mark.parametrize("length", [0, 1, 8, 10, 200])
def test_the_error_for_a_payload_of_another_size(length: int) -> None:
    payload = bytes(range(48, 48 + length))
    with pytest.raises(DecodeError) as caught:
        Reading.from_record(Record(KEY, payload))
    first, *dump = str(caught.value).splitlines()
    assert first == f"the payload of record cid 1, mid 2, moid 3, cap 4, acq 5 has {length} bytes; Reading takes 9"
    assert dump == hexdump(payload).splitlines()
    assert (caught.value.key, caught.value.payload, caught.value.offset) == (KEY, payload, min(length, 9))


@pytest.mark.parametrize("value", [None, 5, "text", (7, 1.5, True)])
def test_a_record_of_something_else(value: Any) -> None:
    with pytest.raises(DecodeError, match=rf"a record of Reading holds {type(value).__name__}; expected bytes or Reading"):
        Reading.from_record(Record(KEY, value))


def test_a_record_holds_the_object_itself() -> None:
    assert ROW.to_record().value is ROW


def test_the_payload_is_the_same_by_every_way() -> None:
    payload = Wide.payload_type.to_bytes(WIDE)
    assert payload == struct.pack(Wide.struct_format, WIDE.code, WIDE.level, WIDE.total)
    assert np.frombuffer(payload, Wide.dtype)[0].tolist() == (WIDE.code, WIDE.level, WIDE.total)
    for placed in Wide.layout.fields:
        (value,) = struct.unpack_from(">" + placed.codec.number.code, payload, placed.offset)
        assert value == getattr(WIDE, placed.name)


def test_an_abstract_model_has_a_layout_and_no_records() -> None:
    class Base(TSModel, abstract=True):
        counter: Int32

    assert (Base.struct_format, Base.layout.size, Base.dtype.names) == ("<i", 4, ("counter",))
    with pytest.raises(SchemaError, match="Base is abstract and has no records: use a class derived from it"):
        Base.from_record(Record(KEY, PAYLOAD[:4]))


@pytest.mark.parametrize(
    "change", [{"counter": None}, {"volts": "high"}, {"volts": 1e39}, {"valid": 1}, {"counter": -(2**31) - 1}]
)
def test_a_field_that_was_set_to_what_it_cannot_hold(change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    row = msgspec.structs.replace(ROW, **change)
    with pytest.raises(EncodeError, match=f"^Reading.{name}: ") as caught:
        Reading.payload_type.to_bytes(row)
    assert (caught.value.record, caught.value.field, caught.value.value) == (None, name, value)


INTERNAL_NAMES = [
    "n",
    "add",
    "at",
    "end",
    "payload",
    "values",
    "count",
    "stop",
    "rows",
    "read",
    "written",
    "starts",
    "data",
]


@pytest.mark.parametrize("last", [Text, Int32], ids=["variable", "fixed"])
def test_fields_may_have_the_names_that_our_own_code_uses(last: Any) -> None:
    annotations = {**dict.fromkeys(INTERNAL_NAMES, Int32), "zip": last, "b_zip": last, "v_zip": last}
    model: Any = type(TSModel)("Named", (TSModel,), {"__annotations__": annotations, "__module__": __name__})
    texts = ("ä", "", "z") if last is Text else (7, 8, 9)
    numbers = {name: at for at, name in enumerate(INTERNAL_NAMES, 1000)}
    row = model(cid=1, mid=2, moid=3, cap=4, **numbers, zip=texts[0], b_zip=texts[1], v_zip=texts[2])
    other = model(cid=1, mid=2, moid=3, cap=4, **numbers | {"n": 40}, zip=texts[1], b_zip=texts[1], v_zip=texts[2])
    with connect("memory:") as session:
        session.add_all([row, other, row])
        session.flush()
        found = session.query(model).where(model.n == 1000, model.count == 1006).all()
        assert list(map(attrs_of, found)) == [attrs_of(row)] * 2
        assert session.query(model).select(model.n, model.zip).all() == [(1000, texts[0]), (40, texts[1]), (1000, texts[0])]
        assert session.query(model).to_arrow()["n"].to_pylist() == [1000, 40, 1000]


def attrs_of(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in type(row).layout.names}


class OnlyWide(TSModel):
    counter: Int32
    value: Float64


class Narrow(TSModel, abstract=True):
    value: Float32
    half: Nullable[float] = field(item=Float16, default=None)
    items: Array[float] = field(item=Float32, default_factory=list)


class Narrower(Narrow):
    anything: Packed[Any] = None


class InMessage(Narrow, encoding="msgpack"):
    pass


class Named(TSModel, abstract=True):
    def __repr__(self) -> str:
        return "named"


class NamedNarrow(Named):
    value: Float32


PLAIN_KEY = {"cid": 1, "mid": 2, "moid": 3, "cap": 4}


class WideParts(TSStruct):
    counter: Int32
    value: Float64


class Meeting(TSModel):
    captured_at: Cap
    until: Timestamp = -1
    then: Nullable[int] = field(item=Timestamp, default=None)


def test_structures_without_times_and_narrow_floats_are_shown_by_msgspec() -> None:
    """Which is written in C, and many times as fast as anything in Python."""
    assert WideParts.__repr__ is msgspec.Struct.__repr__
    assert repr(OnlyWide(**PLAIN_KEY, counter=1, value=231.6999969482422)).endswith("counter=1, value=231.6999969482422)")
    assert "value=231.6999969482422, half=0.1" in repr(InMessage(**PLAIN_KEY, value=231.6999969482422, half=0.1))


def test_times_are_shown_as_times_that_give_the_same_object_again() -> None:
    at = to_ns("2026-03-01T12:00:00.25Z")
    row = Meeting(cid=1, mid=2, moid=3, captured_at=at, acq=at + 1, until=to_ns("1999-01-01T00:00:00Z"), then=at)
    assert repr(row) == (
        "Meeting(cid=1, mid=2, moid=3, captured_at=to_ns('2026-03-01T12:00:00.250Z'), "
        "acq=to_ns('2026-03-01T12:00:00.250000001Z'), until=to_ns('1999-01-01T00:00:00Z'), "
        "then=to_ns('2026-03-01T12:00:00.250Z'))"
    )
    assert eval(repr(row)) == row
    assert "cap=to_ns('2026-03-01T12:00:00.250Z'), acq=-1, counter" in repr(OnlyWide(1, 2, 3, at, -1, 4, 5.0))
    for odd in (-1, 0, 10**15 - 1, 2**63, True, "noon", 1.5, None):
        assert f"captured_at={odd!r}, acq" in repr(Meeting(1, 2, 3, odd))  # type: ignore[arg-type]


def test_narrow_floats_are_shown_with_the_digits_that_they_have() -> None:
    row = Narrower(**PLAIN_KEY, value=231.6999969482422, half=0.0999755859375, items=[0.10000000149011612, 5, 0.1])
    shown = "Narrower(cid=1, mid=2, moid=3, cap=4, acq=-1, value=231.7, half=0.1, items=[0.1, 5, 0.1], anything=None)"
    assert repr(row) == shown
    row.anything = [row]
    assert repr(row) == shown.replace("None", "[...]"), "as a list that holds itself"
    row.value, row.half, row.anything = 231.70000001, 1e6, 1
    assert "value=231.70000001, half=1000000.0" in repr(row), "what is not stored yet stays as it is"


def test_a_repr_of_the_users_own_stays() -> None:
    assert repr(NamedNarrow(**PLAIN_KEY, value=1.5)) == "named"


class Timed(TSModel):
    volts: Float32


def test_times_as_datetimes() -> None:
    at = dt.datetime(2026, 1, 31, 12, 34, 56, 789012, dt.timezone.utc)
    reading = Timed(cid=1, mid=1, moid=1, cap=to_ns(at) + 999, volts=1)
    assert (reading.captured, reading.acquired) == (at, None)
    reading.acq = reading.cap
    assert reading.acquired == at


def test_fields_named_as_they_are_take_their_place() -> None:
    class Named(TSModel):
        captured: Int32
        acquired: Int32

    class Keyed(TSModel):
        captured: Cap
        acquired: Acq

    named = Named(cid=1, mid=1, moid=1, cap=0, captured=5, acquired=6)
    assert (named.captured, named.acquired) == (5, 6)
    assert str(Named.captured > 5) == "captured > 5"
    keyed = Keyed(cid=1, mid=1, moid=1, captured=7, acquired=8)
    assert (keyed.captured, keyed.key.cap, keyed.acquired, keyed.key.acq) == (7, 7, 8, 8)
    assert Keyed.from_json(keyed.to_json()) == keyed
