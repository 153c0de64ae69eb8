"""Types of each field type's values, columns and constructor arguments, and rejected uses.

Checked like `typing_contract.py`; never imported at run time.
"""

import datetime as dt
import uuid
from decimal import Decimal
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address

from typing_extensions import assert_type

from tsmodel import (
    Array,
    Bits,
    Blob,
    Bool,
    Cap,
    Char,
    Cid,
    Column,
    Date,
    DateTime,
    Duration,
    Enumerated,
    Expression,
    Flags,
    Float16,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    IntColumn,
    IpAddress,
    Mid,
    Moid,
    Nested,
    Nullable,
    Packed,
    Padding,
    Scaled,
    Text,
    Timestamp,
    TSModel,
    TSStruct,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    UnixTime,
    Uuid,
    field,
    padding,
)


class State(IntEnum):
    OFF = 0


class Alarm(IntFlag):
    HOT = 1


class Phase(TSStruct):
    volts: Float32
    amps: Float32 = field(default=0.0)


class All(TSModel, align="packed", frozen=True):
    site: Cid
    meter: Mid
    channel: Moid
    at: Cap
    i8: Int8 = field(default=0)
    i16: Int16 = field(default=0)
    i32: Int32 = field(default=0)
    i64: Int64 = field(default=0)
    u8: UInt8 = field(default=0)
    u16: UInt16 = field(default=0)
    u32: UInt32 = field(default=0)
    u64: UInt64 = field(default=0)
    f16: Float16 = field(default=0.0)
    f32: Float32 = field(default=0.0, unit="V", doc="voltage", ge=0, lt=1000)
    f64: Float64 = field(default=0.0)
    flag: Bool = field(default=False)
    char: Char = field(default="x")
    bits: Bits = field(default=0, bits=3)
    time: Timestamp = field(default=0)
    unix: UnixTime = field(default=0, resolution="ms")
    when: DateTime
    took: Duration = field(default=dt.timedelta(0))
    day: Date = field(default=dt.date(2026, 1, 1))
    price: Scaled = field(digits=2, storage=Int32)
    share: Scaled[float] = field(digits=2, default=0.5)
    state: Enumerated[State] = field(storage=UInt8)
    alarms: Flags[Alarm] = field(storage=UInt16)
    name: Text = field(size=16)
    note: Text
    raw: Blob
    ident: Uuid
    address: IpAddress
    samples: Array[float] = field(item=Float32, length=96)
    temp: Nullable[float] = field(item=Float32)
    phase: Nested[Phase]
    tags: Packed[dict[str, str]]
    _gap: Padding = padding(3)


def values(row: All) -> None:
    assert_type(row.site, int)
    assert_type(row.at, int)
    assert_type(row.i8, int)
    assert_type(row.u64, int)
    assert_type(row.f16, float)
    assert_type(row.flag, bool)
    assert_type(row.char, str)
    assert_type(row.bits, int)
    assert_type(row.unix, int)
    assert_type(row.when, dt.datetime)
    assert_type(row.took, dt.timedelta)
    assert_type(row.day, dt.date)
    assert_type(row.price, Decimal)
    assert_type(row.share, float)
    assert_type(row.state, State)
    assert_type(row.alarms, Alarm)
    assert_type(row.name, str)
    assert_type(row.raw, bytes)
    assert_type(row.ident, uuid.UUID)
    assert_type(row.address, IPv4Address | IPv6Address)
    assert_type(row.samples, list[float])
    assert_type(row.temp, float | None)
    assert_type(row.phase, Phase)
    assert_type(row.phase.volts, float)
    assert_type(row.tags, dict[str, str])


assert_type(All.meter, IntColumn)
assert_type(All.u64, IntColumn)
assert_type(All.bits, IntColumn)
assert_type(All.at, Column[int])
assert_type(All.time, Column[int])
assert_type(All.unix, Column[int])
assert_type(All.meter == 4, Expression)
assert_type(All.when, Column[dt.datetime])
assert_type(All.price, Column[Decimal])
assert_type(All.price > Decimal("1.5"), Expression)
assert_type(All.state, Column[State])
assert_type(All.temp, Column[float | None])
assert_type(All.phase, Column[Phase])
assert_type(Phase(volts=1.0), Phase)

Phase(volts="x")  # type: ignore
Phase()  # type: ignore
Phase(volts=1.0, cid=1)  # type: ignore


class Event(TSModel):
    state: Enumerated[State]
    price: Scaled = field(digits=2)
    temp: Nullable[float] = field(item=Float32)
    samples: Array[float] = field(item=Float32)


good = Event(state=State.OFF, price=Decimal("1.5"), temp=None, samples=[1.0])
Event(state=1, price=Decimal(1), temp=None, samples=[1.0])  # type: ignore
Event(state=State.OFF, price="1", temp=None, samples=[1.0])  # type: ignore
Event(state=State.OFF, price=Decimal(1), temp="x", samples=[1.0])  # type: ignore
Event(state=State.OFF, price=Decimal(1), temp=None, samples=["x"])  # type: ignore
Event(state=State.OFF, price=Decimal(1), temp=None)  # type: ignore
good.state = 3  # type: ignore
good.temp = "x"  # type: ignore
