"""Operands that type checkers accept for each column. Checked like `typing_contract.py`; never imported at run time."""

import datetime as dt
import uuid
from decimal import Decimal
from enum import IntEnum

import numpy as np
from typing_extensions import assert_type

from tsmodel import (
    Blob,
    Bool,
    Column,
    Date,
    DateTime,
    Duration,
    Enumerated,
    Expression,
    Float32,
    Int32,
    IntColumn,
    Mid,
    Nullable,
    Scaled,
    Text,
    Timestamp,
    TSModel,
    UnixTime,
    Uuid,
    field,
)


class State(IntEnum):
    OFF = 0
    ON = 1


class Reading(TSModel):
    meter: Mid
    counter: Int32
    volts: Float32
    price: Scaled = field(digits=2)
    valid: Bool
    name: Text
    raw: Blob
    state: Enumerated[State]
    ident: Uuid
    at: Timestamp
    unix: UnixTime
    when: DateTime
    took: Duration
    day: Date
    temp: Nullable[float] = field(item=Float32)
    errors: Nullable[int] = field(item=Int32)
    note: Nullable[str] = field(item=Text)
    seen: Nullable[int] = field(item=Timestamp)
    heard: Nullable[dt.datetime] = field(item=DateTime)


now = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)


def times() -> None:
    assert_type(Reading.cap > 10, Expression)
    assert_type(Reading.cap == "2026-01-01T00:00:00Z", Expression)
    assert_type(Reading.acq <= now, Expression)
    assert_type(Reading.cap != np.datetime64("2026-01-01"), Expression)
    assert_type(Reading.at.between("2026-01-01T00:00:00Z", now), Expression)
    assert_type(Reading.unix.is_in(["2026-01-01T00:00:00Z", now, 5]), Expression)
    assert_type(Reading.when >= "2026-01-01T00:00:00Z", Expression)
    assert_type(Reading.seen < now, Expression)
    assert_type(Reading.seen == None, Expression)  # noqa: E711
    assert_type(Reading.heard != None, Expression)  # noqa: E711
    assert_type(Reading.heard > "2026-01-01T00:00:00Z", Expression)
    assert_type(Reading.took > "15m", Expression)
    assert_type(Reading.took == dt.timedelta(1), Expression)
    assert_type(Reading.day >= "2026-01-01", Expression)
    assert_type(Reading.day.is_in([dt.date(2026, 1, 1)]), Expression)
    Reading.cap > 2.5  # type: ignore
    Reading.cap > State  # type: ignore
    Reading.at >= Decimal(1)  # type: ignore
    Reading.when < 2.5  # type: ignore
    Reading.when.between(now, None)  # type: ignore
    Reading.took > now  # type: ignore
    Reading.day > 3  # type: ignore
    Reading.query.where(Reading.cap == 2.5)  # type: ignore
    Reading.query.where(Reading.acq != None)  # type: ignore # noqa: E711
    Reading.query.where(Reading.heard == b"2026")  # type: ignore


def numbers() -> None:
    assert_type(Reading.counter, IntColumn)
    assert_type(Reading.counter > 3, Expression)
    assert_type(Reading.counter <= 1e6, Expression)
    assert_type(Reading.counter == np.int32(3), Expression)
    assert_type(Reading.counter.is_in(range(3)), Expression)
    assert_type(Reading.counter.is_in(np.arange(3)), Expression)
    assert_type(240 < Reading.counter, Expression)  # noqa: SIM300
    assert_type(Reading.meter.between(1, 9), Expression)
    assert_type(Reading.volts > 240, Expression)
    assert_type(Reading.volts == np.float32(0.1), Expression)
    assert_type(Reading.volts.is_in([1, 2.5, np.int8(3)]), Expression)
    assert_type(Reading.price >= Decimal("1.5"), Expression)
    assert_type(Reading.price != 3, Expression)
    assert_type(Reading.temp == None, Expression)  # noqa: E711
    assert_type(Reading.temp > 3, Expression)
    assert_type(Reading.errors == 3, Expression)
    assert_type(Reading.valid == True, Expression)  # noqa: E712
    assert_type(Reading.valid != np.bool_(True), Expression)
    Reading.counter > "x"  # type: ignore
    Reading.counter >= now  # type: ignore
    Reading.counter.is_in(["x"])  # type: ignore
    Reading.meter < "x"  # type: ignore
    Reading.mid <= "x"  # type: ignore
    Reading.mid.between("x", 3)  # type: ignore
    Reading.volts > "x"  # type: ignore
    Reading.volts.between(1, "2")  # type: ignore
    Reading.price > "1.5"  # type: ignore
    Reading.temp < "x"  # type: ignore
    Reading.query.where(Reading.counter == "x")  # type: ignore
    Reading.query.where(Reading.mid != now)  # type: ignore
    Reading.query.where(Reading.volts == "x")  # type: ignore
    Reading.query.where(Reading.volts == None)  # type: ignore # noqa: E711
    Reading.query.where(Reading.price != "1.5")  # type: ignore
    Reading.query.where(Reading.temp == "x")  # type: ignore
    Reading.query.where(Reading.valid == 1)  # type: ignore


def values() -> None:
    assert_type(Reading.name == "x", Expression)
    assert_type(Reading.name < "x", Expression)
    assert_type(Reading.note != None, Expression)  # noqa: E711
    assert_type(Reading.note.is_in(["x", None]), Expression)
    assert_type(Reading.raw == b"x", Expression)
    assert_type(Reading.state.is_in({State.ON}), Expression)
    assert_type(Reading.state != State.OFF, Expression)
    assert_type(Reading.ident == uuid.UUID(int=1), Expression)
    Reading.name > 3  # type: ignore
    Reading.name.is_in([1])  # type: ignore
    Reading.name.between("a", 3)  # type: ignore
    Reading.note >= 3  # type: ignore
    Reading.state.is_in(["ON"])  # type: ignore
    Reading.query.where(Reading.name == 3)  # type: ignore
    Reading.query.where(Reading.name != now)  # type: ignore
    Reading.query.where(Reading.note == 3)  # type: ignore
    Reading.query.where(Reading.raw == "x")  # type: ignore
    Reading.query.where(Reading.state == "ON")  # type: ignore
    Reading.query.where(Reading.ident == "x")  # type: ignore


def combined() -> None:
    assert_type((Reading.volts == 3) & ~(Reading.name == "x") | (Reading.mid == 4), Expression)
    (Reading.volts == "x") & (Reading.mid == 4)  # type: ignore
    (Reading.mid == 4) & (Reading.volts == "x")  # type: ignore
    (Reading.volts != "x") | (Reading.mid == 4)  # type: ignore
    (Reading.mid == 4) | (Reading.mid == "x")  # type: ignore
    ~(Reading.volts == "x")  # type: ignore
    ~(Reading.counter != "x")  # type: ignore


def any_int(column: Column[int]) -> Expression:
    return column > 3


assert_type(any_int(Reading.counter), Expression)
assert_type(any_int(Reading.cap), Expression)
any_int(Reading.volts)  # type: ignore
