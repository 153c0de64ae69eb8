"""`query.resample("15m").agg(...)`: windows of capture time, for both kinds of query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import numpy.typing as npt

from tsmodel.codec.numbers import BitsCodec, ScalarCodec
from tsmodel.errors import QueryError
from tsmodel.frames.libraries import library
from tsmodel.model.aggregates import Aggregate
from tsmodel.model.base import TSModel
from tsmodel.model.meta import schema_of
from tsmodel.model.unions import models_of
from tsmodel.query.ends import Selection
from tsmodel.query.unions import column_named
from tsmodel.query.windowed import GROUP, Grid, WindowAggregates
from tsmodel.timestamps import DurationLike, TimeLike, duration_ns, to_ns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AsyncResampleEnds", "AsyncResampling", "ResampleEnds", "Resampling", "Windows"]

M = TypeVar("M", bound=TSModel)


class Windows:
    """Windows with their aggregates: `columns()`, or iterated as objects with cid, mid, moid, start (ns since 2001, as cap)
    and the named values; ordered by these four. A value that there is none of is None, or masked in columns.

    Args:
        table: arrays of shape (n,) by name.
    """

    def __init__(self, table: Mapping[str, npt.NDArray[Any]]) -> None:
        self._table = dict(table)
        self._row = msgspec.defstruct("Window", list(self._table), frozen=True)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns, shape (n,) each; a masked array where values are missing."""
        return dict(self._table)

    def to_pandas(self) -> pd.DataFrame:
        """A `pandas.DataFrame` of the columns; missing values are NA, `start` is int ns since 2001.

        Raises:
            MissingLibraryError: when pandas is not installed.
        """
        pandas = library("pandas", "to_pandas()")
        return pandas.DataFrame({name: pandas.array(values.tolist()) for name, values in self._table.items()})

    def __len__(self) -> int:
        return len(self._table["start"])

    def __iter__(self) -> Iterator[Any]:
        return map(self._row, *(values.tolist() for values in self._table.values()))

    def __repr__(self) -> str:
        return f"<{len(self)} windows: {', '.join(self._table)}>"


class _Resampled:
    """A query and its windows, without the aggregates."""

    def __init__(self, query: Any, grid: Grid) -> None:
        self._query = query
        self._grid = grid

    def _end(self, named: Mapping[str, Aggregate]) -> WindowAggregates:
        model = self._query._model
        if len(models_of(model)) > 1:
            raise QueryError(f"resample() takes a query of one model, not of {model.__name__}")
        if not named:
            raise QueryError("agg() takes what to make of each window, such as agg(n=count())")
        selection: Selection[Any] = self._query._selection(None)
        return WindowAggregates(selection, self._grid, {name: _bound(model, name, each) for name, each in named.items()})


def _bound(model: Any, name: str, aggregate: object) -> Aggregate:
    if name in GROUP:
        raise QueryError(f"agg({name}=...): each window has a {name} already; choose another name")
    if not isinstance(aggregate, Aggregate):
        raise QueryError(f"agg({name}=...) takes an aggregate such as {model.__name__}.cap.max(), not {aggregate!r}")
    info = aggregate.column
    if info is None:
        return aggregate
    if not column_named(model, info):
        raise QueryError(f"agg({name}=...): {info.model}.{info.alias} is not a column of {model.__name__}")
    own = schema_of(model).columns[info.name].info
    codec: Any = own.codec
    item = getattr(codec, "item", codec) if own.is_nullable else codec
    if type(item) not in (ScalarCodec, BitsCodec):
        raise QueryError(f"agg({name}=...): {info.model}.{info.alias} ({codec.label}) is not a plain number")
    if aggregate.kind == "sum" and item.dtype.kind == "u" and item.dtype.itemsize == 8:
        raise QueryError(f"agg({name}=...): a sum of {codec.label} may leave int64; take the mean()")
    return Aggregate(aggregate.kind, own)


class Resampling(_Resampled):
    """The windows of a query, which `agg` fills."""

    def agg(self, **named: Aggregate) -> Windows:
        """Reads the records and makes the named aggregates of each series and window that has any.

        Aggregates are made of columns that are plain numbers: `Reading.volts.mean()`, and `sum min max std first last`;
        `count()` counts records. Values that are absent are left out, and where there is none the aggregate is None. NaN is
        a value, and makes NaN. `first` and `last` go by cap, and among equal ones by acq. `std` is of a sample; None below
        two values. Memory grows with the number of windows, not of records.

        Raises:
            QueryError: when a name is cid, mid, moid or start; a column is of another model or no plain number; or a sum of
                integers leaves int64.
            DecodeError: when a payload does not fit the model, unless such records are to be skipped.
        """
        return Windows(self._query._run(self._end(named)))


class AsyncResampling(_Resampled):
    """See `Resampling`."""

    async def agg(self, **named: Aggregate) -> Windows:
        """See `Resampling.agg`."""
        return Windows(await self._query._run(self._end(named)))


def _grid(every: DurationLike, origin: TimeLike) -> Grid:
    length = duration_ns(every)
    if not 0 < length < 2**62:
        raise QueryError(f"resample({every!r}): windows are longer than nothing, and shorter than 146 years")
    return Grid(length, to_ns(origin) % length)


class ResampleEnds(Generic[M]):
    """The end of `Query` that makes windows."""

    def resample(self, every: DurationLike, *, origin: TimeLike = 0) -> Resampling:
        """Half-open windows `[start, start + every)` of cap, for each series (cid, mid, moid); `agg` says what is made of
        them.

        Args:
            every: their length, as "15m", a timedelta, or int ns.
            origin: a time at which one of them starts; by default midnight UTC of 2001-01-01.

        Raises:
            QueryError: when windows cannot have that length.
            TimestampError: when `every` is no duration, or `origin` no time.
        """
        return Resampling(self, _grid(every, origin))


class AsyncResampleEnds(Generic[M]):
    """The end of `AsyncQuery` that makes windows."""

    def resample(self, every: DurationLike, *, origin: TimeLike = 0) -> AsyncResampling:
        """See `Query.resample`; its `agg` is awaited."""
        return AsyncResampling(self, _grid(every, origin))
