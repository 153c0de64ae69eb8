"""Columns of values on their way to storage: what field types have in common.

Rules kept here:

* Integers are stored numbers, as reading gives them: times as ns since 2001, enums and decimals as their integers. Only
  what NumPy knows as something else is converted: datetime64, timedelta64, text, floats of decimals.
* A value that the field cannot hold is a fault that names the row; nothing is rounded, cut or wrapped around.
* Objects are stored one by one; everything else without Python code per value.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.types.arrow import Unfit
from tsmodel.types.faults import UNSUITABLE, FieldFault, Mask, RowFault
from tsmodel.types.scalars import shown

if TYPE_CHECKING:
    from tsmodel.types.base import FixedCodec, NumberCodec

__all__ = [
    "distinct_stored",
    "encoded",
    "given_type",
    "integers",
    "of_objects",
    "opaque",
    "padded",
    "plain_value",
    "refuse",
    "rescaled",
]

Array: TypeAlias = npt.NDArray[Any]


def refuse(mask: Mask | None, values: Array, why: Callable[[int], str]) -> None:
    """Raises a `RowFault` at the first value for which `mask` (shape (n,)) is true."""
    if mask is not None and mask.any():
        at = int(mask.argmax())
        raise RowFault(at, why(at), plain_value(values, at))


def plain_value(values: Array, at: int) -> Any:
    """A value of a column, as Python's own where it is a number or text."""
    value = values[at]
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "iufbUS" else value


def given_type(values: Array) -> str:
    """The type of a column, in words."""
    return f"{values.dtype} of shape {values.shape}" if values.ndim > 1 else str(values.dtype)


def of_objects(codec: FixedCodec, values: Array) -> Array:
    """Objects, each of which is stored as the field itself stores it."""
    octets = []
    for at, value in enumerate(values.ravel().tolist() if values.ndim == 1 else list(values)):
        try:
            octets.append(codec.written(value))
        except FieldFault as fault:
            raise RowFault(at, fault.why, value, fault.field) from fault.__cause__ or fault
    return np.frombuffer(b"".join(octets), codec.stored)


def integers(codec: NumberCodec, values: Array) -> Array:
    """Integers as they are stored; floats that are whole numbers are integers."""
    least, greatest = codec.limits
    if values.dtype.kind == "f":
        exact = (np.abs(values) <= 2**53) & (values == np.floor(values))
        refuse(~exact, values, lambda at: f"{plain_value(values, at)!r} (float) is not {codec.allowed()}")
        values = values.astype(np.int64)
    if len(values) and (int(values.min()) < least or int(values.max()) > greatest):
        mask = np.zeros(len(values), np.bool_)
        if int(values.min()) < least:
            mask |= values < least
        if int(values.max()) > greatest:
            mask |= values > greatest
        refuse(mask, values, lambda at: f"{plain_value(values, at)!r} is not {codec.allowed()}")
    return values.astype(codec.dtype, copy=False)


def rescaled(codec: NumberCodec, values: Array, unit: str, shift: int) -> Array:
    """Times or lengths of time as integers of another unit, exactly."""
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
    return integers(codec, counts + shift)


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


def distinct_stored(
    codec: FixedCodec, distinct: list[Any], places: Array, value_of: Callable[[Any], Any] = lambda text: text
) -> Array:
    """What is stored for distinct texts of an Arrow array; `value_of` makes a value of one that is to be stored.

    Args:
        places: of each row, the place of its text.

    Raises:
        Unfit: with the first row of a text that is no value.
    """
    objects = np.empty(len(distinct), object)
    objects[:] = distinct
    for at, value in enumerate(distinct):
        try:
            objects[at] = value_of(value)
            codec.stored_column(objects[at : at + 1])
        except ValueError as error:
            row = int((places == at).argmax())
            raise Unfit(error.why if isinstance(error, RowFault) else str(error), row, value) from error
    return codec.stored_column(objects)


def opaque(codec: FixedCodec, values: Array) -> Array | None:
    """Values that are bytes of the field's size already; None when they are not."""
    if values.ndim == 2 and values.dtype == np.uint8 and values.shape[1] == codec.size:
        return np.ascontiguousarray(values).view(codec.stored).reshape(-1)
    if values.ndim > 1 or values.dtype != np.dtype(f"V{codec.size}"):
        return None
    return np.ascontiguousarray(values).view(codec.stored)


def encoded(codec: FixedCodec, values: Array) -> Array:
    """Text as UTF-8, filled up with NUL."""
    try:
        return padded(codec.size, np.char.encode(values, "utf-8"), values)
    except UNSUITABLE as error:
        if isinstance(error, RowFault):
            raise
        return of_objects(codec, values.astype(object))  # tells the row


def padded(size: int, octets: Array, values: Array) -> Array:
    """Bytes filled up with NUL."""
    lengths = np.char.str_len(octets)
    refuse(
        lengths > size,
        values,
        lambda at: f"{shown(plain_value(values, at))} has {int(lengths[at])} bytes, and {size} can be stored",
    )
    return octets.astype(f"S{size}").view(f"V{size}")
