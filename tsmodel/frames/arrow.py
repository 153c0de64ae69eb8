"""Records as Arrow arrays, column by column.

Rules kept here:

* No Python code runs per value, unless a type has no other way (addresses, packed messages, structures that hold such,
  and all fields beside them in a payload of variable size): integers, times, decimals, enums, text, bytes and arrays are
  made of NumPy's buffers.
* Columns of a chunk that stay as they are become Arrow's without being copied, a chunk of the column each.
* Times become timestamps in UTC. One that Arrow cannot hold is an error, never wrapped around.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.codec import FieldCodec, FixedCodec, Layout, SpanRecords, VariableRecords
from tsmodel.codec.enums import EnumCodec, FlagsCodec
from tsmodel.codec.lengths import ArrayCodec, BlobCodec, PackedCodec, TextCodec
from tsmodel.codec.nested import NestedCodec
from tsmodel.codec.nullable import NullableCodec, SentinelCodec
from tsmodel.codec.numbers import BitsCodec, ScalarCodec, ScaledCodec
from tsmodel.codec.octets import CharCodec, FixedBlobCodec, FixedTextCodec, IpCodec, UuidCodec
from tsmodel.codec.sequences import FixedArrayCodec
from tsmodel.codec.times import DateCodec, DateTimeCodec, DurationCodec, UnixTimeCodec
from tsmodel.errors import DecodeError
from tsmodel.frames.growing import Growing
from tsmodel.frames.libraries import library
from tsmodel.model.meta import schema_of
from tsmodel.model.operands import ColumnInfo
from tsmodel.timestamps import EPOCH_UNIX_NS
from tsmodel.wire.chunk import ColumnRecords

__all__ = ["ArrowColumn", "arrow_schema", "arrow_type", "check_times"]

_EPOCH_DAYS: Final = EPOCH_UNIX_NS // (86_400 * 10**9)
_DIGITS: Final = {1: 3, 2: 5, 4: 10, 8: 20}
"""Decimal digits that integers of so many bytes have at most."""


def arrow_type(codec: FieldCodec) -> Any:
    """The Arrow type of a field's values."""
    pa = library("pyarrow", "Arrow")
    if isinstance(codec, (NullableCodec, SentinelCodec)):
        return arrow_type(codec.item)
    if isinstance(codec, ScalarCodec):
        if codec.scalar.kind == "time":
            return pa.timestamp("ns", "UTC")
        return pa.bool_() if codec.scalar.kind == "bool" else pa.from_numpy_dtype(np.dtype(codec.scalar.numpy))
    if isinstance(codec, DateTimeCodec):
        return pa.timestamp("ns", "UTC")
    if isinstance(codec, UnixTimeCodec):
        return pa.timestamp(codec.resolution, "UTC")
    if isinstance(codec, DurationCodec):
        return pa.duration(codec.resolution)
    if isinstance(codec, DateCodec):
        return pa.date32()
    if isinstance(codec, ScaledCodec):
        return pa.float64() if codec.as_float else pa.decimal128(max(_DIGITS[codec.size], codec.digits), codec.digits)
    if isinstance(codec, EnumCodec) and not codec.keep:
        return pa.dictionary(pa.int32(), pa.string())
    if isinstance(codec, (CharCodec, FixedTextCodec, TextCodec, IpCodec)):
        return pa.string()
    if isinstance(codec, (FixedBlobCodec, UuidCodec)):
        return pa.binary(codec.size)
    if isinstance(codec, (BlobCodec, PackedCodec)):
        return pa.binary()
    if isinstance(codec, FixedArrayCodec):
        return pa.list_(arrow_type(codec.item), codec.length)
    if isinstance(codec, ArrayCodec):
        return pa.list_(arrow_type(codec.item))
    if codec.number is not None:
        return pa.from_numpy_dtype(np.dtype(codec.number.numpy))
    layout: Layout = getattr(codec, "layout")  # noqa: B009 - a structure: there is no other kind
    return pa.struct([(field.name, arrow_type(field.codec)) for field in layout.fields])


def arrow_schema(model: type[Any], infos: Sequence[ColumnInfo]) -> Any:
    """The Arrow schema of columns of a model: units and docs in the metadata of its fields, the model's name in its own."""
    hashable: Any = model  # which checkers take no class of any kind for
    return _schema(hashable, tuple(info.name for info in infos))


@lru_cache(maxsize=256)
def _schema(model: Any, names: tuple[str, ...]) -> Any:
    """Kept, for making one takes as long as reading a small block."""
    pa = library("pyarrow", "Arrow")
    options = {spec.name: spec.options for spec in schema_of(model).specs}
    fields = []
    for name in names:
        info = schema_of(model).columns[name].info
        said = options.get(info.name)
        notes = {"unit": said.unit, "doc": said.doc} if said else {}
        metadata = {name: text for name, text in notes.items() if text}
        fields.append(pa.field(info.alias, arrow_type(info.codec), info.is_nullable, metadata or None))
    return pa.schema(fields, {"tsmodel": model.__name__})


_SHARED: Final = 2**14
"""Bytes from which a column is not copied: of smaller ones, Arrow would have too many chunks."""


class ArrowColumn:
    """A column of an Arrow table, of records that come a chunk at a time.

    Numbers that Arrow has as they are stored, or moved to another epoch, grow in memory that becomes Arrow's, unless they
    lie in memory that can be shared; of others, each chunk becomes an array.

    Args:
        info: which one.
        kind: its Arrow type.
    """

    def __init__(self, info: ColumnInfo, kind: Any) -> None:
        self._pa = library("pyarrow", "Arrow")
        self._info = info
        self._kind = kind
        self._shift = _shift(self._pa, info.codec, self._kind)
        self._numbers = Growing(np.uint8)
        self._present = Growing(np.bool_)
        self._arrays: list[Any] = []

    def add(self, records: Any) -> None:
        """Takes records that a codec's `fit` gave; they need not stay valid.

        Raises:
            DecodeError: when a time lies outside of what Arrow holds.
        """
        if self._shift is None or (isinstance(records, VariableRecords) and not self._info.is_key):
            self._end_numbers()
            self._arrays.append(_array(self._pa, self._info, records))
        else:
            values, present = self._info.values(records), self._info.present(records)
            if isinstance(records, ColumnRecords) and values.nbytes >= _SHARED:
                self._share_numbers(values, present, self._shift)
            else:
                self._add_numbers(values, present, self._shift)

    def result(self) -> Any:
        """The column so far, a `pyarrow.ChunkedArray`; the next one begins empty."""
        self._end_numbers()
        arrays, self._arrays = self._arrays, []
        return self._pa.chunked_array(arrays, self._kind)

    def _add_numbers(self, values: npt.NDArray[Any], present: npt.NDArray[np.bool_] | None, shift: int) -> None:
        dtype = values.dtype.newbyteorder("=")
        if dtype != self._numbers.dtype:
            self._end_numbers()
            self._numbers = Growing(dtype)
        room = self._numbers.room(len(values))
        room[:] = values
        if shift:
            check_times(self._info.alias, self._kind, room if present is None else room[present], shift)
            room += dtype.type(shift)
        if self._info.is_nullable:
            self._present.room(len(values))[:] = True if present is None else present

    def _share_numbers(self, values: npt.NDArray[Any], present: npt.NDArray[np.bool_] | None, shift: int) -> None:
        """Takes numbers that stay as they are."""
        dtype = values.dtype.newbyteorder("=")
        if shift:
            check_times(self._info.alias, self._kind, values if present is None else values[present], shift)
            values = np.add(values, dtype.type(shift), dtype=dtype)
        elif values.dtype != dtype or not values.flags.c_contiguous or _held(values) > 2 * values.nbytes:
            self._add_numbers(values, present, shift)
            return
        self._end_numbers()
        bits = None
        if present is not None and not present.all():
            bits = self._pa.py_buffer(np.packbits(present, bitorder="little"))
        self._arrays.append(self._pa.Array.from_buffers(self._kind, len(values), [bits, self._pa.py_buffer(values)]))

    def _end_numbers(self) -> None:
        if not len(self._numbers):
            return
        numbers, bits = self._numbers.result(), None
        if self._info.is_nullable and not (present := self._present.result()).all():
            bits = self._pa.py_buffer(np.packbits(present, bitorder="little"))
        buffers = [bits, self._pa.py_buffer(numbers)]
        self._arrays.append(self._pa.Array.from_buffers(self._kind, len(numbers), buffers))


def _held(values: npt.NDArray[Any]) -> int:
    """Bytes of memory that an array keeps alive."""
    base: Any = values
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return memoryview(base).nbytes


def _shift(pa: Any, codec: FieldCodec, kind: Any) -> int | None:
    """What makes stored numbers Arrow's values of some type, by addition; None where more than that is to be done."""
    item = codec.item if isinstance(codec, (NullableCodec, SentinelCodec)) else codec
    if item.number is None or isinstance(item, (ScaledCodec, BitsCodec)):
        return None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return 0
    if item.number.numpy == ("i4" if pa.types.is_date32(kind) else "i8") and pa.types.is_temporal(kind):
        return _epoch(item)
    return None


def _array(pa: Any, info: ColumnInfo, records: Any) -> Any:
    if isinstance(records, VariableRecords) and not info.is_key:
        kind = arrow_type(info.codec)
        try:
            return pa.array([_plain_value(info.codec, value) for value in records[info.name]], kind, from_pandas=False)
        except (OverflowError, pa.ArrowInvalid) as error:
            raise DecodeError(
                f"{info.alias} holds a value which is beyond Arrow's {kind}: {error}", field=info.alias
            ) from error
    if info.has_spans(records):
        return _variable(pa, info, records)
    if info.codec.number is not None and not isinstance(info.codec, (NullableCodec, SentinelCodec)):
        return _numbers(pa, info.alias, info.codec, info.values(records))
    item = info.field.item if info.field else info.codec
    array = _fixed(pa, info.alias, item, records[info.field.slot if info.field else info.name])
    present = info.present(records)
    if present is None or present.all():
        return array
    return _masked(pa, array, present)


def _variable(pa: Any, info: ColumnInfo, records: SpanRecords) -> Any:
    """An array of text, bytes or arrays, as they lie in the records."""
    assert info.field is not None
    item = info.field.item
    offsets, octets = records.contents(info.field)
    present = info.present(records)
    bits = None if present is None or present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    if isinstance(item, ArrayCodec):
        column = octets.view(item.item.dtype.base).reshape(-1, *item.item.dtype.shape)
        items = _fixed(pa, info.alias, item.item, column)
        places = pa.py_buffer((offsets // item.unit).astype(np.int32))
        return pa.ListArray.from_buffers(arrow_type(item), len(records), [bits, places], children=[items])
    buffers = [bits, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(octets)]
    return pa.Array.from_buffers(arrow_type(item), len(records), buffers)


def _masked(pa: Any, array: Any, present: npt.NDArray[np.bool_]) -> Any:
    """The same array, with nothing where `present` is false."""
    if array.type == pa.float16():  # which pyarrow before 21 has no if_else for
        bits = np.packbits(present, bitorder="little")
        return pa.Array.from_buffers(array.type, len(array), [pa.py_buffer(bits), array.buffers()[1]])
    return library("pyarrow.compute", "Arrow").if_else(pa.array(present), array, pa.scalar(None, array.type))


def _plain_value(codec: FieldCodec, value: Any) -> Any:
    """A value as Arrow takes it, where it does not take the value itself."""
    if value is None:
        return None
    item = codec.item if isinstance(codec, (NullableCodec, SentinelCodec)) else codec
    if isinstance(item, EnumCodec):
        return value.name if not item.keep else getattr(value, "value", value)
    if isinstance(item, PackedCodec):
        return item.octets(value)
    if isinstance(item, UuidCodec):
        return value.bytes
    if isinstance(item, IpCodec):
        return str(value)
    if isinstance(item, (ArrayCodec, FixedArrayCodec)):
        return [_plain_value(item.item, each) for each in value]
    layout = getattr(item, "layout", None)
    if layout is not None:
        return {field.name: _plain_value(field.codec, getattr(value, field.name)) for field in layout.fields}
    if isinstance(item, ScalarCodec):
        if item.scalar.numpy == "f2":  # pyarrow before 21 makes no halves of Python's floats
            return np.float16(value)
        return value + EPOCH_UNIX_NS if item.scalar.kind == "time" else value
    return item.dump(value) if isinstance(item, (UnixTimeCodec, FlagsCodec)) else value


def _fixed(pa: Any, name: str, codec: FieldCodec, column: npt.NDArray[Any]) -> Any:
    """An array of a column of fixed width (shape (n,), of the codec's dtype)."""
    if isinstance(codec, SentinelCodec):
        return _masked(pa, _fixed(pa, name, codec.item, column), ~codec.absent(column))
    assert isinstance(codec, FixedCodec)
    if codec.number is not None:
        return _numbers(pa, name, codec, column)
    count = len(column)
    if isinstance(codec, NestedCodec):
        parts = [_member(pa, name, field, column) for field in codec.layout.fields]
        return pa.StructArray.from_arrays(parts, fields=list(arrow_type(codec)))
    if isinstance(codec, FixedArrayCodec):
        items = np.ascontiguousarray(column).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(_fixed(pa, name, codec.item, items), codec.length)
    octets = np.ascontiguousarray(column).view(np.uint8).reshape(count, codec.size)
    if isinstance(codec, FixedTextCodec):
        filled = octets != 0
        return _strings(pa, filled.sum(axis=1), octets[filled])
    if isinstance(codec, CharCodec):
        wide = np.where(octets < 128, 1, 2).reshape(-1)
        return _strings(pa, wide, np.frombuffer(octets.tobytes().decode("latin-1").encode(), np.uint8))
    if isinstance(codec, IpCodec):
        return pa.array([str(codec.load(stored)) for stored in codec.stored_of(column)], pa.string())
    return pa.Array.from_buffers(pa.binary(codec.size), count, [None, pa.py_buffer(octets.tobytes())])


def _member(pa: Any, name: str, field: Any, column: npt.NDArray[Any]) -> Any:
    values = column[field.slot]
    if isinstance(field.item, BitsCodec):
        return pa.array(field.item.of(values).astype(field.item.storage.dtype().newbyteorder("=")))
    array = _fixed(pa, f"{name}.{field.name}", field.item, values)
    if field.bit is None:
        return array
    return _masked(pa, array, field.present(column))


def _strings(pa: Any, lengths: npt.NDArray[Any], octets: npt.NDArray[np.uint8]) -> Any:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(octets)))


def _numbers(pa: Any, name: str, codec: FieldCodec, column: npt.NDArray[Any]) -> Any:
    """An array of stored numbers."""
    values = np.ascontiguousarray(column.astype(column.dtype.newbyteorder("="), copy=column.dtype.isnative))
    kind = arrow_type(codec)
    if pa.types.is_temporal(kind):
        shift = _epoch(codec)
        check_times(name, kind, values, shift)
        width = np.int32 if pa.types.is_date32(kind) else np.int64
        return pa.array(values.astype(width) + width(shift)).view(kind)
    if isinstance(codec, ScaledCodec):
        return pa.array(values / 10.0**codec.digits) if codec.as_float else _decimals(pa, kind, values)
    if isinstance(codec, EnumCodec) and not codec.keep:
        return _dictionary(pa, codec, values)
    if values.dtype == np.bool_ and values.ndim == 1:  # several times as fast as Arrow
        bits = pa.py_buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(kind, len(values), [None, bits])
    return pa.array(values)


def _epoch(codec: FieldCodec) -> int:
    """How long Arrow's epoch lies before that of stored numbers, in their unit."""
    if isinstance(codec, DateCodec):
        return _EPOCH_DAYS
    return 0 if isinstance(codec, (DurationCodec, UnixTimeCodec)) else EPOCH_UNIX_NS


def check_times(name: str, kind: Any, values: npt.NDArray[Any], shift: int) -> None:
    """Refuses times that leave an Arrow type when they are shifted.

    Raises:
        DecodeError: when one does.
    """
    greatest = int(values.max()) if len(values) else 0
    if greatest > 2 ** (kind.bit_width - 1) - 1 - shift:
        raise DecodeError(
            f"{name} holds {greatest}, which is beyond Arrow's {kind}: take the column by columns(), which gives integers, "
            "or narrow the query",
            field=name,
        )


def _decimals(pa: Any, kind: Any, values: npt.NDArray[Any]) -> Any:
    """128-bit integers of two halves, the lower first."""
    halves = np.zeros((len(values), 2), np.uint64)
    if values.dtype.kind == "u":
        halves[:, 0] = values
    else:
        signed = values.astype(np.int64)
        halves[:, 0] = signed.view(np.uint64)
        halves[:, 1] = (signed >> 63).view(np.uint64)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(halves)])


def _dictionary(pa: Any, codec: EnumCodec, values: npt.NDArray[Any]) -> Any:
    members = sorted(codec.kind, key=lambda member: member.value)
    stored = np.array([member.value for member in members], values.dtype)
    places = np.searchsorted(stored, values).astype(np.int32)
    # An absent value may stand for no member; what hides it comes later.
    places = np.minimum(places, len(stored) - 1)
    return pa.DictionaryArray.from_arrays(pa.array(places), pa.array([member.name for member in members]))
