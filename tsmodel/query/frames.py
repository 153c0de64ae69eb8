"""The ends of a query that give frames: NumPy, Arrow, pandas and polars. Thin: `tsmodel.frames` makes them of records."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy.typing as npt
from typing_extensions import Self

from tsmodel.frames.columns import Wanted
from tsmodel.frames.ends import ArrowFrame, ColumnsFrame, Frame, StructuredFrame
from tsmodel.frames.lazy import lazy_frame, pushed
from tsmodel.frames.libraries import library
from tsmodel.frames.parquet import write_parquet
from tsmodel.frames.tables import DtypeBackend, Rebatched, pandas_of, polars_of
from tsmodel.model.base import TSModel
from tsmodel.model.expressions import Expression
from tsmodel.query.ends import End, Selection
from tsmodel.wire.chunk import Chunk

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["AsyncFrameEnds", "FrameEnds", "Framed"]

M = TypeVar("M", bound=TSModel)

DEFAULT_BATCH_SIZE = 65_536
"""Rows of an Arrow record batch."""


class Framed(End[Any]):
    """Feeds the selected records of chunks to a frame."""

    def __init__(self, selection: Selection[Any], frame: Frame) -> None:
        self._selection = selection
        self._frame = frame

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether the limit is reached."""
        self._frame.add(self._selection.of(chunk, columns=True))
        return self._selection.full

    def result(self) -> Any:
        """What came of the chunks since it was last asked."""
        return self._frame.result()


class _Framing(Generic[M]):
    """What both kinds of query have in common here."""

    if TYPE_CHECKING:
        _model: type[M]

        def _selection(self, limit: int | None) -> Selection[M]: ...
        def _checked_size(self, size: int) -> int: ...

    def _framed(self, frame: Frame) -> Framed:
        return Framed(self._selection(None), frame)


class FrameEnds(_Framing[M]):
    """The ends of `Query` that give frames.

    Each takes the columns to give, as columns or names; all of them when none is named. Only these are decoded.
    """

    if TYPE_CHECKING:

        def _run(self, end: End[Any]) -> Any: ...
        def _stream(self, end: End[Any]) -> Iterator[Any]: ...
        def _bound(self) -> Self: ...
        def _is_limited(self) -> bool: ...
        def _at_most(self, most: int) -> Self: ...
        def where(self, *conditions: Expression) -> Self: ...

    def to_numpy(self, *columns: Wanted) -> npt.NDArray[Any]:
        """One structured array of the fields as they are stored, shape (n,): enums and decimals as their integers, times
        as ns since 2001. Where values may be absent, the last field is their bitmap, `_present`.

        Raises:
            QueryError: when a column is unknown, or payloads have a variable size.
            DecodeError: when a payload does not fit the model, unless such records are to be skipped.
        """
        array: npt.NDArray[Any] = self._run(self._framed(StructuredFrame(self._model, columns)))
        return array

    def columns(self, *columns: Wanted) -> dict[str, npt.NDArray[Any]]:
        """A contiguous array of shape (n,) for each column, by name.

        Numbers are as `to_numpy` gives them, text is text, and a column whose values may be absent is a masked array.

        Raises:
            QueryError, DecodeError: as `to_numpy`.
        """
        arrays: dict[str, npt.NDArray[Any]] = self._run(self._framed(ColumnsFrame(self._model, columns)))
        return arrays

    def to_arrow(self, *columns: Wanted) -> pa.Table:
        """A `pyarrow.Table`: times as timestamps in UTC, enums as dictionaries, decimals as decimals.

        Units and docs of fields are in the schema's metadata.

        Raises:
            MissingLibraryError: when pyarrow is not installed.
            QueryError: when a column is unknown.
            DecodeError: as `to_numpy`, or when Arrow cannot hold a time.
        """
        return self._run(self._framed(ArrowFrame(self._model, columns)))

    def to_pandas(
        self,
        *columns: Wanted,
        tz: str = "UTC",
        index: str | tuple[str, ...] | None = None,
        dtype_backend: DtypeBackend | None = None,
    ) -> pd.DataFrame:
        """A `pandas.DataFrame`.

        Nullable integers and bools get pandas' masked types, such as `Int64`. In a Nullable float column pandas cannot tell
        NaN from a missing value, unless Arrow holds it.

        Args:
            columns: the columns to give.
            tz: time zone of times.
            index: column or columns that become the index, such as `("mid", "cap")`.
            dtype_backend: "pyarrow" for columns that Arrow holds (`pandas.ArrowDtype`), which lose nothing.

        Raises:
            MissingLibraryError: when pandas or pyarrow is not installed.
            QueryError, DecodeError: as `to_arrow`; also when a time is the number that pandas takes for a missing one.
        """
        return pandas_of(self.to_arrow(*columns), tz, index, dtype_backend)

    def to_polars(self, *columns: Wanted) -> pl.DataFrame:
        """A `polars.DataFrame`.

        Raises:
            MissingLibraryError: when polars or pyarrow is not installed.
            QueryError, DecodeError: as `to_arrow`.
        """
        return polars_of(self.to_arrow(*columns))

    def iter_arrow(self, *columns: Wanted, batch_size: int = DEFAULT_BATCH_SIZE) -> Iterator[pa.RecordBatch]:
        """The records as `pyarrow.RecordBatch`es of `batch_size` rows, the last one shorter, in bounded memory."""
        return _rebatched(self._tables(ArrowFrame(self._model, columns)), Rebatched(self._checked_size(batch_size)))

    def to_reader(self, *columns: Wanted, batch_size: int = DEFAULT_BATCH_SIZE) -> pa.RecordBatchReader:
        """The same as a `pyarrow.RecordBatchReader`, which reads as it is read."""
        frame = ArrowFrame(self._model, columns)
        batches = _rebatched(self._tables(frame), Rebatched(self._checked_size(batch_size)))
        return library("pyarrow", "to_reader()").RecordBatchReader.from_batches(frame.schema, batches)

    def dump_parquet(self, path: str | Path, *columns: Wanted, batch_size: int = 2**20, compression: str = "zstd") -> int:
        """Writes the records to a Parquet file, a row group for each `batch_size` of them; returns how many there are.

        The file appears whole or not at all.

        Raises:
            MissingLibraryError: when pyarrow is not installed.
            OSError: when the file cannot be written.
            QueryError, DecodeError: as `to_arrow`.
        """
        return write_parquet(self.to_reader(*columns, batch_size=batch_size), path, compression=compression)

    def lazy(self) -> pl.LazyFrame:
        """A polars `LazyFrame`, which reads when it is collected, and only what it needs: conditions on cid, mid, moid, cap
        and acq (comparisons, `is_in`, `is_between`, joined by `&` and `|`) become key ranges, columns that are not asked
        for are not decoded, and `head` stops reading. polars does the rest.

        `pushed_down` shows what becomes of a condition.

        Raises:
            MissingLibraryError: when polars or pyarrow is not installed, or polars is too old.
        """
        query = self._bound()
        return lazy_frame(ArrowFrame(self._model, ()).schema, query._scanned)

    def pushed_down(self, predicate: pl.Expr) -> Self:
        """The query that a lazy frame reads where polars filters it by `predicate`; its `explain()` shows the key ranges.

        Raises:
            MissingLibraryError: when polars is not installed.
        """
        condition = None if self._is_limited() else pushed(self._model, predicate)
        return self if condition is None else self.where(condition)

    def _scanned(self, names: list[str] | None, predicate: pl.Expr | None, most: int | None) -> Iterator[pa.RecordBatch]:
        query = self if predicate is None else self.pushed_down(predicate)
        if most is not None:
            query = query._at_most(most)
        # No column at all may be asked for: then rows are counted by one.
        return query.iter_arrow(*(names if names is None or names else ("cid",)) or ())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule interface: DuckDB, polars and others take a query as it is."""
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def _tables(self, frame: ArrowFrame) -> Iterator[pa.Table]:
        """Finds the session at once: who reads an Arrow stream may do so in a thread where none is open."""
        return self._stream(self._framed(frame))


def _rebatched(tables: Iterator[pa.Table], rebatched: Rebatched) -> Iterator[pa.RecordBatch]:
    for table in tables:
        yield from rebatched.take(table)
    yield from rebatched.rest()


class AsyncFrameEnds(_Framing[M]):
    """The ends of `AsyncQuery` that give frames; see `FrameEnds`."""

    if TYPE_CHECKING:

        async def _run(self, end: End[Any]) -> Any: ...
        def _stream(self, end: End[Any]) -> AsyncGenerator[Any, None]: ...

    async def to_numpy(self, *columns: Wanted) -> npt.NDArray[Any]:
        """See `FrameEnds.to_numpy`."""
        array: npt.NDArray[Any] = await self._run(self._framed(StructuredFrame(self._model, columns)))
        return array

    async def columns(self, *columns: Wanted) -> dict[str, npt.NDArray[Any]]:
        """See `FrameEnds.columns`."""
        arrays: dict[str, npt.NDArray[Any]] = await self._run(self._framed(ColumnsFrame(self._model, columns)))
        return arrays

    async def to_arrow(self, *columns: Wanted) -> pa.Table:
        """See `FrameEnds.to_arrow`."""
        return await self._run(self._framed(ArrowFrame(self._model, columns)))

    async def to_pandas(
        self,
        *columns: Wanted,
        tz: str = "UTC",
        index: str | tuple[str, ...] | None = None,
        dtype_backend: DtypeBackend | None = None,
    ) -> pd.DataFrame:
        """See `FrameEnds.to_pandas`."""
        return pandas_of(await self.to_arrow(*columns), tz, index, dtype_backend)

    async def to_polars(self, *columns: Wanted) -> pl.DataFrame:
        """See `FrameEnds.to_polars`."""
        return polars_of(await self.to_arrow(*columns))

    def iter_arrow(self, *columns: Wanted, batch_size: int = DEFAULT_BATCH_SIZE) -> AsyncIterator[pa.RecordBatch]:
        """See `FrameEnds.iter_arrow`. When stopping early, `aclose()` the iterator: it may hold a connection."""
        frame = ArrowFrame(self._model, columns)
        return self._batched_arrow(frame, Rebatched(self._checked_size(batch_size)))

    async def _batched_arrow(self, frame: ArrowFrame, rebatched: Rebatched) -> AsyncGenerator[pa.RecordBatch, None]:
        async with aclosing(self._stream(self._framed(frame))) as tables:
            async for table in tables:
                for batch in rebatched.take(table):
                    yield batch
        for batch in rebatched.rest():
            yield batch
