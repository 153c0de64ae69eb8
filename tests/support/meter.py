"""A model with a field of every kind, and a value of it, for code in other languages."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from enum import IntEnum, IntFlag

from tsmodel import (
    Array,
    Bits,
    Blob,
    Bool,
    Char,
    DateTime,
    Enumerated,
    Flags,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Nested,
    Nullable,
    Padding,
    Scaled,
    Text,
    TSModel,
    TSStruct,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Uuid,
    field,
    padding,
)


class State(IntEnum):
    OFF = 0
    ON = 1
    BROKEN = 200


class Alarm(IntFlag):
    OPEN = 1
    HOT = 4


class Phase(TSStruct):
    volts: Float32
    amps: Nullable[int] = field(item=Int16)


class Meter(TSModel, versioned=True):
    counter: Int32
    total: UInt64 = field(byte_order="big")
    volts: Float32
    valid: Bool
    state: Enumerated[State] = field(storage=UInt8)
    kept: Enumerated[State] = field(storage=Int16, unknown="keep")
    alarms: Flags[Alarm] = field(storage=UInt16)
    low: Bits = field(bits=3)
    high: Bits = field(bits=5)
    gap: Padding = padding(2)
    name: Text = field(size=8)
    raw: Blob = field(size=3)
    at: DateTime
    price: Scaled = field(digits=2, storage=Int32)
    serial: Uuid
    profile: Array[float] = field(item=Float64, length=3)
    names: Array[str] = field(item=Text, size=3, length=2)
    phases: Array[Phase] = field(item=Phase, length=2)
    main: Nested[Phase]
    temp: Nullable[float] = field(item=Float32)
    level: Nullable[float] = field(item=Float32, null=-999.0)
    limit: Nullable[int] = field(item=UInt32, null=4294967295)
    note: Nullable[str] = field(item=Text, size=4)
    default: Int8
    letter: Char


METER = Meter(
    cid=1,
    mid=2,
    moid=3,
    cap=4,
    counter=-7,
    total=2**63 + 5,
    volts=230.5,
    valid=True,
    state=State.BROKEN,
    kept=-3,
    alarms=Alarm.OPEN | Alarm.HOT,
    low=5,
    high=31,
    name="Zähler",
    raw=b"\x01\x02\xff",
    at=dt.datetime(2001, 1, 1, 0, 0, 1, tzinfo=dt.timezone.utc),
    price=Decimal("-12.34"),
    serial=uuid.UUID(int=0x00112233445566778899AABBCCDDEEFF),
    profile=[1.5, -2.5, 0.0],
    names=["ab", ""],
    phases=[Phase(volts=1.0, amps=None), Phase(volts=2.0, amps=-2)],
    main=Phase(volts=3.0, amps=300),
    temp=None,
    level=None,
    limit=7,
    note="äö",
    default=-128,
    letter="A",
)


class Letter(TSModel, byte_order="big"):
    """A model of variable length."""

    state: Enumerated[State] = field(storage=UInt8)
    subject: Text
    tag: Text = field(prefix=UInt8)
    samples: Array[int] = field(item=Int16)
    phases: Array[Phase] = field(item=Phase)
    maybe: Nullable[str] = field(item=Text)
    rest: Blob = field(rest=True)


LETTER = Letter(
    cid=1,
    mid=2,
    moid=3,
    cap=4,
    state=State.ON,
    subject="Grüße",
    tag="",
    samples=[1, -2, 300],
    phases=[Phase(volts=1.5, amps=6)],
    maybe=None,
    rest=b"\x00\xff",
)
