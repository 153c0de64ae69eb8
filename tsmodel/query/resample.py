"""`query.resample("15m").agg(...)`: windows of capture time, for both kinds of query."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.frames.tables import pandas_of, polars_of, windows_table
from tsmodel.html import SHOWN, html_table, rows_shown
from tsmodel.keys import LIMITS
from tsmodel.model.column import Aggregate
from tsmodel.model.unions import models_of
from tsmodel.query.aggregation.filling import FILLS, Fill, Gaps
from tsmodel.query.aggregation.grids import grid_of
from tsmodel.query.aggregation.groups import GROUP
from tsmodel.query.aggregation.windows import WindowAggregates
from tsmodel.query.days import zone_of
from tsmodel.query.executor import AsyncExecutor, Execution, Executor
from tsmodel.query.planning import Plan
from tsmodel.query.sinks import Selection
from tsmodel.query.spec import own_column
from tsmodel.timestamps import DurationLike, TimeLike, to_datetime
from tsmodel.types.codec import FieldCodec
from tsmodel.types.numbers import EXACT

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from matplotlib.axes import Axes

__all__ = ["AsyncResampling", "Resampling", "Windows"]

E = TypeVar("E", bound=Execution[Any])


class Windows:
    """Windows with their aggregates, ordered by cid, mid, moid and start: iterated as objects with these four (`start` in
    ns since 2001, as cap) and the named values, or taken as columns. A value that there is none of is None, or masked in
    columns.

    Args:
        table: arrays of shape (n,) by name.
        tz: time zone of times in frames.
        drops, rollovers: see the attributes.
        digits: decimal places of the columns that are Decimals.

    Attributes:
        drops: for each `delta` and `rate`, by name, how often a counter's value was less than the one before it (or, with
            `on_drop="ignore"`, than the last one that was not ignored). Rollovers are no drops.
        rollovers: for each of them how often the counter began again at its `modulus`.
    """

    def __init__(
        self,
        table: Mapping[str, npt.NDArray[Any]],
        tz: str | dt.tzinfo | None = None,
        drops: Mapping[str, int] | None = None,
        rollovers: Mapping[str, int] | None = None,
        digits: Mapping[str, int] | None = None,
    ) -> None:
        self._digits = dict(digits or {})
        self._table = dict(table)
        self.drops = dict(drops or {})
        self.rollovers = dict(rollovers or {})
        self._tz = "UTC" if tz is None else tz
        self._row = msgspec.defstruct("Window", list(self._table), frozen=True)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns, shape (n,) each; a masked array where values are missing. `start` is in ns since 2001, exact
        decimals are objects."""
        return dict(self._table)

    def to_arrow(self) -> pa.Table:
        """A `pyarrow.Table` of the columns; `start` is a timestamp in UTC.

        Raises:
            MissingLibraryError: when pyarrow is not installed.
            DecodeError: when a window starts after what Arrow holds, in 2262.
        """
        return windows_table(self._table, self._digits)

    def to_pandas(self) -> pd.DataFrame:
        """A `pandas.DataFrame` of the columns; missing values are NA, `start` is a timestamp in the windows' time zone.

        Raises:
            MissingLibraryError: when pandas or pyarrow is not installed.
            DecodeError: as `to_arrow`.
        """
        frame = pandas_of(self.to_arrow(), "UTC", None)
        frame["start"] = frame["start"].dt.tz_convert(self._tz)
        return frame

    def to_polars(self) -> pl.DataFrame:
        """A `polars.DataFrame` of the columns; `start` is a timestamp in UTC.

        Raises:
            MissingLibraryError: when polars or pyarrow is not installed.
            DecodeError: as `to_arrow`.
        """
        return polars_of(self.to_arrow())

    def plot(self, *names: str, ax: Axes | None = None, max_lines: int = 20) -> Axes:
        """A chart by matplotlib, with a line for each aggregate and series, at the starts of the windows.

        Args:
            names: the aggregates to draw; all of them when none is named.
            ax: the axes to draw into; None for a figure of its own.
            max_lines: most lines to draw; the chart says when there are more.

        Raises:
            MissingLibraryError: when matplotlib is not installed.
            QueryError: when there is no aggregate of a name.
        """
        from tsmodel.frames.plotting import plot_columns, times_of

        aggregates = [name for name in self._table if name not in GROUP]
        for name in names:
            if name not in aggregates:
                raise QueryError(f"{name!r} is no aggregate of these windows, which have {', '.join(aggregates)}")
        drawn = names or tuple(aggregates)
        columns = {name: _floats(self._table[name]) for name in drawn}
        columns["start"] = times_of(self._table["start"])
        by = {name: self._table[name] for name in ("cid", "mid", "moid")}
        return plot_columns(columns, "start", drawn, by, ax, self._tz, max_lines)

    def __len__(self) -> int:
        return len(self._table["start"])

    def __iter__(self) -> Iterator[Any]:
        return map(self._row, *(values.tolist() for values in self._table.values()))

    def _repr_html_(self) -> str:
        """For notebooks: the first windows as a table."""
        zone = zone_of(self._tz)
        shown = {name: values[:SHOWN].tolist() for name, values in self._table.items()}
        shown["start"] = [to_datetime(start, zone).isoformat(sep=" ") for start in shown["start"]]
        return html_table(f"Windows: {rows_shown(len(self))}", list(shown), zip(*shown.values(), strict=True))

    def __repr__(self) -> str:
        return f"<{len(self)} windows: {', '.join(self._table)}>"


def _floats(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Values as floats, NaN where one is missing."""
    filled: npt.NDArray[np.float64] = np.ma.getdata(values).astype(np.float64)
    filled[np.ma.getmaskarray(values)] = np.nan
    return filled


class _Resampled(Generic[E]):
    """What an executor reads, in windows; without the aggregates."""

    def __init__(
        self,
        executor: E,
        every: DurationLike,
        origin: TimeLike | None,
        tz: str | dt.tzinfo | None,
        fill: Fill | None,
    ) -> None:
        if fill is not None and fill not in FILLS:
            raise QueryError(f"fill takes one of {', '.join(map(repr, FILLS))}, not {fill!r}")
        self._executor = executor
        self._grid = grid_of(every, origin, tz)
        self._tz = tz
        self._fill: Fill | None = fill

    def _sink(self, named: Mapping[str, Aggregate]) -> Callable[[Selection[Any]], WindowSink]:
        spec = self._executor.spec
        if len(models_of(spec.model)) > 1:
            raise QueryError(f"resample() takes a query of one model, not of {spec.model.__name__}")
        if not named:
            raise QueryError("agg() takes what to make of each window, such as agg(n=count())")
        most = spec.max_rows_in_memory
        gaps = None if self._fill is None else Gaps(self._fill, *_asked(self._executor.plan), most)
        aggregates = {name: _bound(spec.model, name, each) for name, each in named.items()}
        return lambda selection: WindowSink(WindowAggregates(selection, self._grid, aggregates, gaps, most), self._tz)


class WindowSink:
    """Windows of the selected records."""

    def __init__(self, aggregates: WindowAggregates, tz: str | dt.tzinfo | None) -> None:
        self._aggregates = aggregates
        self._tz = tz
        self.feed = aggregates.feed

    def result(self) -> Windows:
        """The windows."""
        table, decimals = self._aggregates.result(), self._aggregates.decimals
        made = {name: _of_units(values, decimals[name]) if name in decimals else values for name, values in table.items()}
        digits = {name: codec.digits or 0 for name, codec in decimals.items() if made[name].dtype == object}
        return Windows(made, self._tz, self._aggregates.drops, self._aggregates.rollovers, digits)


def _of_units(values: npt.NDArray[Any], codec: FieldCodec) -> npt.NDArray[Any]:
    """Decimals of their units: exact, where these are, unless the field's values are floats."""
    digits = codec.digits or 0
    if values.dtype.kind == "f" or codec.python is float:
        return values / 10.0**digits
    made = np.empty(len(values), object)
    made[:] = [Decimal(units).scaleb(-digits, EXACT) for units in np.ma.getdata(values).tolist()]
    return np.ma.MaskedArray(made, values.mask) if isinstance(values, np.ma.MaskedArray) else made


def _asked(plan: Plan) -> tuple[int | None, int | None]:
    """The first and the last capture time that is asked for; None where it is not said."""
    limits = LIMITS["cap"]
    low = min((box.min.cap for box in plan.boxes), default=limits.least)
    high = max((box.max.cap for box in plan.boxes), default=limits.bound)
    return None if low <= limits.least else low, None if high >= limits.bound else high - 1


def _bound(model: Any, name: str, aggregate: object) -> Aggregate:
    if name in GROUP:
        raise QueryError(f"agg({name}=...): each window has a {name} already; choose another name")
    if not isinstance(aggregate, Aggregate):
        raise QueryError(f"agg({name}=...) takes an aggregate such as {model.__name__}.cap.max(), not {aggregate!r}")
    info = aggregate.column
    if info is None:
        return aggregate
    own = own_column(model, info)
    if own is None:
        raise QueryError(f"agg({name}=...): {info.model}.{info.alias} is not a column of {model.__name__}")
    codec = own.codec
    if codec.number is None or not codec.is_amount:
        raise QueryError(f"agg({name}=...): {info.model}.{info.alias} ({codec.label}) is not a number")
    if aggregate.kind == "sum" and codec.digits is None and codec.number.name == "UInt64":
        raise QueryError(f"agg({name}=...): a sum of {codec.label} may leave int64; take the mean()")
    return attrs.evolve(aggregate, column=own)


class Resampling(_Resampled[Executor[Any]]):
    """The windows of a query, which `agg` fills."""

    def agg(self, **named: Aggregate) -> Windows:
        """Reads the records and makes the named aggregates of each series and window that has any.

        Aggregates are made of columns that are numbers: `Reading.volts.mean()`, and `sum count min max std first last`;
        `count()` counts records. Of decimal numbers, `sum min max first last delta` are exact Decimals, the others
        floats. Values that are absent are left out, and where
        there is none the aggregate is None. NaN is a value, and makes NaN. `first` and `last` go by cap, and among equal
        ones by acq. `std` is of a sample; None below two values. Memory grows with the number of windows, not of records.

        `quantile median delta rate time_weighted_mean` hold the values that they are made of in memory, as many as
        `max_rows_in_memory`.

        Raises:
            QueryError: when a name is cid, mid, moid or start; a column is of another model or no number; a sum of
                integers leaves int64; more values or windows come together than `max_rows_in_memory`.
            DecodeError: when a payload does not fit the model, unless such records are to be skipped.
        """
        return self._executor.run(self._sink(named))


class AsyncResampling(_Resampled[AsyncExecutor[Any]]):
    """See `Resampling`."""

    async def agg(self, **named: Aggregate) -> Windows:
        """See `Resampling.agg`."""
        return await self._executor.run(self._sink(named))
