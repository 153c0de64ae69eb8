"""Arrow arrays as columns to be stored: what `tsmodel.frames.arrow` makes, the other way round.

No Python code runs per value, unless a type has no other way: structures, addresses, and fields of variable size.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.codec import FieldCodec, FixedCodec
from tsmodel.codec.column_rows import Given
from tsmodel.codec.enums import EnumCodec, FlagsCodec
from tsmodel.codec.lengths import ArrayCodec, PackedCodec
from tsmodel.codec.nested import NestedCodec, VariableNestedCodec
from tsmodel.codec.nullable import NullableCodec, SentinelCodec
from tsmodel.codec.numbers import ScaledCodec
from tsmodel.codec.octets import CharCodec, FixedBlobCodec, FixedTextCodec, IpCodec, UuidCodec
from tsmodel.codec.sequences import FixedArrayCodec
from tsmodel.codec.stored_columns import RowFault, stored_column
from tsmodel.codec.times import DurationCodec, UnixTimeCodec
from tsmodel.frames.libraries import library

__all__ = ["Nans", "Unfit", "given_of"]

Array = npt.NDArray[Any]

Nans: TypeAlias = Literal["values", "items"]


class Unfit(ValueError):  # noqa: N818 - it becomes part of an error
    """An array that holds no values of a field; `row` and `value` where it is a single value."""

    def __init__(self, why: str, row: int | None = None, value: object = None) -> None:
        super().__init__(why)
        self.row = row
        self.value = value


def given_of(name: str, codec: FieldCodec, array: Any, *, nans: Nans | None = None) -> Given:
    """An Arrow array as a column of a field.

    Args:
        name: what the column is called.
        codec: of the field.
        array: the values.
        nans: whether missing values, or missing items of lists, are NaN where there must be one.

    Raises:
        Unfit: when the array's type has no values of the field.
    """
    is_nullable = isinstance(codec, (NullableCodec, SentinelCodec))
    item: Any = codec.item if isinstance(codec, (NullableCodec, SentinelCodec)) else codec
    if is_nullable and array.null_count == len(array):  # of whatever type the column is
        return Given(name, np.empty(len(array), object), np.zeros(len(array), np.bool_))
    if nans == "values" and array.null_count and not is_nullable:
        return Given(name, array.to_numpy(zero_copy_only=False))  # which gives NaN for nulls
    if nans == "items" and isinstance(item, (ArrayCodec, FixedArrayCodec)):
        array = _with_nans(array)
    present = None
    if array.null_count:
        present = array.is_valid().to_numpy(zero_copy_only=False)
    if isinstance(item, FixedCodec):
        return Given(name, _fixed(item, array), present)
    objects = np.empty(len(array), object)
    objects[:] = _objects(item, array)
    return Given(name, objects, present)


def _with_nans(array: Any) -> Any:
    """The same lists, with NaN for items that are missing floats."""
    pa = library("pyarrow", "Arrow")
    if not _is_list(pa.types, array.type) or not pa.types.is_floating(array.type.value_type) or not array.values.null_count:
        return array
    items = pa.array(array.values.to_numpy(zero_copy_only=False), from_pandas=False)  # which gives NaN for nulls
    return pa.Array.from_buffers(array.type, len(array), array.buffers()[:2], offset=array.offset, children=[items])


def _fixed(codec: FixedCodec, array: Any) -> Array:
    """Values as `stored_column` takes them; anything where there is none."""
    pa = library("pyarrow", "Arrow")
    types = pa.types
    kind = array.type
    if types.is_null(kind):
        return np.zeros((len(array),), np.int64) if codec.number is not None else np.empty(len(array), object)
    if types.is_dictionary(kind) and not isinstance(codec, (EnumCodec, FlagsCodec)):
        array = array.dictionary_decode()
        kind = array.type
    if isinstance(codec, ScaledCodec) and (types.is_decimal(kind) or types.is_integer(kind)):
        return _units(pa, codec, array)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        if types.is_float16(kind):  # pyarrow before 21 fills no nulls of it; NaN stands in their place
            halves: Array = array.to_numpy(zero_copy_only=False)
            return halves
        values: Array = array.fill_null(False if types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
        return values
    if types.is_temporal(kind):
        return _times(pa, codec, array)
    if _is_text(types, kind) or types.is_dictionary(kind):
        return _texts(pa, codec, array)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        if not isinstance(codec, (FixedBlobCodec, UuidCodec, FixedTextCodec, IpCodec)):
            raise Unfit(f"a column of {kind} holds no values of {codec.label}: give {codec.accepts}")
        exact = isinstance(codec, (UuidCodec, IpCodec))
        return _padded(array.cast(pa.large_binary()), codec.size, exact)
    if isinstance(codec, FixedArrayCodec) and (_is_list(types, kind) or types.is_fixed_size_list(kind)):
        return _items(pa, codec, array)
    if types.is_struct(kind) and isinstance(codec, (NestedCodec, VariableNestedCodec)):
        objects = np.empty(len(array), object)
        objects[:] = _objects(codec, array)
        return objects
    raise Unfit(f"a column of {kind} holds no values of {codec.label}: give {codec.accepts}")


def _is_text(types: Any, kind: Any) -> bool:
    is_view = getattr(types, "is_string_view", None)
    return bool(types.is_string(kind) or types.is_large_string(kind) or (is_view is not None and is_view(kind)))


def _is_list(types: Any, kind: Any) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind))


def _times(pa: Any, codec: FixedCodec, array: Any) -> Array:
    kind = array.type
    if pa.types.is_time(kind):
        raise Unfit(f"a column of {kind} holds times of day")
    if pa.types.is_timestamp(kind) and kind.tz is None:
        raise Unfit(f"a column of {kind} has times without a zone: say which, such as by tz_localize or replace_time_zone")
    width = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    counts = array.view(width).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    if pa.types.is_date(kind):
        return counts.view("M8[D]" if pa.types.is_date32(kind) else "M8[ms]")  # type: ignore[no-any-return]
    if isinstance(codec, (UnixTimeCodec, DurationCodec)) and codec.resolution == kind.unit:
        stored: Array = counts
        return stored
    nothing = counts == np.iinfo(np.int64).min
    if nothing.any():  # NumPy would take it for NaT
        row = int(nothing.argmax())
        raise Unfit(
            f"{int(counts[row])} {kind.unit} in a column of {kind} is too far away for {codec.label}", row, int(counts[row])
        )
    letter = "m" if pa.types.is_duration(kind) else "M"
    return counts.view(f"{letter}8[{kind.unit}]")  # type: ignore[no-any-return]


def _units(pa: Any, codec: ScaledCodec, array: Any) -> Array:
    """Decimal numbers and integers as integers of units."""
    wide = pa.decimal128(38, codec.digits)
    try:
        scaled = array.cast(pa.decimal128(38, 0) if pa.types.is_integer(array.type) else array.type).cast(wide)
    except pa.ArrowException:
        for row, value in enumerate(array.to_pylist()):
            if value is not None and (fault := codec.fault(value)):
                raise Unfit(fault.why, row, value) from None
        raise
    halves = np.frombuffer(scaled.buffers()[1], np.uint64).reshape(-1, 2)[scaled.offset : scaled.offset + len(array)]
    low, high = np.array(halves[:, 0]), np.array(halves[:, 1])
    present = array.is_valid().to_numpy(zero_copy_only=False)
    low[~present], high[~present] = 0, 0
    unsigned = codec.dtype.kind == "u"
    units: Array = low if unsigned else low.view(np.int64)
    beyond = high != (0 if unsigned else (low.view(np.int64) >> 63).view(np.uint64))
    if beyond.any():
        row = int(beyond.argmax())
        value = array[row].as_py()
        raise Unfit(f"{value!r} is not {codec.accepts}", row, value)
    return units


def _texts(pa: Any, codec: FixedCodec, array: Any) -> Array:
    if isinstance(codec, (EnumCodec, FlagsCodec, CharCodec, IpCodec)):
        coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        places = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
        values = _coded(codec, coded.dictionary.to_pylist(), places)
        return values[places] if len(values) else np.zeros(len(array), codec.stored)
    if not isinstance(codec, (FixedTextCodec, FixedBlobCodec)):
        raise Unfit(f"a column of {array.type} holds no values of {codec.label}: give {codec.accepts}")
    return _padded(array.cast(pa.large_string()), codec.size, False)


def _coded(codec: FixedCodec, distinct: list[Any], places: Array) -> Array:
    """Distinct values, each stored once."""
    objects = np.empty(len(distinct), object)
    objects[:] = distinct
    for at, value in enumerate(distinct):
        try:
            if isinstance(codec, IpCodec):
                objects[at] = ipaddress.ip_address(value)
            stored_column(codec, objects[at : at + 1])
        except ValueError as error:
            row = int((places == at).argmax())
            raise Unfit(error.why if isinstance(error, RowFault) else str(error), row, value) from error
    stored = stored_column(codec, objects)
    return stored.view(np.uint8).reshape(-1, codec.size) if stored.dtype.kind == "V" else _as_given(codec, stored)


def _as_given(codec: FixedCodec, stored: Array) -> Array:
    if not isinstance(codec, CharCodec):
        return stored
    return stored.astype(np.uint32).view("U1") if stored.all() else np.array([chr(each) for each in stored], object)


def _padded(array: Any, size: int, exact: bool) -> Array:
    """Bytes of variable length as rows of `size` bytes, filled up with NUL; shape (n, size), uint8."""
    count = len(array)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + count + 1]
    data = array.buffers()[2]
    octets = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    lengths = np.diff(offsets)
    if array.null_count:
        lengths = np.where(array.is_valid().to_numpy(zero_copy_only=False), lengths, size if exact else 0)
    wrong = lengths != size if exact else lengths > size
    if wrong.any():
        row = int(wrong.argmax())
        many = f"and {size} can be stored" if not exact else f"where the field takes {size}"
        raise Unfit(f"{array[row].as_py()!r} has {int(lengths[row])} bytes, {many}", row, array[row].as_py())
    filled = np.zeros((count, size), np.uint8)
    places = np.arange(size) < lengths[:, None]
    if array.null_count:
        places &= array.is_valid().to_numpy(zero_copy_only=False)[:, None]
        filled[places] = octets[(offsets[:-1, None] + np.arange(size))[places]]
    else:
        filled[places] = octets[offsets[0] : offsets[-1]]
    return filled


def _items(pa: Any, codec: FixedArrayCodec, array: Any) -> Array:
    if pa.types.is_fixed_size_list(array.type) and array.type.list_size == codec.length and not array.null_count:
        flat = array.flatten()
    else:
        lengths = library("pyarrow.compute", "Arrow").list_value_length(array).fill_null(codec.length)
        wrong = lengths.to_numpy(zero_copy_only=False) != codec.length
        if wrong.any():
            row = int(wrong.argmax())
            raise Unfit(f"{lengths[row]} items are given; the array has {codec.length}", row, array[row].as_py())
        filler = pa.scalar([None] * codec.length, pa.list_(array.type.value_type))
        plain = array.cast(pa.list_(array.type.value_type))
        flat = library("pyarrow.compute", "Arrow").if_else(array.is_valid(), plain, filler).flatten()
        if array.null_count:
            flat = _of_present(array, flat, codec.length)
    if flat.null_count:
        row = int(flat.is_null().to_numpy(zero_copy_only=False).argmax()) // codec.length
        raise Unfit("an item is missing", row, array[row].as_py())
    try:
        stored = stored_column(codec.item, _fixed(codec.item, flat))
    except (Unfit, RowFault) as fault:
        row_at = None if fault.row is None else fault.row // codec.length
        raise Unfit(str(fault), row_at, fault.value) from fault
    whole = np.zeros(len(array) * codec.length, stored.dtype)
    if array.null_count:
        whole[np.repeat(array.is_valid().to_numpy(zero_copy_only=False), codec.length)] = stored
    else:
        whole = np.array(stored)
    return whole.view(f"V{codec.item.size}").view(f"V{codec.size}")


def _of_present(array: Any, flat: Any, length: int) -> Any:
    """The items of those lists that are there."""
    return flat.filter(
        library("pyarrow", "Arrow").array(np.repeat(array.is_valid().to_numpy(zero_copy_only=False), length))
    )


def _objects(codec: Any, array: Any) -> list[Any]:
    """Values as objects of a model have them, None where there is none."""
    pa = library("pyarrow", "Arrow")
    present = array.is_valid().to_pylist()
    if isinstance(codec, (NullableCodec, SentinelCodec)):
        return _objects(codec.item, array)
    if isinstance(codec, FixedCodec) and not isinstance(codec, NestedCodec):
        if array.null_count == len(array):
            return [None] * len(array)
        try:
            stored = stored_column(codec, _fixed(codec, array.drop_null()))
        except RowFault as fault:
            row = None if fault.row is None else [at for at, there in enumerate(present) if there][fault.row]
            raise Unfit(fault.why, row, fault.value) from fault
        sound = stored.view(codec.dtype).reshape((len(stored), *codec.dtype.shape)) if stored.dtype.kind == "V" else stored
        loaded = iter([codec.load(each) for each in codec.stored_of(sound)])
        return [next(loaded) if there else None for there in present]
    if isinstance(codec, (NestedCodec, VariableNestedCodec)):
        if not pa.types.is_struct(array.type):
            raise Unfit(f"a column of {array.type} holds no values of {codec.label}: give structures")
        there = {array.type.field(at).name for at in range(array.type.num_fields)}
        if lacking := [field.name for field in codec.layout.fields if field.name not in there]:
            raise Unfit(f"a structure of {codec.kind.__name__} needs {', '.join(lacking)}")
        members = [_objects(field.codec, array.field(field.name)) for field in codec.layout.fields]
        made = zip(*members, strict=True)
        return [codec.made(values) if is_there else None for values, is_there in zip(made, present, strict=True)]
    if isinstance(codec, ArrayCodec) and (_is_list(pa.types, array.type) or pa.types.is_fixed_size_list(array.type)):
        items = iter(_objects(codec.item, array.flatten()))
        lengths = library("pyarrow.compute", "Arrow").list_value_length(array).to_pylist()
        lists = [None if length is None else [next(items) for _ in range(length)] for length in lengths]
        return [_as_array(codec, each) for each in lists]
    values = array.to_pylist()
    if isinstance(codec, PackedCodec):
        return [codec.content(value) if isinstance(value, bytes) else value for value in values]
    return values  # type: ignore[no-any-return]


def _as_array(codec: Any, items: Any) -> Any:
    return items if items is None or not codec.as_numpy else np.array(items, codec.item.dtype)
