"""Arrow tables: in batches of one size, to pandas, to polars, to Parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import DecodeError, QueryError
from tsmodel.frames.libraries import library
from tsmodel.timestamps import EPOCH_UNIX_NS
from tsmodel.types.column_facet import check_times

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DtypeBackend", "Rebatched", "pandas_of", "polars_of", "windows_table", "write_parquet"]

DtypeBackend: TypeAlias = Literal["pyarrow"]
"""What holds the columns of a pandas frame, as pandas names it."""


class Rebatched:
    """Tables, as they come, made record batches of one size."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: list[Any] = []
        self._count = 0

    def take(self, table: Any) -> Iterator[Any]:
        """Takes a table; gives the batches that are full."""
        if table.num_rows:
            self._held.append(table)
            self._count += table.num_rows
        if self._count >= self._size:
            whole = self._whole()
            full = self._count - self._count % self._size
            yield from self._batches(whole.slice(0, full))
            self._held, self._count = [whole.slice(full)], self._count - full

    def rest(self) -> Iterator[Any]:
        """The last batch, unless it would be empty."""
        if self._count:
            yield from self._batches(self._whole())

    def _whole(self) -> Any:
        return library("pyarrow", "Arrow").concat_tables(self._held)

    def _batches(self, table: Any) -> Iterator[Any]:
        for start in range(0, table.num_rows, self._size):
            (batch,) = table.slice(start, self._size).combine_chunks().to_batches()
            yield batch


def windows_table(columns: Mapping[str, npt.NDArray[Any]], digits: Mapping[str, int]) -> Any:
    """An Arrow table of columns, masked where values are missing; `start` in ns since 2001; `digits` are the decimal places
    of those that are Decimals.

    Raises:
        MissingLibraryError: when pyarrow is not installed.
        DecodeError: when a start lies after what Arrow holds.
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
    """A pandas frame of an Arrow table, times in the zone `tz`, with an index.

    Integers and bools that may be missing become pandas' masked types, whether or not one is missing: as floats, large
    integers would be rounded.

    Raises:
        MissingLibraryError: when pandas is not installed.
        QueryError: when a column of the index is not there, or the time zone or the backend is unknown.
        DecodeError: when a time is the number by which pandas marks a missing one.
    """
    library("pandas", "to_pandas()")
    pa = library("pyarrow", "to_pandas()")
    if dtype_backend not in (None, "pyarrow"):
        raise QueryError(f'dtype_backend={dtype_backend!r}; it is "pyarrow", or None for NumPy and masked types')
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
        frame = _in_arrow(table) if dtype_backend == "pyarrow" else _in_memory(pa, table)
    except (pa.ArrowException, KeyError, ValueError) as error:
        if isinstance(error, DecodeError):
            raise
        raise QueryError(f"to_pandas(tz={tz!r}): {error}") from error
    return frame.set_index(list(wanted)) if wanted else frame


def _in_arrow(table: Any) -> Any:
    return table.to_pandas(types_mapper=library("pandas", "to_pandas()").ArrowDtype)


def _in_memory(pa: Any, table: Any) -> Any:
    """A frame of NumPy's types, and of pandas' masked ones."""
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
    """Whether pyarrow's own conversion to pandas does not do: it turns nanoseconds in structures into bare integers, and
    has none for lists of byte strings of fixed size."""
    if pa.types.is_struct(kind):
        return any(_needs_objects(pa, field.type, "struct") for field in kind)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _needs_objects(pa, kind.value_type, "list")
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return within == "struct" and kind.unit == "ns"
    return within == "list" and bool(pa.types.is_fixed_size_binary(kind))


def _check_missing(pa: Any, name: str, column: Any) -> None:
    """Refuses times that pandas would take for none, as no Arrow type does."""
    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)):
        return
    nothing = np.iinfo(np.int64).min
    least = library("pyarrow.compute", "to_pandas()").min(column.cast(pa.int64())).as_py()
    if least == nothing:
        raise DecodeError(
            f"{name} holds {nothing} {kind.unit}, which is pandas' mark for a missing time: take dtype_backend='pyarrow', "
            "or the column by columns(), which gives integers",
            field=name,
        )


def polars_of(table: Any) -> pl.DataFrame:
    """A polars frame of an Arrow table.

    Raises:
        MissingLibraryError: when polars is not installed.
    """
    frame: pl.DataFrame = library("polars", "to_polars()").from_arrow(table)
    return frame


def write_parquet(reader: Any, path: str | Path, *, compression: str) -> int:
    """Writes a Parquet file, a row group for each batch of a `pyarrow.RecordBatchReader`; returns how many rows it has.

    The file appears whole or not at all: it is written beside its place, and then moved there.
    """
    parquet = library("pyarrow.parquet", "dump_parquet()")
    whole = Path(path)
    partial = whole.with_name(f"{whole.name}.{os.getpid()}.partial")
    count = 0
    try:
        with parquet.ParquetWriter(partial, reader.schema, compression=compression) as writer:
            for batch in reader:
                writer.write_batch(batch)
                count += batch.num_rows
        partial.replace(whole)
    finally:
        partial.unlink(missing_ok=True)
    return count
