"""Each scalar: its size, limits, and accepted and refused values."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal

import numpy as np
import pytest

from tsmodel.types.scalars import SCALARS, Scalar, are_bools, shown

INTEGERS = {
    "Int8": (1, True),
    "Int16": (2, True),
    "Int32": (4, True),
    "Int64": (8, True),
    "UInt8": (1, False),
    "UInt16": (2, False),
    "UInt32": (4, False),
    "UInt64": (8, False),
    "Timestamp": (8, True),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name: str) -> None:
    size, signed = INTEGERS[name]
    scalar = SCALARS[name]
    least = -(2 ** (8 * size - 1)) if signed else 0
    greatest = 2 ** (8 * size - signed) - 1
    assert scalar.size == size
    assert scalar.limits == (least, greatest)
    for value in (least, greatest, 0, 1, True, np.int8(1)):
        assert scalar.fault(value) is None
        assert scalar.pack([value]) == int(value).to_bytes(size, "little", signed=signed)
    for value in (least - 1, greatest + 1):
        assert scalar.fault(value) == f"{value} (int) is not an int from {least} to {greatest}"
    for value in (1.0, "1", None, b"1", [1]):
        fault = scalar.fault(value)
        assert fault is not None
        is_time = name == "Timestamp" and isinstance(value, str)
        accepts = "an int of ns since 2001; to_ns() converts a time" if is_time else f"an int from {least} to {greatest}"
        assert fault == f"{value!r} ({type(value).__name__}) is not {accepts}"


@pytest.mark.parametrize(("name", "size"), [("Float32", 4), ("Float64", 8)])
def test_floats(name: str, size: int) -> None:
    scalar = SCALARS[name]
    assert scalar.size == size
    assert scalar.limits is None
    for value in (0.5, -0.0, 3, True, float("inf"), float("nan"), np.float32(0.5), np.float64(0.5)):
        assert scalar.fault(value) is None
    for value in ("1.5", None, b"1", 1j, [1.0]):
        assert scalar.fault(value) == f"{value!r} ({type(value).__name__}) is not a float ({8 * size}-bit)"


def test_value_too_large_for_float32() -> None:
    too_large = "1e+39 is too large for a Float32, which holds up to 3.4028e+38; Float64 holds more"
    assert SCALARS["Float32"].fault(1e39) == too_large
    assert SCALARS["Float64"].fault(1e39) is None
    assert (
        SCALARS["Float64"].fault(10**400) == f"{shown(10**400)} is too large for a Float64, which holds up to 1.7977e+308"
    )


@pytest.mark.parametrize("value", [Decimal("1E+400"), Decimal("-1E+400"), 10**400])
@pytest.mark.parametrize("name", ["Float16", "Float32", "Float64"])
def test_value_too_large_for_any_float(name: str, value: object) -> None:
    assert f"is too large for a {name}, which holds up to" in str(SCALARS[name].fault(value))


@pytest.mark.parametrize(
    "value", [Decimal("Infinity"), float("-inf"), np.float64("inf"), np.longdouble("inf"), Decimal("nan")]
)
def test_non_finite_values_are_accepted(value: object) -> None:
    assert SCALARS["Float64"].fault(value) is None


def test_other_time_types_are_refused_with_hint() -> None:
    fault = SCALARS["Timestamp"].fault
    noon = dt.datetime(2026, 1, 31, 12)
    assert "is not an int of ns since 2001; it is naive: write to_ns(value.replace(tzinfo" in str(fault(noon))
    assert str(fault(noon.replace(tzinfo=dt.timezone.utc))).endswith(
        "is not an int of ns since 2001; to_ns() converts a time"
    )
    assert str(fault(noon.date())).endswith(
        'a date needs a time of day and an offset, such as to_ns("2026-01-31T00:00:00Z")'
    )


def test_bool_accepts_only_bools() -> None:
    scalar = SCALARS["Bool"]
    assert scalar.pack([True, False, np.True_]) == b"\1\0\1"
    for value in (0, 1, "", None, 1.0):
        assert scalar.fault(value) == f"{value!r} ({type(value).__name__}) is not True or False"


@pytest.mark.parametrize("scalar", SCALARS.values(), ids=SCALARS)
def test_struct_and_numpy_agree(scalar: Scalar) -> None:
    assert scalar.size == scalar.dtype().itemsize == struct.calcsize("<" + scalar.code)
    data = bytes(range(1, 1 + scalar.size)) if scalar.kind != "bool" else b"\1"
    for order, mark in (("little", "<"), ("big", ">")):
        (unpacked,) = struct.unpack(mark + scalar.code, data)
        assert np.frombuffer(data, scalar.dtype(order))[0] == unpacked  # type: ignore[arg-type]


def test_packing_several_values() -> None:
    assert SCALARS["Int16"].pack([1, -1, 256]) == b"\1\0\xff\xff\0\1"
    assert SCALARS["Float64"].pack([]) == b""


@pytest.mark.parametrize("count", [0, 1, 15, 16, 512, 65_535, 65_536])
def test_are_bools(count: int) -> None:
    bools = [at % 3 == 0 for at in range(count)]
    assert are_bools(bools)
    assert are_bools(tuple(bools))
    for other in (1, 0, None, -62, -61, b"\xc3", "\u00c3", [True], {}, 0.0, object(), 2**70):
        for at in {0, count // 2, count}:
            assert not are_bools([*bools[:at], other, *bools[at:]])
    assert are_bools([*bools, np.True_])
