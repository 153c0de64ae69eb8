"""`query.resample("15m").agg(...)`: aggregates of windows of capture time.

Rules kept here:

* Each chunk becomes a table of partial aggregates, with one row for each run of records of the same series and window. Rows
  of the same window are merged. So memory grows with the number of windows, not of records, and the order of records does
  not matter. Aggregates of single values, such as quantiles, also hold the values.
* A null is not a value: only `count()` counts it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args

import attrs
import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.frames.frame import pandas_of, polars_of, windows_table
from tsmodel.html import SHOWN, html_table, rows_shown
from tsmodel.io.runners import awaited
from tsmodel.keys import LIMITS
from tsmodel.model.column import Aggregate, AggregateKind
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.unions import models_of
from tsmodel.query.aggregating import (
    GROUP,
    HELD,
    SERIES,
    STREAMED,
    Array,
    ColumnStates,
    Points,
    Sketch,
    Table,
    concatenated,
    sorted_by,
)
from tsmodel.query.executor import AsyncExecutor, Execution, Executor
from tsmodel.query.grids import Grid, grid_of, zone_of
from tsmodel.query.plan import Plan
from tsmodel.query.sinks import Selection
from tsmodel.query.spec import own_column
from tsmodel.timestamps import DurationLike, TimeLike, to_datetime
from tsmodel.types.codec import FieldCodec
from tsmodel.types.numbers import EXACT
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.sorting import order_of, run_lasts, run_lengths, run_starts

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from matplotlib.axes import Axes

__all__ = ["AsyncResampling", "Fill", "Gaps", "Resampling", "WindowAggregates", "Windows"]

Fill: TypeAlias = Literal["null", "previous", "linear"]
_FILLS: Final = get_args(Fill)


@attrs.frozen
class Gaps:
    """How to fill windows without records.

    Attributes:
        fill: "null", "previous" for the previous value, or "linear" for interpolation between the neighbours.
        first: a time in the first window; None for the first window of each series.
        last: a time in the last window; None for the last window of each series.
        most: most windows to return.
    """

    fill: Fill
    first: int | None
    last: int | None
    most: int

    def filled(self, table: Table, grid: Grid, counts: frozenset[str]) -> Table:
        """Adds the missing windows between the first and the last of each series.

        Args:
            table: sorted windows with their values.
            grid: the grid of windows.
            counts: names of values that are 0 in windows without records.

        Raises:
            QueryError: when there are too many.
        """
        starts = table["start"]
        if not len(starts):
            return table
        low = int(starts.min()) if self.first is None else int(grid.starts(np.array([self.first], np.int64))[0])
        high = int(starts.max()) if self.last is None else int(grid.starts(np.array([self.last], np.int64))[0])
        group_starts = run_starts([table[name] for name in SERIES])
        group_lasts = run_lasts(group_starts, len(starts))
        self._check(grid.most(low, high))
        edges = grid.edges(low, high)
        begins = (
            np.zeros(len(group_starts), np.int64)
            if self.first is not None
            else np.searchsorted(edges, starts[group_starts])
        )
        ends = (
            np.full(len(group_starts), len(edges))
            if self.last is not None
            else np.searchsorted(edges, starts[group_lasts]) + 1
        )
        counted = ends - begins
        self._check(int(counted.sum()))
        bases = np.cumsum(counted) - counted  # where each series starts
        series = np.repeat(np.arange(len(group_starts)), counted)
        filled: Table = {name: table[name][group_starts][series] for name in SERIES}
        filled["start"] = edges[np.arange(len(series)) - bases[series] + begins[series]]
        of = np.repeat(np.arange(len(group_starts)), run_lengths(group_starts, len(starts)))
        places = np.searchsorted(edges, starts) - begins[of] + bases[of]
        for name in table.keys() - set(GROUP):
            if name in counts:
                filled[name] = np.zeros(len(series), table[name].dtype)
                filled[name][places] = table[name]
            else:
                filled[name] = self._values(table[name], places, filled["start"], bases[series])
        return {name: filled[name] for name in table}

    def _check(self, count: int) -> None:
        if count > self.most:
            raise QueryError(
                f"with its gaps filled the result has up to {count:,} windows, more than the {self.most:,} allowed: narrow "
                "the query, use longer windows, or allow more by max_rows_in_memory()"
            )

    def _values(self, values: Array, places: npt.NDArray[np.int64], starts: Array, bases: Array) -> Array:
        there = np.zeros(len(starts), np.bool_)
        there[places] = ~np.ma.getmaskarray(values)
        whole = np.zeros(len(starts), values.dtype)
        whole[places] = np.ma.filled(values, 0)
        if self.fill == "null":
            return whole if there.all() else np.ma.MaskedArray(whole, ~there)
        every = np.arange(len(starts))
        before = np.maximum.accumulate(np.where(there, every, -1))
        known = before >= bases
        before = np.where(known, before, every)
        if self.fill == "previous":
            return np.ma.MaskedArray(whole[before], ~known) if not known.all() else whole[before]
        after = np.minimum.accumulate(np.where(there, every, len(starts))[::-1])[::-1]
        known &= after < len(starts)
        after = np.where(known, after, every)
        known &= bases[after] == bases
        after = np.where(known, after, every)
        plain = whole.astype(np.float64)
        spans = np.maximum(starts[after] - starts[before], 1)
        parts = np.where(known, (starts - starts[before]) / spans, 0.0)
        line = np.where(parts > 0, plain[before] + (plain[after] - plain[before]) * parts, plain[before])
        return line if known.all() else np.ma.MaskedArray(line, ~known)


_MERGE_AT = 200_000
"""Pending rows of partial aggregates from which they are merged."""


@attrs.frozen
class _Column:
    """A column whose values are aggregated.

    Attributes:
        info: the column.
        streamed: aggregates computed from states, by name.
        states: the states; None without such aggregates.
        held: aggregates computed from points, by name.
        points: the points; None without such aggregates.
        sketches: for each relative error, its quantiles by name, and the sketch that they are computed from.
    """

    info: ColumnInfo
    streamed: dict[str, Aggregate]
    states: ColumnStates | None
    held: dict[str, Aggregate]
    points: Points | None
    sketches: list[tuple[dict[str, Aggregate], Sketch]]

    @staticmethod
    def of(info: ColumnInfo, named: dict[str, Aggregate], grid: Grid, most: int) -> _Column:
        """A column with its aggregates."""
        streamed = {name: each for name, each in named.items() if each.kind in STREAMED}
        held = {name: each for name, each in named.items() if each.kind in HELD}
        kinds: set[AggregateKind] = {each.kind for each in streamed.values()}
        states = ColumnStates(info.name, _dtype(info), kinds, is_nullable=info.is_nullable) if streamed else None
        rough: dict[float, dict[str, Aggregate]] = {}
        for name, each in named.items():
            if each.kind == "rough_quantile":
                rough.setdefault(each.error, {})[name] = each
        sketches = [(quantiles, Sketch(error)) for error, quantiles in rough.items()]
        return _Column(info, streamed, states, held, Points(grid, most) if held else None, sketches)

    def values(self, records: Any) -> Array:
        """The column's values, contiguous, in native byte order; decimals as integers."""
        values = self.info.values(records)
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _quiet() -> np.errstate:
    """Suppresses warnings about infinite values and NaN, which are valid values."""
    return np.errstate(over="ignore", invalid="ignore")


def _dtype(info: ColumnInfo) -> np.dtype[Any]:
    number = info.codec.number
    assert number is not None
    return np.dtype(number.numpy)


class WindowAggregates:
    """The sink that aggregates. Its result is `Windows`.

    Args:
        selection: selects the records.
        grid: the grid of windows.
        aggregates: the aggregates by name.
        gaps: how to fill windows without records; None to leave them out.
        most: most values to hold.
        tz: time zone of the windows.
    """

    def __init__(
        self,
        selection: Selection[Any],
        grid: Grid,
        aggregates: Mapping[str, Aggregate],
        gaps: Gaps | None,
        most: int,
        tz: str | dt.tzinfo | None,
    ) -> None:
        self._selection = selection
        self._grid = grid
        self._aggregates = aggregates
        self._gaps = gaps
        self._tz = tz
        infos = {each.column.name: each.column for each in aggregates.values() if each.column is not None}
        self._columns = [
            _Column.of(info, {name: each for name, each in aggregates.items() if each.column == info}, grid, most)
            for info in infos.values()
        ]
        self._has_edges = any(column.states is not None and column.states.has_edges for column in self._columns)
        self._parts: list[Table] = []
        self._pending = 0
        self._merged = 0

    def feed(self, chunk: Chunk) -> bool:
        """See `Sink.feed`."""
        records = self._selection.of(chunk, columns=True)
        if len(records):
            with _quiet():
                part = self._partial(records)
            self._parts.append(part)
            self._pending += len(part["rows"])
            if self._pending > max(_MERGE_AT, 2 * self._merged):
                self._parts = [self._merge()]
                self._pending = self._merged = len(self._parts[0]["rows"])
        return self._selection.full

    def result(self) -> Windows:
        """See `Sink.result`."""
        with _quiet():
            table = self._table()
        digits = {}
        for name, aggregate in self._aggregates.items():
            codec = aggregate.column.codec.present if aggregate.column and aggregate.kind != "count" else None
            if codec is not None and codec.digits is not None:
                table[name] = _of_units(table[name], codec)
                if table[name].dtype == object:
                    digits[name] = codec.digits
        counters: dict[str, int] = {name: 0 for name, each in self._aggregates.items() if each.counter is not None}
        points = [column.points for column in self._columns if column.points is not None]
        drops = counters | {name: count for each in points for name, count in each.drops.items()}
        rollovers = counters | {name: count for each in points for name, count in each.rollovers.items()}
        return Windows(table, self._tz, drops, rollovers, digits)

    def _table(self) -> Table:
        """The windows, sorted by cid, mid, moid and start; masked arrays where values are missing."""
        if not self._parts:
            empty = {name: np.empty(0, LIMITS[name].dtype) for name in SERIES}
            return {**empty, "start": np.empty(0, np.int64), **{name: np.empty(0) for name in self._aggregates}}
        merged = self._merge()
        self._parts = [merged]
        made: Table = {}
        for column in self._columns:
            if column.states is not None:
                made |= {name: column.states.value(each.kind, name, merged) for name, each in column.streamed.items()}
            if column.points is not None:
                made |= column.points.aggregates(column.held, merged)
            for quantiles, sketch in column.sketches:
                made |= sketch.aggregates(quantiles, merged)
        table = {name: merged[name] for name in GROUP}
        for name, aggregate in self._aggregates.items():
            table[name] = merged["rows"] if aggregate.column is None else made[name]
        if self._gaps is None:
            return table
        counts = frozenset(name for name, each in self._aggregates.items() if each.kind == "count")
        return self._gaps.filled(table, self._grid, counts)

    def _partial(self, records: Any) -> Table:
        """Partial aggregates, one row for each run of records. A window whose records are not adjacent has several rows."""
        caps, acqs = (np.ascontiguousarray(records[name], np.int64) for name in ("cap", "acq"))
        keys: Table = {name: records[name] for name in SERIES}
        keys["start"] = self._grid.starts(caps)
        columns = [(column, column.values(records), column.info.present(records)) for column in self._columns]
        for column, values, present in columns:
            if column.points is not None:
                series = {name: np.ascontiguousarray(keys[name]) for name in SERIES}
                column.points.add({**series, "cap": caps, "acq": acqs}, values, present)
        group_starts = run_starts([keys[name] for name in reversed(GROUP)])
        order = self._order(keys, caps, acqs, group_starts)
        if order is not None:
            keys = {name: values[order] for name, values in keys.items()}
            caps, acqs = caps[order], acqs[order]
            group_starts = run_starts([keys[name] for name in GROUP])
        part: Table = {name: values[group_starts] for name, values in keys.items()}
        part["rows"] = run_lengths(group_starts, len(caps))
        for column, values, present in columns:
            if order is not None:
                values, present = values[order], None if present is None else present[order]
            if column.states is not None:
                part |= column.states.made(values, present, group_starts, caps, acqs)
            for _, sketch in column.sketches:
                sketch.add({name: part[name] for name in GROUP}, values, present, group_starts)
        return part

    def _order(self, keys: Table, caps: Array, acqs: Array, group_starts: Array) -> Array | None:
        """The order in which to aggregate records; None to leave them as they are, because runs are long, and ascend where
        order matters."""
        if 4 * len(group_starts) <= len(caps):
            if not self._has_edges:
                return None
            falls = (caps[1:] < caps[:-1]) | ((caps[1:] == caps[:-1]) & (acqs[1:] < acqs[:-1]))
            falls[group_starts[1:] - 1] = False
            if not falls.any():
                return None
        return order_of([*(keys[name] for name in GROUP), caps, acqs])

    def _merge(self) -> Table:
        """Merges all parts into one table, sorted, with one row for each window."""
        whole = sorted_by(concatenated(self._parts), GROUP)
        group_starts = run_starts([whole[name] for name in GROUP])
        merged: Table = {name: whole[name][group_starts] for name in GROUP}
        merged["rows"] = np.add.reduceat(whole["rows"], group_starts)
        for column in self._columns:
            if column.states is not None:
                merged |= column.states.joined(whole, group_starts)
        return merged


E = TypeVar("E", bound=Execution[Any])


class Windows:
    """Windows with their aggregates, sorted by cid, mid, moid and start. Iterate over them as objects with these four
    attributes (`start` in ns since 2001, as cap) and the named values, or take them as columns. A missing value is None, or
    masked in columns.

    Args:
        table: arrays of shape (n,) by name.
        tz: time zone of times in frames.
        drops, rollovers: see the attributes.
        digits: decimal places of the columns that are Decimals.

    Attributes:
        drops: for each `delta` and `rate`, by name: how often a counter's value was less than the previous one, or with
            `on_drop="ignore"`, than the last one that was not ignored. Rollovers do not count.
        rollovers: for each of them, how often the counter passed its `modulus`.
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
        """The columns, shape (n,) each; masked arrays where values are missing. `start` is in ns since 2001, exact decimals
        are objects."""
        return dict(self._table)

    def to_arrow(self) -> pa.Table:
        """A `pyarrow.Table` of the columns; `start` is a timestamp in UTC.

        Raises:
            MissingLibraryError: when pyarrow is not installed.
            DecodeError: when a window starts after 2262, where Arrow's range ends.
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
            ax: the axes to draw into; None for a new figure.
            max_lines: most lines to draw; the title says how many there are.

        Raises:
            MissingLibraryError: when matplotlib is not installed.
            QueryError: when a name is not that of an aggregate.
        """
        from tsmodel.frames.charts import plot_columns, times_of

        aggregates = [name for name in self._table if name not in GROUP]
        for name in names:
            if name not in aggregates:
                raise QueryError(f"{name!r} is not an aggregate of these windows, which have {', '.join(aggregates)}")
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
        """The first windows as a table, for notebooks."""
        zone = zone_of(self._tz)
        shown = {name: values[:SHOWN].tolist() for name, values in self._table.items()}
        shown["start"] = [to_datetime(start, zone).isoformat(sep=" ") for start in shown["start"]]
        return html_table(f"Windows: {rows_shown(len(self))}", list(shown), zip(*shown.values(), strict=True))

    def __repr__(self) -> str:
        return f"<{len(self)} windows: {', '.join(self._table)}>"


def _floats(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Values as floats, with NaN for missing ones."""
    filled: npt.NDArray[np.float64] = np.ma.getdata(values).astype(np.float64)
    filled[np.ma.getmaskarray(values)] = np.nan
    return filled


class _Resampled(Generic[E]):
    """The windows of a query, before aggregates are chosen."""

    def __init__(
        self,
        executor: E,
        every: DurationLike,
        origin: TimeLike | None,
        tz: str | dt.tzinfo | None,
        fill: Fill | None,
    ) -> None:
        if fill is not None and fill not in _FILLS:
            raise QueryError(f"fill takes one of {', '.join(map(repr, _FILLS))}, not {fill!r}")
        self._executor = executor
        self._grid = grid_of(every, origin, tz)
        self._tz = tz
        self._fill: Fill | None = fill

    def _sink(self, named: Mapping[str, Aggregate]) -> Callable[[Selection[Any]], WindowAggregates]:
        spec = self._executor.spec
        if len(models_of(spec.model)) > 1:
            raise QueryError(f"resample() takes a query of one model, not of {spec.model.__name__}")
        if not named:
            raise QueryError("agg() takes named aggregates, such as agg(n=count())")
        most = spec.max_rows_in_memory
        gaps = None if self._fill is None else Gaps(self._fill, *_cap_range(self._executor.plan), most)
        aggregates = {name: _bound(spec.model, name, each) for name, each in named.items()}
        return lambda selection: WindowAggregates(selection, self._grid, aggregates, gaps, most, self._tz)


def _of_units(values: npt.NDArray[Any], codec: FieldCodec) -> npt.NDArray[Any]:
    """Converts integers that stand for decimals: to Decimals if they are exact, to floats if the field's values are."""
    digits = codec.digits or 0
    if values.dtype.kind == "f" or codec.python is float:
        return values / 10.0**digits
    made = np.empty(len(values), object)
    made[:] = [Decimal(units).scaleb(-digits, EXACT) for units in np.ma.getdata(values).tolist()]
    return np.ma.MaskedArray(made, values.mask) if isinstance(values, np.ma.MaskedArray) else made


def _cap_range(plan: Plan) -> tuple[int | None, int | None]:
    """The first and the last capture time that a query reads; None where it is unbounded."""
    limits = LIMITS["cap"]
    low = min((box.min.cap for box in plan.boxes), default=limits.least)
    high = max((box.max.cap for box in plan.boxes), default=limits.bound)
    return None if low <= limits.least else low, None if high >= limits.bound else high - 1


def _bound(model: Any, name: str, aggregate: object) -> Aggregate:
    if name in GROUP:
        raise QueryError(f"agg({name}=...): each window already has a {name}; choose another name")
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
        raise QueryError(f"agg({name}=...): a sum of {codec.label} may overflow int64: use mean()")
    return msgspec.structs.replace(aggregate, column=own)


class Resampling(_Resampled[Executor[Any]]):
    """The windows of a query. `agg` computes their aggregates."""

    def agg(self, /, **named: Aggregate) -> Windows:
        """Reads the records and computes the named aggregates of each series and window that has records.

        Aggregates are methods of columns of numbers: `Reading.volts.mean()`, and `sum count min max std first last`.
        `count()` counts records. Of decimal numbers, `sum min max first last delta` are exact Decimals, the others floats.
        Nulls are left out; without values, the aggregate is None. NaN is a value, and makes the aggregate NaN. `first` and
        `last` go by cap, and among equal ones by acq. `std` is the sample standard deviation, None below two values.
        Memory grows with the number of windows, not of records.

        `quantile median delta rate time_weighted_mean` hold their values in memory, at most `max_rows_in_memory`.

        Raises:
            QueryError: when a name is cid, mid, moid or start; when a column is not a number, or of another model; when a
                sum of integers overflows int64; when there are more values or windows than `max_rows_in_memory`.
            DecodeError: when a payload does not match the model, unless such records are skipped.
        """
        return self._executor.run(self._executor.running(self._sink(named)))


class AsyncResampling(_Resampled[AsyncExecutor[Any]]):
    """Like `Resampling`, on an asynchronous session."""

    agg = awaited(Resampling.agg)
