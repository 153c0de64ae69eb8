"""Columns of values as columns of what is stored, field by field.

Rules kept here:

* Integers are stored numbers, as reading gives them: times as ns since 2001, enums and decimals as their integers. Only
  what NumPy knows as something else is converted: datetime64, timedelta64, text, floats of decimals.
* A value that the field cannot hold is a fault that names the row; nothing is rounded, cut or wrapped around.
* Objects are stored one by one; everything else without Python code per value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.codec.enums import EnumCodec, FlagsCodec
from tsmodel.codec.field import UNSUITABLE, FieldFault, FixedCodec, Mask
from tsmodel.codec.nested import NestedCodec
from tsmodel.codec.nullable import SentinelCodec
from tsmodel.codec.numbers import BitsCodec, ScalarCodec, ScaledCodec
from tsmodel.codec.octets import CharCodec, FixedBlobCodec, FixedTextCodec, IpCodec, UuidCodec
from tsmodel.codec.scalars import shown
from tsmodel.codec.sequences import FixedArrayCodec
from tsmodel.codec.times import DateCodec, DateTimeCodec, DurationCodec, UnixTimeCodec
from tsmodel.errors import TimestampError
from tsmodel.timestamps import EPOCH_UNIX_NS, to_ns

__all__ = ["RowFault", "stored_column"]

Array = npt.NDArray[Any]

_EPOCH_DAYS: Final = EPOCH_UNIX_NS // (86_400 * 10**9)
_DIGITS: Final = 10**15
_TIMES: Final = (str, dt.datetime, np.datetime64)


class RowFault(ValueError):  # noqa: N818 - it becomes part of an error
    """A value of a column that its field cannot hold.

    Attributes:
        row: its place in the column; None when the whole column is at fault.
        why: what is wrong, in words.
        value: the value.
        field: name of what is at fault inside of the field, with dots.
    """

    def __init__(self, row: int | None, why: str, value: object = None, field: str = "") -> None:
        super().__init__(why)
        self.row = row
        self.why = why
        self.value = value
        self.field = field


def stored_column(codec: FixedCodec, values: Array) -> Array:
    """What is stored for a column of values that are all there; shape (n,), of `codec.stored`.

    Args:
        codec: how one value is stored.
        values: shape (n,); for arrays and for fields of bytes (as uint8) also (n, m).

    Raises:
        RowFault: for the first value that cannot be stored.
    """
    if not len(values):  # as where no value is there: then nobody can tell of which type they would be
        return np.empty(0, codec.stored)
    if isinstance(codec, SentinelCodec):
        return _other_than_sentinel(codec, values)
    if values.ndim == 1 and values.strides == (0,) and len(values) > 1:  # one value for all rows
        return np.broadcast_to(stored_column(codec, values[:1]), values.shape)
    is_time = isinstance(codec, ScalarCodec) and codec.scalar.kind == "time"
    if values.dtype.kind == "O" or (values.dtype.kind == "U" and is_time):
        return _of_objects(codec, values.astype(object, copy=False))
    stored = _converted(codec, values)
    if stored is None:
        raise RowFault(None, f"a column of {_kind(values)} holds no values of {codec.label}: give {codec.accepts}")
    sound = stored.view(codec.dtype).reshape((len(stored), *codec.dtype.shape)) if stored.dtype.kind == "V" else stored
    refuse(codec.faulty(sound), values, lambda at: _why(codec, stored, at))
    return stored


def refuse(mask: Mask | None, values: Array, why: Callable[[int], str]) -> None:
    """Raises a `RowFault` at the first value for which `mask` (shape (n,)) is true."""
    if mask is not None and mask.any():
        at = int(mask.argmax())
        raise RowFault(at, why(at), _plain(values, at))


def _plain(values: Array, at: int) -> Any:
    value = values[at]
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "iufbUS" else value


def _kind(values: Array) -> str:
    return f"{values.dtype} of shape {values.shape}" if values.ndim > 1 else str(values.dtype)


def _why(codec: FixedCodec, stored: Array, at: int) -> str:
    octets = stored[at : at + 1].tobytes()
    try:
        codec.read(octets, 0, len(octets))
    except FieldFault as fault:
        return fault.why
    return f"{octets!r} is not {codec.accepts}"


def _other_than_sentinel(codec: SentinelCodec, values: Array) -> Array:
    stored = stored_column(codec.item, values)
    sound = stored.view(codec.dtype) if stored.dtype.kind == "V" else stored
    refuse(
        codec.absent(sound),
        values,
        lambda at: f"{shown(_plain(values, at))} is what stands for None; give None, or choose another null=",
    )
    return stored


def _of_objects(codec: FixedCodec, values: Array) -> Array:
    """Objects, each of which is stored as the field itself stores it."""
    octets = []
    for at, value in enumerate(values.ravel().tolist() if values.ndim == 1 else list(values)):
        try:
            octets.append(_written(codec, value))
        except FieldFault as fault:
            raise RowFault(at, fault.why, value, fault.field) from fault.__cause__ or fault
    return np.frombuffer(b"".join(octets), codec.stored)


def _written(codec: FixedCodec, value: Any) -> bytes:
    if isinstance(codec, (EnumCodec, FlagsCodec)) and isinstance(value, str):
        value = _member(codec, value)
    if getattr(value, "nanosecond", 0):
        raise FieldFault(
            f"{value} is finer than a datetime: give its column as datetime64[ns], or the frame to add_frame()"
        )
    if isinstance(codec, ScalarCodec) and codec.scalar.kind == "time" and isinstance(value, _TIMES):
        try:
            value = to_ns(value)
        except TimestampError as error:
            raise FieldFault(str(error)) from error
    elif isinstance(value, (np.number, np.bool_)):
        value = value.item()
    return codec.write(value)


def _member(codec: EnumCodec | FlagsCodec, name: str) -> Enum:
    member = codec.kind.__members__.get(name)
    if member is None:
        raise FieldFault(f"{name!r} is no name in {codec.kind.__name__}: {', '.join(codec.kind.__members__)}")
    return member


def _converted(codec: FixedCodec, values: Array) -> Array | None:
    """See `stored_column`; without a look at what bytes hold. None when such a column has no such values."""
    kind = values.dtype.kind
    if isinstance(codec, FixedArrayCodec):
        return values.view(codec.stored) if values.dtype == codec.stored else _items(codec, values)
    if isinstance(codec, (FixedTextCodec, FixedBlobCodec, UuidCodec, IpCodec)):
        return _octets(codec, values)
    if isinstance(codec, NestedCodec):
        if values.dtype != codec.dtype or values.ndim > 1:
            return None
        return np.ascontiguousarray(values).view(codec.stored)
    if values.ndim > 1:
        return None
    if isinstance(codec, CharCodec):
        return _characters(codec, values) if kind == "U" else None
    if isinstance(codec, (EnumCodec, FlagsCodec)) and kind == "U":
        return _names(codec, values)
    if kind == "M":
        return _times(codec, values)
    if kind == "m" and isinstance(codec, DurationCodec):
        return _rescaled(codec, values, f"m8[{codec.resolution}]", 0)
    if isinstance(codec, ScalarCodec) and codec.scalar.kind in ("float", "bool"):
        return _floats(codec, values) if codec.scalar.kind == "float" else values if kind == "b" else None
    if isinstance(codec, ScaledCodec) and kind == "f":
        return _units(codec, values)
    if codec.number is None or kind not in "iuf":
        return None
    return _integers(codec, values)


def _integers(codec: FixedCodec, values: Array) -> Array:
    """Integers as they are stored; floats that are whole numbers are integers."""
    bits = isinstance(codec, BitsCodec)
    info = np.iinfo(codec.dtype)
    least, greatest = (0, 2**codec.bits - 1) if isinstance(codec, BitsCodec) else (int(info.min), int(info.max))
    allowed = codec.accepts if bits or isinstance(codec, ScalarCodec) else f"an int from {least} to {greatest}"
    if values.dtype.kind == "f":
        exact = (np.abs(values) <= 2**53) & (values == np.floor(values))
        refuse(~exact, values, lambda at: f"{_plain(values, at)!r} (float) is not {allowed}")
        values = values.astype(np.int64)
    if len(values) and (int(values.min()) < least or int(values.max()) > greatest):
        mask = np.zeros(len(values), np.bool_)
        if int(values.min()) < least:
            mask |= values < least
        if int(values.max()) > greatest:
            mask |= values > greatest
        refuse(mask, values, lambda at: f"{_plain(values, at)!r} is not {allowed}")
    stored = values.astype(codec.dtype, copy=False)
    return stored << stored.dtype.type(codec.shift) if isinstance(codec, BitsCodec) else stored


def _floats(codec: ScalarCodec, values: Array) -> Array | None:
    if values.dtype.kind not in "iuf":
        return None
    if values.dtype == codec.dtype:
        return values
    with np.errstate(over="ignore"):
        stored = values.astype(codec.dtype)
    refuse(np.isinf(stored) & np.isfinite(values), values, lambda at: f"{_plain(values, at)!r} is not {codec.accepts}")
    return stored


def _units(codec: ScaledCodec, values: Array) -> Array:
    """Floats as units: each is the float next to a decimal number of so many places."""
    wide = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        units = np.rint(wide * 10.0**codec.digits)
        whole = (units / 10.0**codec.digits).astype(values.dtype) == values
    refuse(~whole, values, lambda at: f"{_plain(values, at)!r} has more than {codec.digits} decimal places: round it first")
    refuse(
        np.abs(units) > _DIGITS, values, lambda at: f"{_plain(values, at)!r} has more digits than a float holds for sure"
    )
    return _integers(codec, units.astype(np.int64))


def _times(codec: FixedCodec, values: Array) -> Array | None:
    if isinstance(codec, DateCodec):
        return _rescaled(codec, values, "M8[D]", -_EPOCH_DAYS)
    if isinstance(codec, UnixTimeCodec):
        return _rescaled(codec, values, f"M8[{codec.resolution}]", 0)
    if isinstance(codec, DateTimeCodec) or (isinstance(codec, ScalarCodec) and codec.scalar.kind == "time"):
        return _rescaled(codec, values, "M8[ns]", -EPOCH_UNIX_NS)
    return None


def _rescaled(codec: FixedCodec, values: Array, unit: str, shift: int) -> Array:
    """Times or lengths of time in another unit, exactly."""
    refuse(np.isnat(values), values, lambda _: "NaT is no time")
    scaled = _recast(values, unit)
    refuse(
        (_recast(scaled, values.dtype) != values) | np.isnat(scaled),
        values,
        lambda at: f"{values[at]} is no whole number of {np.datetime_data(unit)[0]}, or too far away",
    )
    counts = scaled.view(np.int64)
    if len(counts) and shift < 0:
        refuse(counts < np.iinfo(np.int64).min - shift, values, lambda at: f"{values[at]} is too early")
    return _integers(codec, counts + shift)


def _recast(values: Array, unit: npt.DTypeLike) -> Array:
    """Times in another unit; NaT, or a wrong time, for what is beyond its reach: NumPy wraps, and from 2.5 on raises."""
    try:
        return values.astype(unit)
    except OverflowError:
        recast = np.full(len(values), "NaT", unit)
        for row, value in enumerate(values):
            with suppress(OverflowError):
                recast[row] = value.astype(unit)
        return recast


def _characters(codec: CharCodec, values: Array) -> Array:
    refuse(np.char.str_len(values) != 1, values, lambda at: f"{_plain(values, at)!r} (str) is not {codec.accepts}")
    points = np.ascontiguousarray(values.astype("U1")).view(np.uint32)
    refuse(points > 255, values, lambda at: f"{_plain(values, at)!r} (str) is not {codec.accepts}")
    return points.astype(np.uint8)


def _names(codec: EnumCodec | FlagsCodec, values: Array) -> Array:
    names, places = np.unique(values, return_inverse=True)
    stored = np.zeros(len(names), codec.dtype)
    for at, name in enumerate(names.tolist()):
        try:
            stored[at] = _member(codec, name).value
        except FieldFault as fault:
            raise RowFault(int((values == name).argmax()), fault.why, name) from None
    column: Array = stored[places.reshape(-1)]
    return column


def _items(codec: FixedArrayCodec, values: Array) -> Array | None:
    if values.ndim != 2:
        return None
    if values.shape[1] != codec.length:
        raise RowFault(0 if len(values) else None, f"{values.shape[1]} items are given; the array has {codec.length}")
    try:
        items = stored_column(codec.item, values.reshape(-1))
    except RowFault as fault:
        if fault.row is None:
            raise
        row, at = divmod(fault.row, codec.length)
        raise RowFault(row, fault.why, fault.value, f"{at}.{fault.field}" if fault.field else str(at)) from fault
    return np.ascontiguousarray(items).view(f"V{codec.item.size}").view(codec.stored)


def _octets(codec: FixedTextCodec | FixedBlobCodec | UuidCodec | IpCodec, values: Array) -> Array | None:
    size = codec.size
    if values.ndim == 2 and values.dtype == np.uint8 and values.shape[1] == size:
        return np.ascontiguousarray(values).view(codec.stored).reshape(-1)
    if values.ndim > 1:
        return None
    is_text = isinstance(codec, FixedTextCodec)
    if values.dtype.kind == "U" and is_text:
        return _texts(codec, values)
    if values.dtype.kind == "S" and (is_text or isinstance(codec, FixedBlobCodec)):
        return _padded(size, values, values)
    return np.ascontiguousarray(values).view(codec.stored) if values.dtype == np.dtype(f"V{size}") else None


def _texts(codec: FixedCodec, values: Array) -> Array:
    try:
        return _padded(codec.size, np.char.encode(values, "utf-8"), values)
    except UNSUITABLE as error:
        if isinstance(error, RowFault):
            raise
        return _of_objects(codec, values.astype(object))  # tells the row


def _padded(size: int, octets: Array, values: Array) -> Array:
    lengths = np.char.str_len(octets)
    refuse(
        lengths > size,
        values,
        lambda at: f"{shown(_plain(values, at))} has {int(lengths[at])} bytes, and {size} can be stored",
    )
    return octets.astype(f"S{size}").view(f"V{size}")
