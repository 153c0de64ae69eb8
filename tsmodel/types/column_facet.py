"""Conversion of NumPy and Arrow columns to stored values and back: code that field types share.

Rules kept here:

* Integers in columns are the stored numbers, in both directions: times are ns since 2001, enums and decimals are their
  integers. Only other NumPy types are converted: datetime64, timedelta64, text, floats for decimals.
* A value that the field cannot hold is a fault that names the row; nothing is rounded, truncated or wrapped around. A time
  that is out of range for Arrow is an error, too. In Arrow, times are timestamps in UTC.
* Objects are converted one by one. Everything else is vectorized, except for IP addresses, packed messages, and structures
  that contain them.
* pyarrow is passed in as `pa`; it is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import DecodeError
from tsmodel.types.field_faults import FieldFault, Mask, RowFault
from tsmodel.types.scalars import int_within, shown

if TYPE_CHECKING:
    from tsmodel.types.codec import FixedCodec, NumberCodec


Array: TypeAlias = npt.NDArray[Any]


def compute() -> Any:
    """Imports `pyarrow.compute`, which the `pa` that callers pass does not include."""
    import pyarrow.compute

    return pyarrow.compute


def native(column: Array) -> Array:
    """A column of numbers, contiguous and in the machine's byte order."""
    return np.ascontiguousarray(column.astype(column.dtype.newbyteorder("="), copy=column.dtype.isnative))


def object_column(values: Sequence[Any]) -> Array:
    """A column of objects, shape (n,), also where values are sequences."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


def masked(pa: Any, array: Any, present: npt.NDArray[np.bool_]) -> Any:
    """The same array with null where `present` is false."""
    if array.type == pa.float16():  # pyarrow before 21 has no if_else for it
        bits = np.packbits(present, bitorder="little")
        return pa.Array.from_buffers(array.type, len(array), [pa.py_buffer(bits), array.buffers()[1]])
    return compute().if_else(pa.array(present), array, pa.scalar(None, array.type))


def strings(pa: Any, lengths: Array, raw: npt.NDArray[np.uint8]) -> Any:
    """An Arrow array of the texts that are concatenated in `raw`."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(raw)))


def check_times(name: str, kind: Any, values: Array, shift: int) -> None:
    """Checks that shifted times are in range for an Arrow type.

    Raises:
        DecodeError: if one is not.
    """
    greatest = int(values.max()) if len(values) else 0
    if greatest > 2 ** (kind.bit_width - 1) - 1 - shift:
        raise DecodeError(
            f"{name} contains {greatest}, which is out of range for Arrow's {kind}: use columns(), which returns integers, "
            "or narrow the query",
            field=name,
        )


def decoded(pa: Any, array: Any) -> Any:
    """Decodes a dictionary array; returns any other array unchanged."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def is_text(pa: Any, kind: Any) -> bool:
    """Whether an Arrow type is text."""
    is_view = getattr(pa.types, "is_string_view", None)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or (is_view is not None and is_view(kind)))


def is_list(pa: Any, kind: Any, *, fixed: bool = True) -> bool:
    """Whether an Arrow type is a list; lists of fixed length count only if `fixed`."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or (fixed and pa.types.is_fixed_size_list(kind)))


def is_binary(pa: Any, kind: Any) -> bool:
    """Whether an Arrow type is binary."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def times_given(pa: Any, array: Any, label: str, resolution: str | None = None) -> Array:
    """Converts Arrow times, dates or durations to NumPy's; those in units of `resolution` to integers."""
    kind = array.type
    if pa.types.is_time(kind):
        raise RowFault(None, f"a column of {kind} holds times of day")
    if pa.types.is_timestamp(kind) and kind.tz is None:
        raise RowFault(
            None, f"a column of {kind} has times without a zone: give it one, with tz_localize or replace_time_zone"
        )
    width = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    counts = array.view(width).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    if pa.types.is_date(kind):
        return counts.view("M8[D]" if pa.types.is_date32(kind) else "M8[ms]")  # type: ignore[no-any-return]
    if resolution == kind.unit:
        stored: Array = counts
        return stored
    nothing = counts == np.iinfo(np.int64).min
    if nothing.any():  # NumPy would read it as NaT
        row = int(nothing.argmax())
        why = f"{int(counts[row])} {kind.unit} in a column of {kind} is out of range for {label}"
        raise RowFault(row, why, int(counts[row]))
    letter = "m" if pa.types.is_duration(kind) else "M"
    return counts.view(f"{letter}8[{kind.unit}]")  # type: ignore[no-any-return]


def stored_texts(pa: Any, array: Any, codec: FixedCodec, value_of: Callable[[str], Any] = lambda text: text) -> Array:
    """The stored values of an Arrow array of texts or of a dictionary of them, arbitrary for null; shape (n,).

    Each distinct text is converted once, to the value that `value_of` returns.

    Raises:
        RowFault: for the first row whose text is not a value.
    """
    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    places = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    values = object_column(coded.dictionary.to_pylist())
    for at, text in enumerate(values.tolist()):
        try:
            values[at] = value_of(text)
            codec.stored_column(values[at : at + 1])
        except ValueError as error:
            row = int((places == at).argmax())
            raise RowFault(row, error.why if isinstance(error, RowFault) else str(error), text) from error
    stored: Array = codec.stored_column(values)[places] if len(values) else np.zeros(len(array), codec.stored)
    return stored


def padded_bytes(array: Any, size: int, *, exact: bool) -> Array:
    """Pads bytes of variable length with NUL to rows of `size` bytes; shape (n, size), uint8.

    Args:
        array: of large_binary or large_string.
        size: bytes of a row.
        exact: whether fewer bytes are a fault.
    """
    count = len(array)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + count + 1]
    data = array.buffers()[2]
    raw = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    lengths = np.diff(offsets)
    if array.null_count:
        lengths = np.where(array.is_valid().to_numpy(zero_copy_only=False), lengths, size if exact else 0)
    wrong = lengths != size if exact else lengths > size
    if wrong.any():
        row = int(wrong.argmax())
        many = f"but the field {'takes' if exact else 'holds at most'} {size}"
        raise RowFault(row, f"{array[row].as_py()!r} has {int(lengths[row])} bytes, {many}", array[row].as_py())
    filled = np.zeros((count, size), np.uint8)
    places = np.arange(size) < lengths[:, None]
    if array.null_count:
        places &= array.is_valid().to_numpy(zero_copy_only=False)[:, None]
        filled[places] = raw[(offsets[:-1, None] + np.arange(size))[places]]
    else:
        filled[places] = raw[offsets[0] : offsets[-1]]
    return filled


def refuse(mask: Mask | None, values: Array, why: Callable[[int], str]) -> None:
    """Raises a `RowFault` at the first value for which `mask` (shape (n,)) is true."""
    if mask is not None and mask.any():
        at = int(mask.argmax())
        raise RowFault(at, why(at), plain_value(values, at))


def plain_value(values: Array, at: int) -> Any:
    """A value of a column; a NumPy number or text becomes a Python object."""
    value = values[at]
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "iufbUS" else value


def given_type(values: Array) -> str:
    """The type of a column, in words."""
    return f"{values.dtype} of shape {values.shape}" if values.ndim > 1 else str(values.dtype)


def of_objects(codec: FixedCodec, values: Array) -> Array:
    """Stores a column of objects one by one."""
    raw = []
    for at, value in enumerate(values.ravel().tolist() if values.ndim == 1 else list(values)):
        try:
            raw.append(codec.written(value))
        except FieldFault as fault:
            raise RowFault(at, fault.why, value, fault.field) from fault.__cause__ or fault
    return np.frombuffer(b"".join(raw), codec.stored)


def integers(codec: NumberCodec, values: Array) -> Array:
    """Stores a column of integers, or of floats that are whole numbers."""
    least, greatest = codec.limits
    if values.dtype.kind == "f":
        exact = (np.abs(values) <= 2**53) & (values == np.floor(values))
        refuse(~exact, values, lambda at: f"{plain_value(values, at)!r} (float) is not {int_within(least, greatest)}")
        values = values.astype(np.int64)
    if len(values) and (int(values.min()) < least or int(values.max()) > greatest):
        mask = np.zeros(len(values), np.bool_)
        if int(values.min()) < least:
            mask |= values < least
        if int(values.max()) > greatest:
            mask |= values > greatest
        refuse(mask, values, lambda at: f"{plain_value(values, at)!r} is not {int_within(least, greatest)}")
    return values.astype(codec.dtype, copy=False)


def rescaled(codec: NumberCodec, values: Array, unit: str, shift: int) -> Array:
    """Converts times or durations to integers of another unit, exactly."""
    refuse(np.isnat(values), values, lambda _: "NaT is not a time")
    scaled = _recast(values, unit)
    refuse(
        (_recast(scaled, values.dtype) != values) | np.isnat(scaled),
        values,
        lambda at: f"{values[at]} is not a whole number of {np.datetime_data(unit)[0]}, or is out of range",
    )
    counts = scaled.view(np.int64)
    if len(counts) and shift < 0:
        refuse(counts < np.iinfo(np.int64).min - shift, values, lambda at: f"{values[at]} is too early")
    return integers(codec, counts + shift)


def _recast(values: Array, unit: npt.DTypeLike) -> Array:
    """Converts times to another unit. Times out of range become NaT or wrong: NumPy wraps around, and raises since 2.5."""
    try:
        return values.astype(unit)
    except OverflowError:
        recast = np.full(len(values), "NaT", unit)
        for row, value in enumerate(values):
            with suppress(OverflowError):
                recast[row] = value.astype(unit)
        return recast


def padded(size: int, raw: Array, values: Array) -> Array:
    """Pads bytes with NUL."""
    lengths = np.char.str_len(raw)
    refuse(
        lengths > size,
        values,
        lambda at: f"{shown(plain_value(values, at))} has {int(lengths[at])} bytes, but the field holds at most {size}",
    )
    return raw.astype(f"S{size}").view(f"V{size}")
