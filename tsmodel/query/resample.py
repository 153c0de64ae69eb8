"""`query.resample("15m").agg(...)`: aggregates of windows of capture time.

Rules kept here:

* Each chunk becomes a table of partial aggregates, with one row for each run of records of the same series and window. Rows
  of the same window are merged. So memory grows with the number of windows, not of records, and the order of records does
  not matter.
* A null is not a value: only `count()` counts it. NaN is a value, and makes results NaN, as in NumPy.
* *States* suffice for counts, sums, means, extremes, first and last values. Aggregates of one column share them: a sum and
  a mean share one sum.
* Sums of integers are exact or refused. To detect overflow, the sum of absolute values is kept beside a sum of 64-bit
  integers.
* *Points* hold all values of a column, for quantiles, increments and time-weighted means. Above `max_rows_in_memory` the
  query is refused.
* For increments and time-weighted means, only the newest version of each capture time counts. An increment belongs to the
  window in which it starts, so the increments of all windows add up to the total.
* *Sketches* estimate quantiles to within a relative error, without holding values: they count values in buckets between
  neighbouring powers of a base, as DDSketch does (Masson, Rim and Lee, 2019). The base is chosen so that no value is
  farther from the middle of its bucket than the error allows. Counts of several parts add up exactly.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args

import attrs
import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.frames.frame import Growing, pandas_of, polars_of, windows_table
from tsmodel.html import SHOWN, html_table, rows_shown
from tsmodel.io.runners import awaited
from tsmodel.keys import LIMITS
from tsmodel.model.column import Aggregate, AggregateKind, Counter
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.own_columns import column_of
from tsmodel.model.unions import models_of
from tsmodel.query.executor import AsyncExecutor, Execution, Executor
from tsmodel.query.grids import Grid, grid_of, zone_of
from tsmodel.query.plan import Plan
from tsmodel.query.sinks import Selection
from tsmodel.timestamps import DurationLike, TimeLike, to_datetime, to_iso
from tsmodel.types.codec import FieldCodec
from tsmodel.types.numbers import EXACT
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.sorting import order_of, run_lasts, run_lengths, run_starts

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from matplotlib.axes import Axes

__all__ = ["AsyncResampling", "Fill", "Resampling", "Windows"]

Fill: TypeAlias = Literal["null", "previous", "linear"]

Array: TypeAlias = npt.NDArray[Any]
Places: TypeAlias = npt.NDArray[np.intp]
Table: TypeAlias = dict[str, Array]
"""Columns of one length, by name."""

_SERIES: Final = ("cid", "mid", "moid")
_GROUP: Final = (*_SERIES, "start")
"""The columns that identify a window, in the order of the result."""
_KEY: Final = (*_SERIES, "cap", "acq")
_MERGE_AT = 500_000
"""Pending rows of partial results from which they are merged."""


class _Parts:
    """Partial results, as tables that are merged from time to time.

    Args:
        names: the columns that identify a row.
        join: returns the other columns of the merged table, given the whole table, sorted by `names`, and where each of its
            groups starts.
    """

    def __init__(self, names: tuple[str, ...], join: Callable[[Table, Places], Table]) -> None:
        self._names = names
        self._join = join
        self._tables: list[Table] = []
        self._pending = 0
        self._merged = 0

    def add(self, table: Table) -> None:
        """Adds a table."""
        self._tables.append(table)
        self._pending += len(table[self._names[0]])
        if self._pending > max(_MERGE_AT, 2 * self._merged):
            self._pending = self._merged = len(self.merged()[self._names[0]])

    def merged(self) -> Table:
        """One table, sorted, with one row for each group; empty if nothing was added."""
        if not self._tables:
            return {}
        whole = {name: np.concatenate([each[name] for each in self._tables]) for name in self._tables[0]}
        if (order := order_of([whole[name] for name in self._names])) is not None:
            whole = {name: values[order] for name, values in whole.items()}
        starts = run_starts([whole[name] for name in self._names])
        self._tables = [{name: whole[name][starts] for name in self._names} | self._join(whole, starts)]
        return self._tables[0]


@attrs.frozen(eq=False)
class _Runs:
    """Records of a chunk, in runs of the same series and window.

    Attributes:
        keys: the key components, and the `start` of the window; shape (n,) each.
        starts: where each run starts.
    """

    keys: Table
    starts: Places


class _Aggregator:
    """Computes some aggregates of one column.

    Args:
        info: the column.
        named: the aggregates by name.

    Attributes:
        drops: by name of the aggregate: how often a counter was less than before, apart from rollovers.
        rollovers: how often it passed its modulus.
    """

    def __init__(self, info: ColumnInfo, named: dict[str, Aggregate]) -> None:
        self._info = info
        self._named = named
        self.drops = {name: 0 for name, each in named.items() if each.counter is not None}
        self.rollovers = dict(self.drops)

    def add(self, runs: _Runs, values: Array, present: Array | None) -> Table:
        """Adds values of a chunk. Returns columns for the table of partial results, with a row for each run.

        Args:
            runs: the records.
            values: the column, shape (n,); nulls may be anything.
            present: which values are not null, shape (n,); None for all.
        """
        raise NotImplementedError

    def aggregates(self, windows: Table) -> Table:
        """The aggregates of each window, masked where they have no value.

        Raises:
            QueryError: when integers overflow int64, or a counter drops that must not.
        """
        raise NotImplementedError


def _places_of(wanted: Table, windows: Table) -> Places:
    """The indices of `wanted` in `windows`. Both are sorted without duplicates, and `windows` contains all of `wanted`."""
    both = [np.concatenate([windows[name], wanted[name]]) for name in _GROUP]
    is_wanted = np.lexsort(both[::-1]) >= len(windows["start"])
    places: Places = (np.cumsum(~is_wanted) - 1)[is_wanted]
    return places


def _spread(values: Array, places: Places, count: int) -> Array:
    """An array of length `count` with `values` at the indices `places`, masked elsewhere."""
    whole = np.zeros(count, values.dtype)
    whole[places] = values
    mask = np.ones(count, np.bool_)
    mask[places] = False
    return _masked(whole, mask)


def _masked(values: Array, mask: Array) -> Array:
    return np.ma.MaskedArray(values, mask) if mask.any() else values


_STATES: Final = frozenset[AggregateKind](("count", "sum", "mean", "min", "max", "std", "first", "last"))
_EXACT: Final = 2.0**62
_EDGES: Final = ("first", "last")


class _States(_Aggregator):
    """Computes aggregates from states, which are columns of the table of partial results."""

    def __init__(self, info: ColumnInfo, named: dict[str, Aggregate]) -> None:
        super().__init__(info, named)
        number = info.codec.number
        assert number is not None
        dtype = np.dtype(number.numpy)
        self._kinds = {each.kind for each in named.values()}
        sums = {"sum", "mean", "std"} & self._kinds
        is_wide = dtype.kind in "iu" and dtype.itemsize == 8
        # Means use exact sums, too: in floats, the difference of large numbers would be lost.
        self._adds_exactly = dtype.kind in "iub" and bool(sums)
        self._checks = is_wide and self._adds_exactly
        self._adds_floats = bool(sums) and (dtype.kind == "f" or (is_wide and sums != {"sum"}))

    @property
    def has_edges(self) -> bool:
        """Whether first or last values are wanted, so that order matters."""
        return not self._kinds.isdisjoint(_EDGES)

    def add(self, runs: _Runs, values: Array, present: Array | None) -> Table:
        table: Table = {}
        keys, starts = runs.keys, runs.starts
        if present is not None and present.all():
            present = None
        lengths = run_lengths(starts, len(values))
        n = lengths if present is None else np.add.reduceat(present, starts, dtype=np.int64)
        if self._info.is_nullable:
            table["n"] = n
        plain = values if present is None else np.where(present, values, values.dtype.type(0))
        if self._adds_exactly:
            table["sum"] = np.add.reduceat(plain, starts, dtype=np.int64)
        if self._checks:
            table["size"] = np.add.reduceat(np.abs(plain.astype(np.float64)), starts)
        if self._adds_floats:
            table["total"] = np.add.reduceat(plain, starts, dtype=np.float64)
        if "std" in self._kinds:
            off = plain - np.repeat(self._mean(table, n), lengths)
            squares = off * off
            table["squares"] = np.add.reduceat(squares if present is None else np.where(present, squares, 0.0), starts)
        table |= self._extremes({"min": values, "max": values}, present, starts)
        for kind in self._kinds.intersection(_EDGES):
            at = _edge(kind, present, starts, len(values))
            table |= {kind: values[at], f"{kind}.cap": keys["cap"][at], f"{kind}.acq": keys["acq"][at]}
        return self._named_states(table)

    def joined(self, table: Table, starts: Places) -> Table:
        """Merges these columns of the sorted table, given where each window starts in it."""
        own = self._own(table)
        count = len(table["rows"])
        parts = own["n"] if self._info.is_nullable else table["rows"]
        present = parts > 0 if self._info.is_nullable else None
        sums = [name for name in ("n", "sum", "size", "total") if name in own]
        joined: Table = {name: np.add.reduceat(own[name], starts) for name in sums}
        if "std" in self._kinds:
            n = np.add.reduceat(parts, starts)
            off = self._mean(own, parts) - np.repeat(self._mean(joined, n), run_lengths(starts, count))
            joined["squares"] = np.add.reduceat(own["squares"] + np.where(parts > 0, parts * off * off, 0.0), starts)
        joined |= self._extremes(own, present, starts)
        for kind in self._kinds.intersection(_EDGES):
            groups = np.repeat(np.arange(len(starts)), run_lengths(starts, count))
            order = np.lexsort((own[f"{kind}.acq"], own[f"{kind}.cap"], groups))
            at = order[_edge(kind, None if present is None else present[order], starts, count)]
            joined |= {each: own[each][at] for each in (kind, f"{kind}.cap", f"{kind}.acq")}
        return self._named_states(joined)

    def aggregates(self, windows: Table) -> Table:
        own = self._own(windows)
        n = own["n"] if self._info.is_nullable else windows["rows"]
        return {name: self._value(each.kind, name, own, n) for name, each in self._named.items()}

    def _value(self, kind: AggregateKind, name: str, own: Table, n: Array) -> Array:
        if kind == "count":
            return n
        if kind == "std":
            with np.errstate(divide="ignore", invalid="ignore"):
                return _masked(np.sqrt(own["squares"] / (n - 1)), n < 2)
        if kind == "mean":
            return _masked(self._mean(own, n), n == 0)
        if kind == "sum":
            if self._checks and (own["size"] > _EXACT).any():
                raise QueryError(f"{name}: a sum of integers overflows int64: use mean(), or shorter windows")
            return _masked(own["sum"] if self._adds_exactly else own["total"], n == 0)
        return _masked(own[kind], n == 0)

    def _mean(self, own: Table, n: Array) -> Array:
        total = own["sum"] if self._adds_exactly else own["total"]
        if self._checks and self._adds_floats:
            total = np.where(own["size"] < _EXACT, total, own["total"])
        mean: Array = total / np.maximum(n, 1)
        return mean

    def _extremes(self, table: Table, present: Array | None, starts: Places) -> Table:
        """The least and greatest values of each run, where they are wanted."""
        found: Table = {}
        for kind, extreme in (("min", np.minimum), ("max", np.maximum)):
            if kind in self._kinds:
                values = table[kind]
                if present is not None:
                    values = np.where(present, values, values.dtype.type(_neutral(kind, values.dtype)))
                found[kind] = extreme.reduceat(values, starts)
        return found

    def _named_states(self, table: Table) -> Table:
        return {f"{self._info.name}.{name}": values for name, values in table.items()}

    def _own(self, table: Table) -> Table:
        prefix = f"{self._info.name}."
        return {name.removeprefix(prefix): values for name, values in table.items() if name.startswith(prefix)}


def _neutral(kind: str, dtype: np.dtype[Any]) -> Any:
    """The value that changes no minimum, or no maximum."""
    if dtype.kind == "f":
        return np.inf if kind == "min" else -np.inf
    if dtype.kind == "b":
        return kind == "min"
    return np.iinfo(dtype).max if kind == "min" else np.iinfo(dtype).min


def _edge(kind: str, present: Array | None, starts: Places, count: int) -> Places:
    """The index of the first or last value of each run; any index in the run if all its values are null."""
    if present is None:
        return starts if kind == "first" else run_lasts(starts, count)
    places = np.arange(count)
    if kind == "first":
        found = np.minimum.reduceat(np.where(present, places, count), starts)
        return np.where(found == count, starts, found)
    return np.maximum(np.maximum.reduceat(np.where(present, places, -1), starts), starts)


_POINTS: Final = frozenset[AggregateKind](("quantile", "delta", "rate", "time_weighted_mean"))


class _Points(_Aggregator):
    """Computes aggregates from all values of a column, with their keys.

    Args:
        info, named: see `_Aggregator`.
        grid: the windows.
        most: most values to hold.
    """

    def __init__(self, info: ColumnInfo, named: dict[str, Aggregate], grid: Grid, most: int) -> None:
        super().__init__(info, named)
        self._grid = grid
        self._most = most
        self._columns: dict[str, Growing] = {}
        self._count = 0

    def add(self, runs: _Runs, values: Array, present: Array | None) -> Table:
        """See `_Aggregator.add`.

        Raises:
            QueryError: when there are too many values.
        """
        columns = {name: runs.keys[name] for name in _KEY} | {"value": values}
        if present is not None:
            columns = {name: column[present] for name, column in columns.items()}
        self._count += len(columns["value"])
        if self._count > self._most:
            raise QueryError(
                f"quantiles, deltas, rates and time-weighted means hold their values in memory, {self._count:,} so far, "
                f"more than the {self._most:,} allowed: narrow the query, or allow more by max_rows_in_memory()"
            )
        for name, column in columns.items():
            self._columns.setdefault(name, Growing(column.dtype)).add(column)
        return {}

    def aggregates(self, windows: Table) -> Table:
        count = len(windows["start"])
        if not self._count:
            return {name: _spread(np.empty(0), np.empty(0, np.intp), count) for name in self._named}
        points = {name: column.result() for name, column in self._columns.items()}
        if (order := order_of([points[name] for name in _KEY])) is not None:
            points = {name: column[order] for name, column in points.items()}
        points["start"] = self._grid.starts(points["cap"])
        made: Table = {}
        quantiles = {name: each.parameter for name, each in self._named.items() if each.kind == "quantile"}
        if quantiles:
            made |= _quantiles(quantiles, points, windows)
        if len(quantiles) < len(self._named):
            newest = run_lasts(run_starts([points[name] for name in (*_SERIES, "cap")]), len(points["cap"]))
            points = {name: column[newest] for name, column in points.items()}
        counters: dict[Counter, dict[str, Aggregate]] = {}
        for name, each in self._named.items():
            if each.kind == "time_weighted_mean":
                made[name] = _time_weighted(points, self._grid, windows)
            elif each.counter is not None:
                counters.setdefault(each.counter, {})[name] = each
        for counter, wanted in counters.items():
            made |= self._increments(counter, wanted, points, windows)
        return made

    def _increments(self, counter: Counter, named: dict[str, Aggregate], points: Table, windows: Table) -> Table:
        """The deltas and rates of windows, for one way to interpret drops."""
        name = next(iter(named))
        values = points["value"]
        kind = {"u": np.uint64, "i": np.int64}.get(values.dtype.kind, np.float64)
        points = {**points, "value": values.astype(kind)}
        if counter.modulus is not None and (outside := (values < 0) | (values >= counter.modulus)).any():
            raise QueryError(
                f"{name}: a counter with modulus={counter.modulus} cannot have the value {points['value'][outside][0]}, "
                "which is stored"
            )
        at, falls, turns = _increases(counter, points)
        drops = int(falls.sum() - turns.sum())
        if drops and counter.on_drop == "raise":
            where = at[np.argmax(falls & ~turns)]
            series = ", ".join(f"{each} {points[each][where]}" for each in _SERIES)
            raise QueryError(
                f"{name}: the counter of {series} drops at {to_iso(int(points['cap'][where + 1]))}: "
                'choose what that means by modulus=, on_drop="reset" or on_drop="ignore"'
            )
        if drops and counter.on_drop == "ignore":
            accepted = _accepted(counter, points)
            drops = int(np.count_nonzero(~accepted))
            points = {each: column[accepted] for each, column in points.items()}
            at, falls, turns = _increases(counter, points)
        self.drops |= dict.fromkeys(named, drops)
        self.rollovers |= dict.fromkeys(named, int(turns.sum()))
        return _grown(counter, named, points, at, falls, turns, windows)


def _quantiles(quantiles: dict[str, float], points: Table, windows: Table) -> Table:
    starts = run_starts([points[name] for name in _GROUP])
    lengths = run_lengths(starts, len(points["start"]))
    values = points["value"].astype(np.float64)
    values = values[np.lexsort((values, np.repeat(np.arange(len(starts)), lengths)))]
    places = _places_of({name: points[name][starts] for name in _GROUP}, windows)
    greatest = values[starts + lengths - 1]
    made = {}
    for name, quantile in quantiles.items():
        rank = (lengths - 1) * quantile
        below = np.floor(rank).astype(np.intp)
        low, high = values[starts + below], values[starts + np.minimum(below + 1, lengths - 1)]
        part = rank - below
        between = np.where(part > 0, low + (high - low) * part, low)
        # NaN sorts last: a group contains NaN if its greatest value is NaN.
        made[name] = _spread(np.where(np.isnan(greatest), np.nan, between), places, len(windows["start"]))
    return made


def _follows(points: Table) -> npt.NDArray[np.bool_]:
    """Which points are followed by another one of their series."""
    follows = np.ones(len(points["cap"]), np.bool_)
    follows[run_starts([points[name] for name in _SERIES])[1:] - 1] = False
    follows[-1:] = False
    return follows


def _increases(counter: Counter, points: Table) -> tuple[Places, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The indices of points that another one of their series follows; at which of them the next value is less; and at which
    of them that is a rollover."""
    at = np.flatnonzero(_follows(points))
    values = points["value"]
    before, after = values[at], values[at + 1]
    falls = after < before
    if counter.modulus is None:
        return at, falls, np.zeros(len(at), np.bool_)
    # A rollover advances the counter by less than half of the modulus, so the value drops by more than half.
    fallen = np.where(falls, before - np.minimum(after, before), 0)
    half = counter.modulus / 2 if values.dtype.kind == "f" else int(counter.modulus) // 2
    return at, falls, falls & (fallen > half)


def _accepted(counter: Counter, points: Table) -> npt.NDArray[np.bool_]:
    """Which values are not less than the last accepted one of their series, or a rollover."""
    accepted = np.ones(len(points["cap"]), np.bool_)
    starts = [*run_starts([points[name] for name in _SERIES]).tolist(), len(accepted)]
    falls = np.append(False, points["value"][1:] < points["value"][:-1])
    modulus = counter.modulus
    for start, end in pairwise(starts):
        if not falls[start + 1 : end].any():
            continue
        first = start + 1 + int(falls[start + 1 : end].argmax())  # all values before it are accepted
        last = points["value"][first - 1].item()
        for place, value in enumerate(points["value"][first:end].tolist(), first):
            if value < last and (modulus is None or 2 * (value - last + modulus) >= modulus):
                accepted[place] = False
            else:
                last = value
    return accepted


def _grown(
    counter: Counter,
    named: dict[str, Aggregate],
    points: Table,
    at: Places,
    falls: npt.NDArray[np.bool_],
    turns: npt.NDArray[np.bool_],
    windows: Table,
) -> Table:
    """The deltas and rates of windows, from the increments at the indices `at`, given which are drops and rollovers."""
    count = len(windows["start"])
    if not len(at):
        return {name: _spread(np.empty(0), at, count) for name in named}
    values = points["value"]
    before, after = values[at], values[at + 1]
    over = after
    if counter.modulus is not None and turns.any():
        kind = values.dtype.type
        # The modulus itself may overflow the type by one.
        rest = kind(counter.modulus - 1) - before + kind(1) if values.dtype.kind != "f" else counter.modulus - before
        over = after + rest
    taken = {name: points[name][at] for name in _GROUP}
    starts = run_starts([taken[name] for name in _GROUP])
    places = _places_of({name: taken[name][starts] for name in _GROUP}, windows)
    deltas: Array = np.add.reduceat(np.where(turns, over, np.where(falls, after, after - before)), starts)
    if values.dtype.kind != "f":
        inexact = np.where(turns, over, np.where(falls, after, after.astype(np.float64) - before))
        if (np.add.reduceat(np.abs(inexact), starts) > _EXACT).any():
            raise QueryError(f"{next(iter(named))}: increments of integers overflow int64: use shorter windows")
        deltas = deltas.astype(np.int64)
    spans = np.add.reduceat(_apart(points["cap"][at], points["cap"][at + 1]), starts)
    return {
        name: _spread(deltas if each.kind == "delta" else deltas / spans * each.parameter, places, count)
        for name, each in named.items()
    }


def _apart(earlier: Array, later: Array) -> Array:
    """The time from one to the other, unsigned, because it may be longer than int64 holds."""
    return (later - earlier).view(np.uint64)


def _time_weighted(points: Table, grid: Grid, windows: Table) -> Array:
    """Time-weighted means: a value holds until the next one of its series, also across the start of a window."""
    caps, begins, values = points["cap"], points["start"], points["value"].astype(np.float64)
    follows = _follows(points)
    until = np.where(follows, np.append(caps[1:], 0), caps)
    held = np.minimum(until, grid.ends(begins)) - caps
    starts = run_starts([points[name] for name in _GROUP])
    carried = np.zeros(len(starts), np.int64)
    before = np.maximum(starts - 1, 0)
    is_carried = follows[before] & (starts > 0)
    carried[is_carried] = (caps - begins)[starts[is_carried]]
    times = np.add.reduceat(held, starts) + carried
    # A value that holds for no time does not count, even if it is infinite or NaN.
    weighed = np.where(held > 0, values * held, 0.0)
    total = np.add.reduceat(weighed, starts) + np.where(carried > 0, values[before] * carried, 0.0)
    there = times > 0
    places = _places_of({name: points[name][starts] for name in _GROUP}, windows)
    bridged, bridges = _bridged(points, follows, windows, places)
    return _spread(
        np.concatenate([total[there] / times[there], values[bridges]]),
        np.concatenate([places[there], bridged]),
        len(windows["start"]),
    )


def _bridged(points: Table, follows: npt.NDArray[np.bool_], windows: Table, places: Places) -> tuple[Places, Places]:
    """The windows without points that lie between two points of their series; and the indices of the earlier points."""
    without = np.ones(len(windows["start"]), np.bool_)
    without[places] = False
    wanted = np.flatnonzero(without)
    columns = [np.concatenate([points[name], windows[name][wanted]]) for name in _SERIES]
    columns.append(np.concatenate([points["cap"], windows["start"][wanted]]))
    order = np.lexsort(columns[::-1])
    is_point = order < len(points["cap"])
    before = (np.cumsum(is_point) - 1)[~is_point]
    wanted = wanted[order[~is_point] - len(points["cap"])]
    bridged = (before >= 0) & follows[np.maximum(before, 0)]
    for name in _SERIES:
        bridged &= points[name][np.maximum(before, 0)] == windows[name][wanted]
    return wanted[bridged], before[bridged]


_ONE: Final = 2**40
"""The bucket of 1. Negative values have negative buckets."""
_INFINITE: Final = 2**50
_NAN: Final = 2**51


class _Sketch(_Aggregator):
    """Estimates quantiles: counts the values of each window by bucket.

    Args:
        info, named: see `_Aggregator`.
        error: the relative error, between 0 and 1.
    """

    def __init__(self, info: ColumnInfo, named: dict[str, Aggregate], error: float) -> None:
        super().__init__(info, named)
        self._base = (1 + error) / (1 - error)
        self._middle = 2 / (self._base + 1)
        self._parts = _Parts((*_GROUP, "bucket"), lambda whole, at: {"count": np.add.reduceat(whole["count"], at)})

    def add(self, runs: _Runs, values: Array, present: Array | None) -> Table:
        run = np.repeat(np.arange(len(runs.starts)), run_lengths(runs.starts, len(values)))
        if present is not None:
            run, values = run[present], values[present]
        if len(values):
            buckets = self._buckets(values)
            order = np.lexsort((buckets, run))
            run, buckets = run[order], buckets[order]
            firsts = run_starts([run, buckets])
            part = {name: runs.keys[name][runs.starts[run[firsts]]] for name in _GROUP}
            part |= {"bucket": buckets[firsts], "count": run_lengths(firsts, len(buckets))}
            self._parts.add(part)
        return {}

    def aggregates(self, windows: Table) -> Table:
        count = len(windows["start"])
        table = self._parts.merged()
        if not table:
            return {name: _spread(np.empty(0), np.empty(0, np.intp), count) for name in self._named}
        starts = run_starts([table[name] for name in _GROUP])
        places = _places_of({name: table[name][starts] for name in _GROUP}, windows)
        ends = np.cumsum(table["count"])
        totals = np.add.reduceat(table["count"], starts)
        bases = ends[starts] - table["count"][starts]
        greatest = table["bucket"][run_lasts(starts, len(ends))]
        made: Table = {}
        for name, aggregate in self._named.items():
            ranks = np.floor((totals - 1) * aggregate.parameter + 0.5).astype(np.int64)
            buckets = table["bucket"][np.searchsorted(ends, bases + ranks, "right")]
            made[name] = _spread(self._values(np.where(greatest == _NAN, _NAN, buckets)), places, count)
        return made

    def _buckets(self, values: Array) -> npt.NDArray[np.int64]:
        """The bucket of each value. Buckets are ordered like values, with NaN last."""
        floats = values.astype(np.float64)
        sizes = np.abs(floats)
        plain = np.isfinite(floats) & (sizes > 0)
        powers = np.ceil(np.log(np.where(plain, sizes, 1.0)) / math.log(self._base)).astype(np.int64) + _ONE
        powers[np.isinf(floats)] = _INFINITE
        powers[sizes == 0] = 0
        buckets: npt.NDArray[np.int64] = np.where(floats < 0, -powers, powers)
        buckets[np.isnan(floats)] = _NAN
        return buckets

    def _values(self, buckets: npt.NDArray[np.int64]) -> Array:
        """The middle of each bucket."""
        powers = np.abs(buckets)
        is_plain = (powers > 0) & (powers < _INFINITE)
        sizes = self._base ** np.where(is_plain, powers - _ONE, 0).astype(np.float64) * self._middle
        sizes[powers == 0] = 0.0
        sizes[powers == _INFINITE] = np.inf
        sizes[powers == _NAN] = np.nan
        return np.copysign(sizes, buckets)


@attrs.frozen
class _Gaps:
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
        group_starts = run_starts([table[name] for name in _SERIES])
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
        filled: Table = {name: table[name][group_starts][series] for name in _SERIES}
        filled["start"] = edges[np.arange(len(series)) - bases[series] + begins[series]]
        of = np.repeat(np.arange(len(group_starts)), run_lengths(group_starts, len(starts)))
        places = np.searchsorted(edges, starts) - begins[of] + bases[of]
        for name in table.keys() - set(_GROUP):
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
        spans = np.maximum(_apart(starts[before], starts[after]), 1)
        parts = np.where(known, _apart(starts[before], starts) / spans, 0.0)
        line = np.where(parts > 0, plain[before] + (plain[after] - plain[before]) * parts, plain[before])
        return line if known.all() else np.ma.MaskedArray(line, ~known)


class _WindowAggregates:
    """The sink that aggregates. Its result is `Windows`.

    Args:
        selection: selects the records.
        grid: the grid of windows.
        named: the aggregates by name.
        gaps: how to fill windows without records; None to leave them out.
        tz: time zone of the windows.
    """

    def __init__(
        self,
        selection: Selection[Any],
        grid: Grid,
        named: Mapping[str, Aggregate],
        gaps: _Gaps | None,
        tz: str | dt.tzinfo,
    ) -> None:
        self._selection = selection
        self._grid = grid
        self._named = named
        self._gaps = gaps
        self._tz = tz
        of: dict[ColumnInfo, dict[str, Aggregate]] = {}
        for name, each in named.items():
            if each.column is not None:
                of.setdefault(each.column, {})[name] = each
        most = selection.spec.max_rows_in_memory
        self._columns = [(info, _aggregators(info, wanted, grid, most)) for info, wanted in of.items()]
        self._aggregators = [each for _, several in self._columns for each in several]
        self._states = [each for each in self._aggregators if isinstance(each, _States)]
        self._has_edges = any(each.has_edges for each in self._states)
        self._parts = _Parts(_GROUP, self._joined)

    def feed(self, chunk: Chunk) -> bool:
        records = self._selection.of(chunk, columns=True)
        if len(records):
            with _quiet():
                self._parts.add(self._partial(records))
        return self._selection.full

    def result(self) -> Windows:
        with _quiet():
            table = self._table()
        digits = {}
        for name, aggregate in self._named.items():
            codec = aggregate.column.codec.present if aggregate.column and aggregate.kind != "count" else None
            if codec is not None and codec.digits is not None:
                table[name] = _of_units(table[name], codec)
                if table[name].dtype == object:
                    digits[name] = codec.digits
        drops = {name: count for each in self._aggregators for name, count in each.drops.items()}
        rollovers = {name: count for each in self._aggregators for name, count in each.rollovers.items()}
        return Windows(table, self._tz, drops, rollovers, digits)

    def _table(self) -> Table:
        """The windows, sorted by cid, mid, moid and start; masked arrays where values are missing."""
        merged = self._parts.merged()
        if not merged:
            empty = {name: np.empty(0, LIMITS[name].dtype) for name in _SERIES}
            return {**empty, "start": np.empty(0, np.int64), **{name: np.empty(0) for name in self._named}}
        made: Table = {}
        for each in self._aggregators:
            made |= each.aggregates(merged)
        table = {name: merged[name] for name in _GROUP}
        for name, aggregate in self._named.items():
            table[name] = merged["rows"] if aggregate.column is None else made[name]
        if self._gaps is None:
            return table
        counts = frozenset(name for name, each in self._named.items() if each.kind == "count")
        return self._gaps.filled(table, self._grid, counts)

    def _partial(self, records: Any) -> Table:
        """Partial aggregates, one row for each run of records. A window whose records are not adjacent has several rows."""
        keys: Table = {name: records[name] for name in _SERIES}
        keys |= {name: np.ascontiguousarray(records[name], np.int64) for name in ("cap", "acq")}
        keys["start"] = self._grid.starts(keys["cap"])
        starts = run_starts([keys[name] for name in reversed(_GROUP)])
        order = self._order(keys, starts)
        if order is not None:
            keys = {name: values[order] for name, values in keys.items()}
            starts = run_starts([keys[name] for name in _GROUP])
        part: Table = {name: keys[name][starts] for name in _GROUP}
        part["rows"] = run_lengths(starts, len(keys["cap"]))
        runs = _Runs(keys, starts)
        for info, aggregators in self._columns:
            values, present = info.values(records), info.present(records)
            values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
            if order is not None:
                values, present = values[order], None if present is None else present[order]
            for each in aggregators:
                part |= each.add(runs, values, present)
        return part

    def _order(self, keys: Table, starts: Places) -> Array | None:
        """The order in which to aggregate records; None to leave them as they are, because runs are long, and ascend where
        order matters."""
        caps, acqs = keys["cap"], keys["acq"]
        if 4 * len(starts) <= len(caps):
            if not self._has_edges:
                return None
            falls = (caps[1:] < caps[:-1]) | ((caps[1:] == caps[:-1]) & (acqs[1:] < acqs[:-1]))
            falls[starts[1:] - 1] = False
            if not falls.any():
                return None
        return order_of([*(keys[name] for name in _GROUP), caps, acqs])

    def _joined(self, table: Table, starts: Places) -> Table:
        joined: Table = {"rows": np.add.reduceat(table["rows"], starts)}
        for each in self._states:
            joined |= each.joined(table, starts)
        return joined


def _aggregators(info: ColumnInfo, named: dict[str, Aggregate], grid: Grid, most: int) -> list[_Aggregator]:
    """What computes the aggregates of a column."""
    states, points = ({name: each for name, each in named.items() if each.kind in kinds} for kinds in (_STATES, _POINTS))
    made: list[_Aggregator] = [_States(info, states)] if states else []
    made += [_Points(info, points, grid, most)] if points else []
    rough = {name: each for name, each in named.items() if each.kind == "rough_quantile"}
    for error in dict.fromkeys(each.error for each in rough.values()):
        made.append(_Sketch(info, {name: each for name, each in rough.items() if each.error == error}, error))
    return made


def _quiet() -> np.errstate:
    """Suppresses warnings about infinite values and NaN, which are valid values."""
    return np.errstate(over="ignore", invalid="ignore")


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
        tz: str | dt.tzinfo,
        drops: dict[str, int],
        rollovers: dict[str, int],
        digits: Mapping[str, int],
    ) -> None:
        self._digits = digits
        self._table = dict(table)
        self.drops = drops
        self.rollovers = rollovers
        self._tz = tz
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
        from tsmodel.frames.charts import Chart, times_of

        aggregates = [name for name in self._table if name not in _GROUP]
        for name in names:
            if name not in aggregates:
                raise QueryError(f"{name!r} is not an aggregate of these windows, which have {', '.join(aggregates)}")
        drawn = names or tuple(aggregates)
        columns = {name: _floats(self._table[name]) for name in drawn}
        columns["start"] = times_of(self._table["start"])
        by = {name: self._table[name] for name in _SERIES}
        return Chart("start", drawn, _SERIES, ax, self._tz, max_lines).draw(columns, by)

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
        if fill is not None and fill not in get_args(Fill):
            raise QueryError(f"fill takes one of {', '.join(map(repr, get_args(Fill)))}, not {fill!r}")
        self._executor = executor
        self._grid = grid_of(every, origin, tz)
        self._tz = "UTC" if tz is None else tz
        self._fill: Fill | None = fill

    def _sink(self, named: Mapping[str, Aggregate]) -> Callable[[Selection[Any]], _WindowAggregates]:
        spec = self._executor.spec
        if len(models_of(spec.model)) > 1:
            raise QueryError(f"resample() takes a query of one model, not of {spec.model.__name__}")
        if not named:
            raise QueryError("agg() takes named aggregates, such as agg(n=count())")
        most = spec.max_rows_in_memory
        gaps = None if self._fill is None else _Gaps(self._fill, *_cap_range(self._executor.plan), most)
        aggregates = {name: _bound(spec.model, name, each) for name, each in named.items()}
        return lambda selection: _WindowAggregates(selection, self._grid, aggregates, gaps, self._tz)


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
    if name in _GROUP:
        raise QueryError(f"agg({name}=...): each window already has a {name}; choose another name")
    if not isinstance(aggregate, Aggregate):
        raise QueryError(f"agg({name}=...) takes an aggregate such as {model.__name__}.cap.max(), not {aggregate!r}")
    info = aggregate.column
    if info is None:
        return aggregate
    own = column_of(model, info, f"agg({name}=...): ")
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
