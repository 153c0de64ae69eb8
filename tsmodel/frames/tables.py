"""Arrow tables on their way: in batches of one size, to pandas, to polars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.frames.arrow import check_times
from tsmodel.frames.libraries import library
from tsmodel.timestamps import EPOCH_UNIX_NS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Rebatched", "pandas_of", "polars_of", "windows_table"]


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
    arrays = {}
    for name, values in columns.items():
        if name == "start":
            kind = pa.timestamp("ns", "UTC")
            check_times(name, kind, values, EPOCH_UNIX_NS)
            arrays[name] = pa.array(values + np.int64(EPOCH_UNIX_NS)).view(kind)
        else:
            mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
            kind = pa.decimal128(38, digits[name]) if name in digits else None
            arrays[name] = pa.array(np.ma.getdata(values), kind, mask=mask)
    return pa.table(arrays)


def pandas_of(table: Any, tz: str, index: str | tuple[str, ...] | None) -> Any:
    """A pandas frame of an Arrow table, times in the zone `tz`, with an index.

    Raises:
        MissingLibraryError: when pandas is not installed.
        QueryError: when a column of the index is not there, or the time zone is unknown.
    """
    library("pandas", "to_pandas()")
    pa = library("pyarrow", "to_pandas()")
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
        frame = table.to_pandas()
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise QueryError(f"to_pandas(tz={tz!r}): {error}") from error
    return frame.set_index(list(wanted)) if wanted else frame


def polars_of(table: Any) -> pl.DataFrame:
    """A polars frame of an Arrow table.

    Raises:
        MissingLibraryError: when polars is not installed.
    """
    frame: pl.DataFrame = library("polars", "to_polars()").from_arrow(table)
    return frame
