"""`--where`: parsing conditions."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import IntEnum, IntFlag
from uuid import UUID

import pytest

from tsmodel import (
    Bool,
    Date,
    DateTime,
    Duration,
    Enumerated,
    Flags,
    Float32,
    Int32,
    Mid,
    Nullable,
    Scaled,
    Text,
    TSModel,
    UInt8,
    Uuid,
    field,
)
from tsmodel.cli.failures import UsageError
from tsmodel.cli.where import condition

UTC = dt.timezone.utc


class State(IntEnum):
    OFF = 0
    ON = 1


class Alarm(IntFlag):
    HOT = 1
    COLD = 2


class Reading(TSModel):
    meter: Mid
    counter: Int32
    volts: Float32
    valid: Bool
    price: Scaled = field(digits=2)
    state: Enumerated[State] = field(storage=UInt8)
    alarm: Flags[Alarm] = field(storage=UInt8)
    text: Text
    temp: Nullable[float] = field(item=Float32)
    due: DateTime
    day: Date
    took: Duration
    id: Uuid


R = Reading


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("volts > 240", R.volts > 240),
        ("240 < volts", R.volts > 240),
        ("(volts >= 240.5)", R.volts >= 240.5),
        ("price == 90071992547409.93", R.price == Decimal("90071992547409.93")),
        ("price in [-90071992547409.93, 1]", R.price.is_in([Decimal("-90071992547409.93"), 1])),
        ("200 < volts <= 240", (R.volts > 200) & (R.volts <= 240)),
        ("volts > 1 and counter < 2 or valid", ((R.volts > 1) & (R.counter < 2)) | (R.valid == True)),  # noqa: E712
        ("not valid", ~(R.valid == True)),  # noqa: E712
        ("(volts > 1) & ~(counter == -2)", (R.volts > 1) & ~(R.counter == -2)),
        ("meter in [1, 2]", R.meter.is_in([1, 2])),
        ("mid not in (1, 2)", ~R.meter.is_in([1, 2])),
        ("price == 2.5", R.price == 2.5),
        ("state == ON", R.state == State.ON),
        ("state != 'OFF'", R.state != State.OFF),
        ("alarm == 'HOT|COLD'", R.alarm == Alarm.HOT | Alarm.COLD),
        ("text == 'a b'", R.text == "a b"),
        ("temp is None", R.temp == None),  # noqa: E711
        ("temp != null", R.temp != None),  # noqa: E711
        ("cap >= '2026-11-01'", R.cap >= "2026-11-01T00:00:00Z"),
        ("due < '2026-11-01T08:00'", R.due < "2026-11-01T08:00:00Z"),
        ("day == '2026-11-01'", R.day == dt.date(2026, 11, 1)),
        ("took > '15m'", R.took > "15m"),
        ("id == '12345678-1234-5678-1234-567812345678'", R.id == UUID("12345678-1234-5678-1234-567812345678")),
        ("valid == true", R.valid == True),  # noqa: E712
    ],
)
def test_conditions(text: str, meant: object) -> None:
    assert str(condition(text, Reading, UTC)) == str(meant)


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        ("", "cannot be read"),
        ("volts", "volts"),
        ("volts = 240", "`=` is written =="),
        ("volt > 240", "did you mean volts"),
        ("xyz > 240", "Reading has meter|Reading has cid"),
        ("volts > counter", "is a column"),
        ("volts > 'high'", "volts"),
        ("volts > ON", "volts"),
        ("volts in 5", "is not a list"),
        ("5 in meter", "takes a list of constants"),
        ("state == 'HALF'", "state"),
        ("cap > 'tomorrow'", "is not a time"),
        ("volts > __import__('os').system('true')", "is not a constant"),
        ("__import__('os').system('true')", "is not a comparison"),
        ("[x for x in meter]", "is not a comparison"),
        ("volts > 2 ** 99999999", "is not a constant"),
        ("volts > 1 and 5", "is not a comparison"),
        ("(lambda: 1)() > volts", "is not a constant"),
        ("volts > 1;", "cannot be read"),
        ("text < 5", "text"),
        ("volts > -'a'", "is not a constant"),
        ("volts.real > 1", "is not a column"),
        ("not " * 5000 + "valid", "cannot be read|too deep"),
        ("volts > \x00", "cannot be read"),
    ],
)
def test_invalid_conditions(text: str, wording: str) -> None:
    with pytest.raises(UsageError, match=wording):
        condition(text, Reading, UTC)
