"""Text forms of each field type: output, accepted input, and refused input with its error."""

from __future__ import annotations

import datetime as dt
import ipaddress
import uuid
from decimal import Decimal
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import pytest

from tsmodel import (
    Array,
    Bits,
    Blob,
    Bool,
    Char,
    Date,
    DateTime,
    Duration,
    Enumerated,
    Flags,
    Float32,
    Float64,
    Int16,
    IpAddress,
    Nested,
    Nullable,
    Packed,
    Scaled,
    Text,
    Timestamp,
    TSModel,
    TSStruct,
    UInt64,
    UnixTime,
    Uuid,
    field,
    to_ns,
)
from tsmodel.errors import ConversionError, EncodeError


class State(IntEnum):
    OFF = 0
    ON = 1
    RUNNING = 1


class Alarm(IntFlag):
    HOT = 1
    COLD = 2
    BOTH = 3
    WIDE = 12


class Phase(TSStruct):
    volts: Float32
    name: Text = field(size=4, default="L1")


KEY = {"cid": 1, "mid": 2, "moid": 3, "cap": 4}
UTC = dt.timezone.utc
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_NS = to_ns("2026-03-01T12:00:00Z")
UUID = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def model(annotation: Any, **options: Any) -> Any:
    """A model of one field x."""
    namespace = {"__annotations__": {"x": annotation}, "__module__": __name__, "x": field(**options)}
    return type(TSModel)("Made", (TSModel,), namespace)


KINDS: dict[str, Any] = {
    "int16": model(Int16),
    "uint64": model(UInt64),
    "bits": model(Bits, bits=3),
    "float32": model(Float32),
    "float64": model(Float64),
    "bool": model(Bool),
    "scaled": model(Scaled, digits=2),
    "scaled float": model(Scaled[float], digits=2),
    "stamp": model(Timestamp),
    "unix": model(UnixTime, resolution="ms"),
    "datetime": model(DateTime),
    "duration": model(Duration),
    "date": model(Date),
    "enum": model(Enumerated[State]),
    "enum kept": model(Enumerated[State], unknown="keep"),
    "flags": model(Flags[Alarm]),
    "char": model(Char),
    "text": model(Text),
    "text 4": model(Text, size=4),
    "blob": model(Blob),
    "uuid": model(Uuid),
    "ip": model(IpAddress),
    "ip 4": model(IpAddress, version=4),
    "array": model(Array[int], item=Int16),
    "array 2": model(Array[float], item=Float32, length=2),
    "times": model(Array[dt.datetime], item=DateTime, length=1),
    "nested": model(Nested[Phase]),
    "nullable": model(Nullable[int], item=Int16),
    "sentinel": model(Nullable[int], item=Int16, null=-1),
    "packed": model(Packed[dict[str, list[int]]]),
}

ACCEPTED = [
    ("int16", 5, [5, "5", " 5 ", "+5", "005", "0x5", "0X05", np.int8(5)]),
    ("int16", -5, ["-5", "-0x5"]),
    ("uint64", 2**64 - 1, ["18446744073709551615", "0xffffffffffffffff"]),
    ("bits", 7, [7, "7"]),
    ("float32", 1.5, [1.5, "1.5", "1.50", " 15e-1", ".15E1", Decimal("1.5"), np.float32(1.5)]),
    ("float32", 3.0, [3, "3", "3."]),
    ("float64", float("inf"), ["inf", "Infinity", "+INF", float("inf")]),
    ("bool", True, [True, "true", "TRUE", "True", "yes", "Yes", "1", 1, np.True_, " true"]),
    ("bool", False, [False, "false", "no", "NO", "0", 0]),
    ("scaled", Decimal("1.25"), ["1.25", 1.25, Decimal("1.250"), "125e-2", "1.2500"]),
    ("scaled", Decimal(3), [3, "3", "0.3e1"]),
    ("scaled", Decimal(0), ["0", "0e999999999", "-0.00"]),
    ("scaled float", 1.25, ["1.25", 1.25, Decimal("1.25")]),
    ("stamp", NOON_NS, ["2026-03-01T12:00:00Z", "2026-03-01 13:00+01:00", NOON_NS, str(NOON_NS), NOON]),
    ("stamp", NOON_NS, [np.datetime64("2026-03-01T12:00"), np.int64(NOON_NS)]),
    ("unix", NOON_NS, ["2026-03-01T12:00:00Z", NOON_NS]),
    ("datetime", NOON, [NOON, "2026-03-01T12:00:00Z", "2026-03-01T12:00Z", NOON_NS, str(NOON_NS)]),
    ("duration", dt.timedelta(minutes=90), ["90m", "1h30m", "PT1H30M", "P0DT90M", "PT5400.0S", 5400 * 10**9]),
    ("duration", dt.timedelta(minutes=-90), ["-1h30m", "-PT1H30M", dt.timedelta(minutes=-90), "-5400000000000"]),
    ("date", dt.date(2026, 3, 1), ["2026-03-01", dt.date(2026, 3, 1)]),
    ("enum", State.ON, ["ON", "RUNNING", 1, "1", "0x1", State.ON, np.uint8(1)]),
    ("enum kept", 7, [7, "7"]),
    ("flags", Alarm.HOT | Alarm.COLD, ["HOT|COLD", "COLD, HOT", "BOTH", 3, "3", ["HOT", "COLD"], Alarm.BOTH]),
    ("flags", Alarm(0), ["0", 0, [], Alarm(0)]),
    ("char", "ß", ["ß"]),
    ("text", "", [""]),
    ("blob", b"\x01\xff", ["01ff", "0x01FF", " 01 ff ", b"\x01\xff", bytearray(b"\x01\xff")]),
    ("uuid", UUID, [str(UUID), UUID.hex, str(UUID).upper(), f"{{{UUID}}}", f"urn:uuid:{UUID}", UUID]),
    ("ip", ipaddress.ip_address("10.0.0.1"), ["10.0.0.1", ipaddress.ip_address("10.0.0.1")]),
    ("ip", ipaddress.ip_address("fe80::1"), ["fe80::1", "FE80:0::1"]),
    ("array", [1, 2], [[1, 2], (1, "2"), np.array([1, 2])]),
    ("array 2", [1.5, float("inf")], [[1.5, "Infinity"], ["1.5", float("inf")]]),
    ("times", [NOON], [["2026-03-01T12:00:00Z"], [NOON]]),
    ("nested", Phase(volts=1.5), [{"volts": 1.5}, {"volts": "1.5", "name": "L1"}, Phase(volts=1.5)]),
    ("nullable", None, [None]),
    ("sentinel", None, [None]),
    ("packed", {"a": [1]}, [{"a": [1]}]),
]


@pytest.mark.parametrize(("kind", "value", "data"), [(k, v, each) for k, v, many in ACCEPTED for each in many])
def test_accepted(kind: str, value: Any, data: Any) -> None:
    made = KINDS[kind].from_dict({**KEY, "x": data}).x
    assert made == value
    assert type(made) is type(value)


REFUSED = [
    ("int16", 1.0, "1.0 (float) is not an int from -32768 to 32767"),
    ("int16", True, "True (bool) is not an int"),
    ("int16", "1_0", "'1_0' (str) is not an int"),
    ("int16", "\u0661", "is not an int"),
    ("int16", "1.0", "is not an int"),
    ("int16", 32768, "32768 (int) is not an int from -32768 to 32767"),
    ("int16", "9" * 5000, "is not an int"),
    ("int16", None, "None (NoneType) is not an int"),
    ("bits", 8, "8 (int) is not an int from 0 to 7"),
    ("float32", "1e39", "'1e39' (str) is not a number that a Float32 holds"),
    ("float32", 1e39, "1e+39 (float) is not a number that a Float32 holds"),
    ("float64", "1e999", "is not a number that a Float64 holds"),
    ("float64", Decimal("1e999"), "is not a number"),
    ("float64", 10**400, "is not a number"),
    ("float64", "1_0.5", "is not a number"),
    ("float64", "1,5", "is not a number"),
    ("float64", True, "True (bool) is not a number"),
    ("float64", "", "'' (str) is not a number"),
    ("bool", "maybe", "'maybe' (str) is not true or false, yes or no, 1 or 0"),
    ("bool", 2, "2 (int) is not true or false"),
    ("bool", 1.0, "is not true or false"),
    ("scaled", "1.255", "'1.255' has more than 2 decimal places: round it first"),
    ("scaled", 1.255, "has more than 2 decimal places"),
    ("scaled", 12345678901234.25, "has more digits than a float holds for sure: give text"),
    ("scaled", "1e999999999", "is not a number of at most 2 decimal places"),
    ("scaled", "nan", "is not a number of at most 2 decimal places"),
    ("scaled", "1" * 200, "is not a number of at most 2 decimal places"),
    ("stamp", "2026-03-01", "is a date; add the time of day and the offset"),
    ("stamp", "2026-03-01T12:00:00", "has no offset from UTC"),
    ("stamp", dt.datetime(2026, 3, 1), "is naive"),
    ("stamp", 1.5, '1.5 (float) is not a time such as "2026-01-31T12:34:56Z", or an int of ns since 2001'),
    ("stamp", 2**63, "is not an int from"),
    ("unix", NOON_NS + 1, "is not a whole number of ms"),
    ("datetime", 1, "1 ns is not a whole number of microseconds"),
    ("datetime", dt.datetime(2026, 3, 1), "has no offset from UTC"),
    ("duration", "90", "90 ns is not a whole number of microseconds"),
    ("duration", 1.5, '1.5 (float) is not a duration such as "1h30m"'),
    ("duration", "1h 30m", "is not a duration"),
    ("duration", "P", "is not a duration"),
    ("duration", "PT", "is not a duration"),
    ("duration", "", "is not a duration"),
    ("date", "2026-3-1", "'2026-3-1' (str) is not a date such as"),
    ("date", "2026-02-30", "is not a date"),
    ("date", NOON, "is not a date"),
    ("enum", "on", "'on' (str) is not a name of State (OFF, ON, RUNNING), or its value"),
    ("enum", 7, "7 (int) is not a name of State"),
    ("enum", True, "True (bool) is not a name of State"),
    ("enum kept", 300, "is not a name of State"),
    ("flags", "HOT|WET", "'HOT|WET' (str) is not names of Alarm (HOT, COLD, BOTH, WIDE)"),
    ("flags", 16, "is not names of Alarm"),
    ("flags", -1, "is not names of Alarm"),
    ("flags", "", "is not names of Alarm"),
    ("char", "ab", "'ab' (str) is not a text of one character"),
    ("text", 5, "5 (int) is not a text"),
    ("text 4", "äöü", "has 6 bytes in UTF-8, but the field holds at most 4"),
    ("text 4", "a\0", "has a NUL character"),
    ("text", "\ud800", "a lone surrogate"),
    ("blob", "abc", "'abc' is not bytes in hex, two digits each"),
    ("blob", "AAEC+w==", 'it may be Base64: give binary="base64"'),
    ("blob", [1], "[1] (list) is not bytes"),
    ("uuid", "6ba7b810", "is not a UUID such as"),
    ("uuid", f"{{{UUID}", "is not a UUID"),
    ("uuid", 5, "5 (int) is not a uuid.UUID"),
    ("ip", "10.0.0.256", "'10.0.0.256' (str) is not an IPv4 or IPv6 address"),
    ("ip", "::ffff:1.2.3.4", "would be read back as 1.2.3.4"),
    ("ip 4", "fe80::1", "is not an ipaddress.IPv4Address"),
    ("ip", 5, "5 (int) is not an ipaddress.IPv4Address or IPv6Address"),
    ("array", "12", "'12' (str) is not a list of items"),
    ("array 2", [1.0], "1 items are given; the array has 2"),
    ("nested", 5, "5 (int) is not an object with the fields of Phase"),
    ("sentinel", -1, "-1 is what stands for None"),
    ("packed", {"a": 1}, "Expected `array`, got `int`"),
]


@pytest.mark.parametrize(("kind", "data", "why"), REFUSED)
def test_refused(kind: str, data: Any, why: str) -> None:
    with pytest.raises(ConversionError) as caught:
        KINDS[kind].from_dict({**KEY, "x": data})
    (fault,) = caught.value.faults
    assert why in fault.why
    assert fault.path == "x"
    assert fault.value is data
    assert str(caught.value) == f"Made: x: {fault.why}"
    assert caught.value.record == {**KEY, "x": data}


WRITTEN = [
    ("int16", np.int16(5), 5, 5),
    ("float32", float("-inf"), "-Infinity", "-Infinity"),
    ("float32", float("nan"), "NaN", "NaN"),
    ("float32", np.float32(0.5), 0.5, 0.5),
    ("bool", np.True_, True, True),
    ("scaled", Decimal("-0.5"), "-0.50", "-0.50"),
    ("scaled", 3, "3.00", "3.00"),
    ("scaled float", 0.5, 0.5, 0.5),
    ("stamp", NOON_NS, "2026-03-01T12:00:00Z", NOON_NS),
    ("stamp", NOON_NS + 10**6, "2026-03-01T12:00:00.001Z", NOON_NS + 10**6),
    ("unix", 2**63 // 10**6 * 10**6 + 10**9, 2**63 // 10**6 * 10**6 + 10**9, 2**63 // 10**6 * 10**6 + 10**9),
    ("datetime", NOON, "2026-03-01T12:00:00Z", NOON_NS),
    ("duration", dt.timedelta(days=1, seconds=-1, microseconds=1), "23h59m59s1us", 86_399 * 10**9 + 1000),
    ("duration", dt.timedelta(weeks=2, milliseconds=250), "14d250ms", 14 * 86_400 * 10**9 + 250 * 10**6),
    ("duration", dt.timedelta(0), "0s", 0),
    ("duration", -dt.timedelta(minutes=1), "-1m", -60 * 10**9),
    ("date", dt.date(2026, 3, 1), "2026-03-01", "2026-03-01"),
    ("enum", State.RUNNING, "ON", "ON"),
    ("enum", 1, "ON", "ON"),
    ("enum kept", 7, 7, 7),
    ("flags", Alarm.BOTH, "HOT|COLD", "HOT|COLD"),
    ("flags", Alarm.WIDE | Alarm.HOT, "HOT|WIDE", "HOT|WIDE"),
    ("flags", Alarm(0), "0", "0"),
    ("blob", b"\x00\xff", "00ff", "00ff"),
    ("uuid", UUID, str(UUID), str(UUID)),
    ("ip", ipaddress.ip_address("fe80::1"), "fe80::1", "fe80::1"),
    ("array", [1, 2], [1, 2], [1, 2]),
    ("times", [NOON], ["2026-03-01T12:00:00Z"], [NOON_NS]),
    ("nested", Phase(volts=float("nan")), {"volts": "NaN", "name": "L1"}, {"volts": "NaN", "name": "L1"}),
    ("nullable", None, None, None),
    ("packed", {"a": [1]}, {"a": [1]}, {"a": [1]}),
]


@pytest.mark.parametrize(("kind", "value", "iso", "ns"), WRITTEN)
def test_written(kind: str, value: Any, iso: Any, ns: Any) -> None:
    made = KINDS[kind](**KEY, x=value)
    for spelling, data in (("iso", iso), ("ns", ns)):
        got = made.to_dict(times=spelling)["x"]
        assert got == data
        assert type(got) is type(data)


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("int16", 40000, "Made.x: 40000 (int) is not an int from -32768 to 32767"),
        ("float32", "x", "Made.x: 'x' (str) is not a float (32-bit)"),
        ("bool", 1, "Made.x: 1 (int) is not True or False"),
        ("datetime", "2026-03-01T12:00:00Z", "Made.x: "),
        ("enum", "ON", "Made.x: 'ON' (str) is not a member of State"),
        ("nested", Phase(volts="x"), "Made.x.volts: 'x' (str) is not a float (32-bit)"),  # type: ignore[arg-type]
        ("nested", None, "Made.x: None (NoneType) is not a Phase"),
        ("array", [1, "x"], "Made.x.1: 'x' (str) is not an int"),
        ("packed", {"a": 1.5}, "Made.x: "),
    ],
)
def test_invalid_value_is_refused_on_output(kind: str, value: Any, why: str) -> None:
    made = KINDS[kind](**KEY, x=value)
    with pytest.raises(EncodeError) as caught:
        made.to_dict()
    assert str(caught.value).startswith(why)
    assert caught.value.field == "x"


def test_nan_in_packed_value_is_not_written_as_null() -> None:
    made = model(Packed[dict[str, float]])(**KEY, x={"a": float("nan")})
    with pytest.raises(EncodeError, match="a non-finite float, which JSON cannot represent"):
        made.to_json()


def test_base64() -> None:
    made = KINDS["blob"](**KEY, x=b"\x00\xff")
    assert made.to_dict(binary="base64")["x"] == "AP8="
    assert KINDS["blob"].from_dict({**KEY, "x": "AP8="}, binary="base64") == made
    with pytest.raises(ConversionError, match=r"is not bytes in Base64"):
        KINDS["blob"].from_dict({**KEY, "x": "00f"}, binary="base64")


def test_numpy_arrays() -> None:
    made = model(Array[Any], item=Int16, as_numpy=True)
    row = made.from_dict({**KEY, "x": [1, "2"]})
    assert row.x.dtype == np.dtype("<i2")
    assert row.x.tolist() == [1, 2]
    assert row.to_dict()["x"] == [1, 2]
    states = model(Array[Any], item=Enumerated[State], as_numpy=True)
    assert states.from_dict({**KEY, "x": ["ON", 0]}).to_dict()["x"] == ["ON", "OFF"]
