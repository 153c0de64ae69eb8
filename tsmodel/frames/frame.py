"""Records as NumPy arrays, Arrow tables, pandas and polars frames, and Parquet files. Sinks add the records of each chunk.

Rules kept here:

* NumPy columns hold numbers as they are stored, in native byte order: times as ns since 2001, enums and decimals as their
  integers. Fields without a stored number become text or objects. A nullable column is a masked array.
* No result points into a chunk, because the chunk's memory is reused.
* Arrow arrays of integers, times, decimals, enums, text, bytes and arrays are made from NumPy's buffers. Python code runs
  for each value only where a type has no other way: addresses, packed messages, structures that contain these, and all
  fields next to them in a payload of variable size. A column of a chunk that stays valid becomes an Arrow chunk without a
  copy.
* Times become Arrow timestamps in UTC. A time that Arrow cannot hold is an error; it never wraps around.
* Values are copied once, into memory that is reserved generously: reserved pages cost nothing until they are used. NumPy
  asks the system for large pages. Small ones, as a growing `bytearray` gets them, would take four times as long as copying
  the values.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import DecodeError, QueryError, check_type
from tsmodel.frames import library
from tsmodel.layout import SpanRecords, VariableRecords
from tsmodel.layout.placing import PRESENT
from tsmodel.model.column import Column
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.meta import schema_of
from tsmodel.model.own_columns import own_column
from tsmodel.timestamps import EPOCH_UNIX_NS
from tsmodel.types.codec import FieldCodec
from tsmodel.types.column_facet import check_times, masked
from tsmodel.wire.chunk import ColumnRecords
from tsmodel.wire.reader import Held
from tsmodel.wire.records import bytes_of

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "ArrowColumn",
    "ArrowFrame",
    "ColumnsFrame",
    "DtypeBackend",
    "Frame",
    "Growing",
    "GrowingColumn",
    "StructuredFrame",
    "Wanted",
    "batch_of",
    "chosen",
    "names_of",
    "pandas_of",
    "polars_of",
    "structured_dtype",
    "tables_joined",
    "windows_table",
    "write_parquet",
]


_SMALL: Final = 2**18
_LARGE: Final = 2**28
"""Bytes. A result up to `_SMALL` reserves twice what it needs; a larger one reserves at least `_LARGE`."""


class Growing:
    """An array of shape (n, ...) that grows in its first dimension.

    Args:
        dtype: dtype of the values; may be a subarray dtype.
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._full: list[npt.NDArray[Any]] = []
        self._last = np.empty(0, self.dtype)
        self._used = 0

    def __len__(self) -> int:
        return sum(map(len, self._full)) + self._used

    def room(self, count: int) -> npt.NDArray[Any]:
        """Appends `count` uninitialized values and returns them as a view. Fill it before the next call."""
        if self._used + count > len(self._last):
            self._reserve(count)
        start, self._used = self._used, self._used + count
        return self._last[start : self._used]

    def add(self, values: npt.NDArray[Any]) -> None:
        """Appends a copy of values. If their dtype differs, apart from the byte order, `result` has a common one."""
        dtype = values.dtype.newbyteorder("=")
        if dtype != self.dtype and (len(values) or not len(self)):
            if self._used:
                self._full.append(self._shrunk())
            self.dtype, self._last, self._used = dtype, np.empty(0, dtype), 0
        self.room(len(values))[:] = values

    def result(self) -> npt.NDArray[Any]:
        """Returns the array, without unused memory, and starts an empty one."""
        parts = [*self._full, self._shrunk()]
        self._full, self._last, self._used = [], self._empty(0), 0
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _reserve(self, count: int) -> None:
        size = max(self.dtype.itemsize, 1)
        least = self._used + count
        more = self._empty(2 * least if least * size <= _SMALL else max(2 * least, _LARGE // size))
        if self._used * size >= _LARGE // 2:
            self._full.append(self._shrunk())
            self._used = 0
        else:  # keeping a small part apart would mean copying everything when the parts are joined
            more[: self._used] = self._last[: self._used]
        self._last = more

    def _empty(self, count: int) -> npt.NDArray[Any]:
        return np.empty(count, self.dtype)

    def _shrunk(self) -> npt.NDArray[Any]:
        self._last.resize((self._used, *self._last.shape[1:]), refcheck=False)  # views from `room` are no longer used
        return self._last


Wanted = Column[Any] | str
"""A column of a model, or its name."""


def chosen(model: type[Any], wanted: Iterable[Wanted]) -> list[ColumnInfo]:
    """Resolves columns of a model; all of them, in wire order, when none is named.

    Raises:
        QueryError: when one is not a column of the model, or is named twice.
    """
    known = schema_of(model).columns
    infos = []
    for each in wanted:
        check_type(each, (str, Column), "columns are given by name, or as Reading.volts", QueryError)
        own = own_column(model, each.info) if isinstance(each, Column) else None
        column = known.get(own.name if own is not None else str(each))
        if column is None:
            raise QueryError(f"{each!r} is not a column of {model.__name__}, which has {', '.join(names_of(model))}")
        infos.append(column.info)
    if len({info.name for info in infos}) < len(infos):
        raise QueryError(f"a column is named twice: {', '.join(info.alias for info in infos)}")
    return infos or [known[name].info for name in names_of(model)]


def names_of(model: type[Any]) -> list[str]:
    """The names of all columns of a model, in wire order. Renamed key components have the model's own names."""
    return list(dict.fromkeys(column.info.alias for column in schema_of(model).columns.values()))


class GrowingColumn:
    """A NumPy column, built from one chunk of records after another.

    Args:
        info: the column.
    """

    def __init__(self, info: ColumnInfo) -> None:
        self._info = info
        self._objects: list[npt.NDArray[Any]] = []
        self._numbers = Growing(info.codec.number.numpy if info.codec.number else object)
        self._absent = Growing(np.bool_)

    def add(self, records: Any) -> None:
        """Appends the values of records from a codec's `fit`. The records need not stay valid."""
        if self._info.codec.number is None:
            self._objects.append(_objects(self._info, records))
        else:
            self._numbers.add(self._info.values(records))
        if self._info.is_nullable:
            present = self._info.present(records)
            self._absent.room(len(records))[:] = False if present is None else ~present

    def result(self) -> npt.NDArray[Any]:
        """Returns the column, shape (n, ...), contiguous, in native byte order, and starts an empty one."""
        parts, self._objects = self._objects or [self._numbers.result()], []
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.ma.MaskedArray(values, self._absent.result()) if self._info.is_nullable else values


def _objects(info: ColumnInfo, records: Any) -> npt.NDArray[Any]:
    """A column of values that are not stored as numbers."""
    assert info.field is not None
    if not info.field.is_fixed:
        objects = np.empty(len(records), object)
        objects[:] = info.objects(records)
        return objects
    item = info.field.fixed
    if isinstance(records, VariableRecords):  # the stored form, so that the column has one dtype for all kinds of records
        null = bytes(item.size)
        is_nullable = info.field.bit is not None
        stored = [null if value is None and is_nullable else item.write(value) for value in records[info.name]]
        column = np.frombuffer(b"".join(stored), item.dtype)
    else:
        column = records[info.field.slot]
    return item.objects(column)


def structured_dtype(model: type[Any], infos: Sequence[ColumnInfo]) -> np.dtype[Any]:
    """The dtype of `to_numpy`: key components and payload fields as they are stored, packed. If a field is nullable, the
    bitmap of present fields, `_present`, comes last.

    Raises:
        QueryError: when the model has payloads of variable size.
    """
    layout = schema_of(model).layout
    if layout.size is None:
        raise QueryError(
            f"{model.__name__} has payloads of variable size, which a structured array cannot hold: use columns()"
        )
    fields = [(info.alias, info.fixed.dtype) for info in infos]
    if any(info.field is not None and info.field.bit is not None for info in infos):
        fields.append((PRESENT, layout.dtype[PRESENT]))
    return np.dtype(fields)


def _in_place_dtype(dtype: np.dtype[Any], infos: Sequence[ColumnInfo], whole: np.dtype[Any]) -> np.dtype[Any] | None:
    """A dtype with the fields of `dtype` at their offsets in whole records, so that records can be copied as they are.

    None when a field is stored differently in the record, or when the fields make up less than three quarters of it.
    """
    if 4 * dtype.itemsize < 3 * whole.itemsize or whole.fields is None or dtype.fields is None:
        return None
    if any(info.field is not None and info.field.bits is not None for info in infos):
        return None
    slots = {info.alias: info.field.slot if info.field is not None else info.name for info in infos}
    offsets = []
    for name in dtype.names or ():
        found = whole.fields.get(slots.get(name, name))
        if found is None or found[0] != dtype.fields[name][0]:
            return None
        offsets.append(found[1])
    formats = [dtype.fields[name][0] for name in dtype.names or ()]
    return np.dtype({"names": list(dtype.names or ()), "formats": formats, "offsets": offsets, "itemsize": whole.itemsize})


@lru_cache(maxsize=256)  # building a schema takes as long as reading a small block
def _arrow_schema(model: Any, names: tuple[str, ...]) -> Any:
    """The Arrow schema of columns of a model. The metadata of a field has its unit and doc, that of the schema the model's
    name."""
    pa = library("pyarrow", "Arrow")
    schema = schema_of(model)
    fields = []
    for name in names:
        info = schema.columns[name].info
        declared = schema.members[info.alias].options
        notes = {"unit": declared.unit, "doc": declared.doc}
        metadata = {name: text for name, text in notes.items() if text}
        fields.append(pa.field(info.alias, info.codec.arrow_type(pa), info.is_nullable, metadata or None))
    return pa.schema(fields, {"tsmodel": model.__name__})


_SHARED: Final = 2**14
"""Bytes from which a column is shared instead of copied. Sharing smaller ones would give Arrow too many chunks."""


class ArrowColumn:
    """A column of an Arrow table, built from one chunk of records after another.

    Numbers that Arrow stores as we do, apart from the epoch of times, are shared if their memory stays valid, and otherwise
    copied into a growing array that Arrow takes over. Of other values, each chunk becomes an Arrow array.

    Args:
        info: the column.
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
        """Appends the values of records from a codec's `fit`. The records need not stay valid.

        Raises:
            DecodeError: when a time is outside Arrow's range.
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
        """Returns the column as a `pyarrow.ChunkedArray`, and starts an empty one."""
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
        """Appends numbers whose memory stays valid."""
        dtype = values.dtype.newbyteorder("=")
        if shift:
            check_times(self._info.alias, self._kind, values if present is None else values[present], shift)
            values = np.add(values, dtype.type(shift), dtype=dtype)
        elif values.dtype != dtype or not values.flags.c_contiguous or _kept_alive(values) > 2 * values.nbytes:
            self._add_numbers(values, present, shift)
            return
        self._end_numbers()
        self._append(values, present)

    def _end_numbers(self) -> None:
        if len(self._numbers):
            self._append(self._numbers.result(), self._present.result() if self._info.is_nullable else None)

    def _append(self, values: npt.NDArray[Any], present: npt.NDArray[np.bool_] | None) -> None:
        buffers = [_validity(self._pa, present), self._pa.py_buffer(values)]
        self._arrays.append(self._pa.Array.from_buffers(self._kind, len(values), buffers))


def _validity(pa: Any, present: npt.NDArray[np.bool_] | None) -> Any:
    """The bitmap of the values that are present; None for all."""
    return None if present is None or present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))


def _kept_alive(values: npt.NDArray[Any]) -> int:
    """Bytes of memory that an array keeps alive."""
    owner: Any = values
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    buffer: Any = owner
    return memoryview(buffer).nbytes


def _shift(pa: Any, codec: FieldCodec, kind: Any) -> int | None:
    """What to add to stored numbers to get the values of an Arrow type; None when addition is not enough."""
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
                f"{info.alias} holds a value outside the range of Arrow's {kind}: {error}", field=info.alias
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
    """An Arrow array of text, bytes or arrays, copied from the records at once."""
    assert info.field is not None
    length = info.field.item.as_length
    assert length is not None
    offsets, content = records.contents(info.field)
    return length.spans_to_arrow(pa, info.alias, offsets, content, _validity(pa, info.present(records)))


class Frame:
    """Collects columns of records.

    Args:
        model: the records' model.
        wanted: the columns; all of them when none is named.
    """

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        self.model = model
        self.infos = chosen(model, wanted)

    def add(self, records: Any) -> None:
        """Appends records from a codec's `fit`. They need not stay valid."""
        raise NotImplementedError

    def result(self) -> Any:
        """The frame of the records since the last call."""
        raise NotImplementedError


class ColumnsFrame(Frame):
    """A dict with an array for each column."""

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        super().__init__(model, wanted)
        self._columns = [GrowingColumn(info) for info in self.infos]

    def add(self, records: Any) -> None:
        for column in self._columns:
            column.add(records)

    def result(self) -> dict[str, npt.NDArray[Any]]:
        return {info.alias: column.result() for info, column in zip(self.infos, self._columns, strict=True)}


class StructuredFrame(Frame):
    """One structured array of the fields as they are stored.

    If the columns make up most of a record, whole records are copied at once, and the dtype has gaps for the other fields.
    """

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        super().__init__(model, wanted)
        self.dtype = structured_dtype(model, self.infos)
        self._taken: Growing | None = None
        self._whole: np.dtype[Any] | None = None
        self._held: Held | None = Held()

    def add(self, records: Any) -> None:
        if not len(records):
            return
        dtype = records.dtype if isinstance(records, np.ndarray) else None
        if self._taken is None:
            in_place = None if dtype is None else _in_place_dtype(self.dtype, self.infos, dtype)
            self._taken = Growing(self.dtype if in_place is None else in_place)
            self._whole = None if in_place is None else dtype
        if self._held is not None:
            if self._whole is not None and dtype == self._whole and self._held.take(records):
                return
            held, self._held = self._held.result(self._taken.dtype), None
            if len(held):
                bytes_of(self._taken.room(len(held)))[:] = bytes_of(held)
        taken = self._taken.room(len(records))
        if dtype is not None and dtype == self._whole:
            bytes_of(taken)[:] = bytes_of(records)
            return
        for info in self.infos:
            taken[info.alias] = info.stored(records)
        if PRESENT in (taken.dtype.names or ()):
            taken[PRESENT] = records[PRESENT]

    def result(self) -> npt.NDArray[Any]:
        if self._taken is None:
            return np.empty(0, self.dtype)
        if self._held is not None:
            return self._held.result(self._taken.dtype)
        self._held = Held()
        return self._taken.result()


class ArrowFrame(Frame):
    """An Arrow table."""

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        super().__init__(model, wanted)
        hashable: Any = model  # checkers do not know that every class is
        self.schema = _arrow_schema(hashable, tuple(info.name for info in self.infos))
        self._columns = [ArrowColumn(info, kind) for info, kind in zip(self.infos, self.schema.types, strict=True)]

    def add(self, records: Any) -> None:
        if len(records):
            for column in self._columns:
                column.add(records)

    def result(self) -> Any:
        columns = [column.result() for column in self._columns]
        return library("pyarrow", "to_arrow()").Table.from_arrays(columns, schema=self.schema)


DtypeBackend: TypeAlias = Literal["pyarrow"]
"""What holds the columns of a pandas frame, as pandas names it."""


def tables_joined(tables: Sequence[Any]) -> Any:
    """One Arrow table with the rows of several."""
    return library("pyarrow", "Arrow").concat_tables(tables)


def batch_of(table: Any, start: int, stop: int) -> Any:
    """Rows of an Arrow table, at least one, as a record batch."""
    (batch,) = table.slice(start, stop - start).combine_chunks().to_batches()
    return batch


def windows_table(columns: Mapping[str, npt.NDArray[Any]], digits: Mapping[str, int]) -> Any:
    """An Arrow table of windows.

    Args:
        columns: arrays by name, masked where values are missing; `start` in ns since 2001.
        digits: decimal places of the columns that are Decimals.

    Raises:
        MissingLibraryError: when pyarrow is not installed.
        DecodeError: when a start is outside Arrow's range.
    """
    pa = library("pyarrow", "Arrow")
    arrays, fields = {}, []
    for name, values in columns.items():
        if name == "start":
            kind = pa.timestamp("ns", "UTC")
            check_times(name, kind, values, EPOCH_UNIX_NS)
            arrays[name] = pa.array(values + np.int64(EPOCH_UNIX_NS)).view(kind)
        else:
            mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
            kind = pa.decimal128(38, digits[name]) if name in digits else None
            arrays[name] = pa.array(np.ma.getdata(values), kind, mask=mask)
        fields.append(pa.field(name, arrays[name].type, isinstance(values, np.ma.MaskedArray)))
    return pa.table(arrays, schema=pa.schema(fields))


def pandas_of(table: Any, tz: str, index: str | tuple[str, ...] | None, dtype_backend: DtypeBackend | None = None) -> Any:
    """Converts an Arrow table to a pandas frame, with times in the zone `tz` and columns `index` as the index.

    Nullable integers and bools become pandas' masked types, even if no value is missing: as floats, large integers would be
    rounded.

    Raises:
        MissingLibraryError: when pandas is not installed.
        QueryError: when the table lacks a column of the index, or the time zone or `dtype_backend` is unknown.
        DecodeError: when a time equals the number that pandas uses for a missing time.
    """
    library("pandas", "to_pandas()")
    pa = library("pyarrow", "to_pandas()")
    check_type(tz, (str, dt.tzinfo), 'to_pandas(tz=...) takes the name of a time zone, such as "Europe/Warsaw"', QueryError)
    if dtype_backend not in (None, "pyarrow"):
        raise QueryError(f'dtype_backend must be "pyarrow", or None for NumPy and masked types, not {dtype_backend!r}')
    wanted = (index,) if isinstance(index, str) else tuple(index or ())
    if unknown := [name for name in wanted if name not in table.column_names]:
        raise QueryError(f"index names {unknown[0]!r}, which is not among the columns {', '.join(table.column_names)}")
    if tz != "UTC":
        zoned = [
            field.with_type(pa.timestamp(field.type.unit, tz)) if pa.types.is_timestamp(field.type) else field
            for field in table.schema
        ]
        table = table.cast(pa.schema(zoned, table.schema.metadata))
    try:
        pa.array([0], pa.timestamp("ns", tz)).to_pandas()  # Arrow itself takes any text for a time zone
        frame = _arrow_backed(table) if dtype_backend == "pyarrow" else _numpy_backed(pa, table)
    except (pa.ArrowException, KeyError, ValueError) as error:
        if isinstance(error, DecodeError):
            raise
        raise QueryError(f"to_pandas(tz={tz!r}): {error}") from error
    return frame.set_index(list(wanted)) if wanted else frame


def _arrow_backed(table: Any) -> Any:
    return table.to_pandas(types_mapper=library("pandas", "to_pandas()").ArrowDtype)


def _numpy_backed(pa: Any, table: Any) -> Any:
    """A frame of NumPy's types and pandas' masked types."""
    special = [
        at
        for at, field in enumerate(table.schema)
        if _needs_objects(pa, field.type)
        or (field.nullable and (pa.types.is_integer(field.type) or pa.types.is_boolean(field.type)))
    ]
    for field, column in zip(table.schema, table.columns, strict=True):
        _check_missing(pa, field.name, column)
    if not special:
        return table.to_pandas()
    pandas = library("pandas", "to_pandas()")
    frame = pandas.DataFrame(index=pandas.RangeIndex(table.num_rows))
    plain = [name for at, name in enumerate(table.column_names) if at not in special]
    if plain:
        frame = table.select(plain).to_pandas()
    for at in special:
        field = table.schema.field(at)
        if _needs_objects(pa, field.type):
            frame.insert(at, field.name, pandas.Series(table[field.name].to_pylist(), dtype=object))
            continue
        title = "Boolean" if pa.types.is_boolean(field.type) else str(field.type).title().replace("Ui", "UI")
        dtype = getattr(pandas, f"{title}Dtype")()
        frame.insert(at, field.name, table[field.name].to_pandas(types_mapper={field.type: dtype}.get))
    return frame


def _needs_objects(pa: Any, kind: Any, within: str = "") -> bool:
    """Whether pyarrow cannot convert a type to pandas itself: it turns nanoseconds in structures into integers, and has no
    conversion for lists of byte strings of fixed size."""
    if pa.types.is_struct(kind):
        return any(_needs_objects(pa, field.type, "struct") for field in kind)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _needs_objects(pa, kind.value_type, "list")
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return within == "struct" and kind.unit == "ns"
    return within == "list" and bool(pa.types.is_fixed_size_binary(kind))


def _check_missing(pa: Any, name: str, column: Any) -> None:
    """Refuses times that pandas, unlike Arrow, would take for missing."""
    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)):
        return
    nat = np.iinfo(np.int64).min
    least = library("pyarrow.compute", "to_pandas()").min(column.cast(pa.int64())).as_py()
    if least == nat:
        raise DecodeError(
            f"{name} holds {nat} {kind.unit}, which pandas uses for a missing time: use dtype_backend='pyarrow', or read "
            "the column by columns(), which gives integers",
            field=name,
        )


def polars_of(table: Any) -> pl.DataFrame:
    """Converts an Arrow table to a polars frame.

    Raises:
        MissingLibraryError: when polars is not installed.
    """
    frame: pl.DataFrame = library("polars", "to_polars()").from_arrow(table)
    return frame


def write_parquet(reader: Any, path: str | Path, *, compression: str) -> int:
    """Writes a Parquet file with a row group for each batch of a `pyarrow.RecordBatchReader`; returns the number of rows.

    The file appears complete or not at all: it is written under another name, then renamed.

    Raises:
        QueryError: when Arrow does not know the compression.
    """
    pa, parquet = library("pyarrow", "dump_parquet()"), library("pyarrow.parquet", "dump_parquet()")
    known = 'dump_parquet(compression=...) takes "zstd", "snappy", "gzip", "brotli", "lz4" or "none"'
    check_type(compression, (str, dict, type(None)), known, QueryError)
    whole = Path(path)
    partial = whole.with_name(f"{whole.name}.{os.getpid()}.partial")
    count = 0
    try:
        try:
            writer = parquet.ParquetWriter(partial, reader.schema, compression=compression)
        except pa.ArrowException as error:
            raise QueryError(f"{known}: {error}") from error
        with writer:
            for batch in reader:
                writer.write_batch(batch)
                count += batch.num_rows
        partial.replace(whole)
    finally:
        partial.unlink(missing_ok=True)
    return count
