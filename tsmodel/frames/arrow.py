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

from tsmodel.errors import DecodeError
from tsmodel.frames.growing import Growing
from tsmodel.frames.libraries import library
from tsmodel.layout import SpanRecords, VariableRecords
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.meta import schema_of
from tsmodel.types.codec import FieldCodec
from tsmodel.types.column_facet import check_times, masked
from tsmodel.wire.chunk import ColumnRecords

__all__ = ["ArrowColumn", "arrow_schema"]


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
        fields.append(pa.field(info.alias, info.codec.arrow_type(pa), info.is_nullable, metadata or None))
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
    held: Any = values
    while isinstance(held, np.ndarray) and held.base is not None:
        held = held.base
    buffer: Any = held
    return memoryview(buffer).nbytes


def _shift(pa: Any, codec: FieldCodec, kind: Any) -> int | None:
    """What makes stored numbers Arrow's values of some type, by addition; None where more than that is to be done."""
    fixed = codec.present.as_fixed
    return None if fixed is None or fixed.number is None else fixed.arrow_shift(pa, kind)


def _array(pa: Any, info: ColumnInfo, records: Any) -> Any:
    if isinstance(records, VariableRecords) and not info.is_key:
        kind = info.codec.arrow_type(pa)
        objects: Any = records[info.name]
        values = [None if value is None else info.codec.arrow_value(value) for value in objects]
        try:
            return pa.array(values, kind, from_pandas=False)
        except (OverflowError, pa.ArrowInvalid) as error:
            raise DecodeError(
                f"{info.alias} holds a value which is beyond Arrow's {kind}: {error}", field=info.alias
            ) from error
    if info.has_spans(records):
        return _spans(pa, info, records)
    if info.field is None:
        return info.fixed.to_arrow(pa, info.alias, records[info.name])
    array = info.fixed.to_arrow(pa, info.alias, records[info.field.slot])
    rows: Any = records
    present = None if info.field.bit is None else info.field.present(rows)
    return array if present is None or present.all() else masked(pa, array, present)


def _spans(pa: Any, info: ColumnInfo, records: SpanRecords) -> Any:
    """An array of text, bytes or arrays, as they lie in the records."""
    assert info.field is not None
    length = info.field.item.as_length
    assert length is not None
    offsets, octets = records.contents(info.field)
    present = info.present(records)
    bits = None if present is None or present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    return length.spans_to_arrow(pa, info.alias, offsets, octets, bits)
