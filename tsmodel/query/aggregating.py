"""Intermediate results of aggregates, for each series and window. Partial results can be merged.

Rules kept here:

* *States* suffice for counts, sums, means, extremes, first and last values. Aggregates of one column share them: a sum and
  a mean share one sum.
* A null is not a value. NaN is a value, and makes results NaN, as in NumPy.
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

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.frames.frame import Growing
from tsmodel.model.column import Aggregate, AggregateKind, Counter
from tsmodel.query.grids import Grid
from tsmodel.timestamps import to_iso
from tsmodel.wire.sorting import order_of, run_lasts, run_lengths, run_starts

__all__ = [
    "GROUP",
    "HELD",
    "SERIES",
    "STREAMED",
    "Array",
    "ColumnStates",
    "Points",
    "Sketch",
    "Table",
    "concatenated",
    "places_of",
    "scattered",
    "sorted_by",
]

Array: TypeAlias = npt.NDArray[Any]
Table: TypeAlias = dict[str, Array]
"""Columns of one length, by name."""

SERIES: Final = ("cid", "mid", "moid")
GROUP: Final = (*SERIES, "start")
"""The columns that identify a window, in the order of the result."""


def sorted_by(table: Table, names: Sequence[str]) -> Table:
    """Sorts rows by columns, the most significant first. The sort is stable."""
    order = order_of([table[name] for name in names])
    if order is None:
        return table
    return {name: values[order] for name, values in table.items()}


def concatenated(tables: Sequence[Table]) -> Table:
    """Concatenates the rows of tables."""
    return tables[0] if len(tables) == 1 else {name: np.concatenate([each[name] for each in tables]) for name in tables[0]}


def places_of(wanted: Table, windows: Table) -> npt.NDArray[np.intp]:
    """The indices of `wanted` in `windows`. Both are sorted without duplicates, and `windows` contains all of `wanted`."""
    both = [np.concatenate([windows[name], wanted[name]]) for name in GROUP]
    order = np.lexsort(both[::-1])
    is_wanted = order >= len(windows["start"])
    places: npt.NDArray[np.intp] = (np.cumsum(~is_wanted) - 1)[is_wanted]
    return places


def scattered(values: Array, places: npt.NDArray[np.intp], count: int) -> Array:
    """An array of length `count` with `values` at the indices `places`, masked elsewhere."""
    whole = np.zeros(count, values.dtype)
    whole[places] = values
    if len(places) == count:
        return whole
    mask = np.ones(count, np.bool_)
    mask[places] = False
    return np.ma.MaskedArray(whole, mask)


Starts: TypeAlias = npt.NDArray[np.intp]

STREAMED: Final[frozenset[AggregateKind]] = frozenset(("count", "sum", "mean", "min", "max", "std", "first", "last"))
"""Aggregates that are computed from states."""

_EXACT: Final = 2.0**62
_EDGES: Final = ("first", "last")


class ColumnStates:
    """The states of one column, as columns of a table.

    Args:
        name: the column's name, with which the names of its states start.
        dtype: the dtype of its values, in native byte order.
        is_nullable: whether values may be null.
        kinds: the aggregates wanted.
    """

    def __init__(self, name: str, dtype: np.dtype[Any], kinds: Iterable[AggregateKind], *, is_nullable: bool) -> None:
        self._name = name
        self._dtype = dtype
        self._is_nullable = is_nullable
        self._kinds = frozenset(kinds)
        is_wide = dtype.kind in "iu" and dtype.itemsize == 8
        sums = {"sum", "mean", "std"} & self._kinds
        # Means use exact sums, too: in floats, the difference of large numbers would be lost.
        self._adds_exactly = dtype.kind in "iub" and bool(sums)
        self._checks = is_wide and self._adds_exactly
        self._adds_floats = bool(sums) and (dtype.kind == "f" or (is_wide and sums != {"sum"}))

    @property
    def has_edges(self) -> bool:
        """Whether first or last values are wanted, so that order matters."""
        return not self._kinds.isdisjoint(_EDGES)

    def made(self, values: Array, present: Array | None, group_starts: Starts, caps: Array, acqs: Array) -> Table:
        """The states of each run.

        Args:
            values: the column, shape (n,); nulls may be anything.
            present: which values are not null, shape (n,); None for all.
            group_starts: where each run starts.
            caps: capture times, shape (n,). If `has_edges`, records ascend by cap and acq within a run.
            acqs: acquisition times, shape (n,).
        """
        table: Table = {}
        if present is not None and present.all():
            present = None
        lengths = run_lengths(group_starts, len(values))
        n = lengths if present is None else np.add.reduceat(present, group_starts, dtype=np.int64)
        if self._is_nullable:
            table["n"] = n
        plain = values if present is None else np.where(present, values, values.dtype.type(0))
        if self._adds_exactly:
            table["sum"] = np.add.reduceat(plain, group_starts, dtype=np.int64)
        if self._checks:
            table["size"] = np.add.reduceat(np.abs(plain.astype(np.float64)), group_starts)
        if self._adds_floats:
            table["total"] = np.add.reduceat(plain, group_starts, dtype=np.float64)
        if "std" in self._kinds:
            off = plain - np.repeat(self._mean(table, n), lengths)
            squares = off * off
            table["squares"] = np.add.reduceat(
                squares if present is None else np.where(present, squares, 0.0), group_starts
            )
        for kind in ("min", "max"):
            if kind in self._kinds:
                table[kind] = _extreme(kind, values, present, group_starts)
        for kind in _EDGES:
            if kind in self._kinds:
                at = _edge(kind, present, group_starts, len(values))
                table |= {kind: values[at], f"{kind}.cap": caps[at], f"{kind}.acq": acqs[at]}
        return self._named(table)

    def joined(self, table: Table, group_starts: Starts) -> Table:
        """Merges the states of each window's parts.

        Args:
            table: this column's states, and `rows`, the number of records.
            group_starts: where each window starts.
        """
        own = self._own(table)
        count = len(table["rows"])
        parts = own["n"] if self._is_nullable else table["rows"]
        present = parts > 0 if self._is_nullable else None
        n = np.add.reduceat(parts, group_starts)
        joined: Table = {"n": n} if self._is_nullable else {}
        for name in ("sum", "size", "total"):
            if name in own:
                joined[name] = np.add.reduceat(own[name], group_starts)
        if "std" in self._kinds:
            off = self._mean(own, parts) - np.repeat(self._mean(joined, n), run_lengths(group_starts, count))
            joined["squares"] = np.add.reduceat(own["squares"] + np.where(parts > 0, parts * off * off, 0.0), group_starts)
        for kind in ("min", "max"):
            if kind in self._kinds:
                joined[kind] = _extreme(kind, own[kind], present, group_starts)
        for kind in _EDGES:
            if kind in self._kinds:
                groups = np.repeat(np.arange(len(group_starts)), run_lengths(group_starts, count))
                order = np.lexsort((own[f"{kind}.acq"], own[f"{kind}.cap"], groups))
                at = order[_edge(kind, None if present is None else present[order], group_starts, count)]
                joined |= {each: own[each][at] for each in (kind, f"{kind}.cap", f"{kind}.acq")}
        return self._named(joined)

    def value(self, kind: AggregateKind, asked: str, table: Table) -> Array:
        """An aggregate of each window, masked where it has no value.

        Args:
            kind: the aggregate.
            asked: its name in messages.
            table: this column's states, and `rows`.

        Raises:
            QueryError: when a sum of integers overflows int64.
        """
        own = self._own(table)
        n = own["n"] if self._is_nullable else table["rows"]
        if kind == "count":
            return n
        if kind == "std":
            with np.errstate(divide="ignore", invalid="ignore"):
                return _masked(np.sqrt(own["squares"] / (n - 1)), n < 2)
        if kind == "mean":
            return _masked(self._mean(own, n), n == 0)
        if kind == "sum":
            if self._checks and (own["size"] > _EXACT).any():
                raise QueryError(f"{asked}: a sum of integers overflows int64: use mean(), or shorter windows")
            return _masked(own["sum"] if self._adds_exactly else own["total"], n == 0)
        return _masked(own[kind], n == 0)

    def _mean(self, own: Table, n: Array) -> Array:
        total = own["sum"] if self._adds_exactly else own["total"]
        if self._checks and self._adds_floats:
            total = np.where(own["size"] < _EXACT, total, own["total"])
        mean: Array = total / np.maximum(n, 1)
        return mean

    def _named(self, table: Table) -> Table:
        return {f"{self._name}.{name}": values for name, values in table.items()}

    def _own(self, table: Table) -> Table:
        prefix = f"{self._name}."
        return {name.removeprefix(prefix): values for name, values in table.items() if name.startswith(prefix)}


def _masked(values: Array, mask: Array) -> Array:
    return np.ma.MaskedArray(values, mask) if mask.any() else values


def _extreme(kind: str, values: Array, present: Array | None, group_starts: Starts) -> Array:
    if present is not None:
        values = np.where(present, values, values.dtype.type(_idle(values.dtype, least=kind == "min")))
    extreme: Array = (np.minimum if kind == "min" else np.maximum).reduceat(values, group_starts)
    return extreme


def _idle(dtype: np.dtype[Any], *, least: bool) -> Any:
    """The neutral element of the minimum, or else of the maximum."""
    if dtype.kind == "f":
        return np.inf if least else -np.inf
    if dtype.kind == "b":
        return least
    return np.iinfo(dtype).max if least else np.iinfo(dtype).min


def _edge(kind: str, present: Array | None, group_starts: Starts, count: int) -> Starts:
    """The index of the first or last value of each run; any index in the run if all its values are null."""
    if present is None:
        return group_starts if kind == "first" else run_lasts(group_starts, count)
    places = np.arange(count)
    if kind == "first":
        found = np.minimum.reduceat(np.where(present, places, count), group_starts)
        return np.where(found == count, group_starts, found)
    return np.maximum(np.maximum.reduceat(np.where(present, places, -1), group_starts), group_starts)


HELD: Final[frozenset[AggregateKind]] = frozenset(("quantile", "delta", "rate", "time_weighted_mean"))
"""Aggregates that are computed from points."""

_KEY: Final = (*SERIES, "cap", "acq")


class Points:
    """All values of a column, with their keys.

    Args:
        grid: the windows.
        most: most values to hold.
    """

    def __init__(self, grid: Grid, most: int) -> None:
        self._grid = grid
        self._most = most
        self._columns: dict[str, Growing] = {}
        self._count = 0
        self.drops: dict[str, int] = {}
        """By name of the aggregate: how often a counter was less than before, apart from rollovers."""
        self.rollovers: dict[str, int] = {}
        """By name of the aggregate: how often a counter passed its modulus."""

    def add(self, keys: Table, values: Array, present: Array | None) -> None:
        """Adds values, without nulls.

        Raises:
            QueryError: when there are too many.
        """
        columns = {**keys, "value": values}
        if present is not None:
            columns = {name: column[present] for name, column in columns.items()}
        count = len(columns["value"])
        self._count += count
        if self._count > self._most:
            raise QueryError(
                f"quantiles, deltas, rates and time-weighted means hold their values in memory, {self._count:,} so far, "
                f"more than the {self._most:,} allowed: narrow the query, or allow more by max_rows_in_memory()"
            )
        for name, column in columns.items():
            if name not in self._columns:
                self._columns[name] = Growing(column.dtype)
            self._columns[name].room(count)[:] = column

    def aggregates(self, named: dict[str, Aggregate], windows: Table) -> Table:
        """The aggregates of each window, masked where they have no value.

        Args:
            named: the aggregates by name.
            windows: sorted windows; contains all that have values.

        Raises:
            QueryError: when increments of integers overflow int64, or a counter drops that must not.
        """
        made: Table = {}
        counting = [name for name, each in named.items() if each.counter is not None]
        self.drops, self.rollovers = dict.fromkeys(counting, 0), dict.fromkeys(counting, 0)
        if not self._count:
            return {name: scattered(np.empty(0), np.empty(0, np.intp), len(windows["start"])) for name in named}
        points = {name: column.result() for name, column in self._columns.items()}
        points = sorted_by(points, _KEY)
        points["start"] = self._grid.starts(points["cap"])
        kinds = {aggregate.kind for aggregate in named.values()}
        if "quantile" in kinds:
            wanted = {name: each for name, each in named.items() if each.kind == "quantile"}
            made |= _quantiles(wanted, points, windows)
        if kinds != {"quantile"}:
            points = _newest(points)
            follows = _follows(points)
        counters: dict[Counter, dict[str, Aggregate]] = {}
        for name, each in named.items():
            if each.counter is not None:
                counters.setdefault(each.counter, {})[name] = each
        for counter, wanted in counters.items():
            made |= self._increments(counter, wanted, points, windows)
        for name, each in named.items():
            if each.kind == "time_weighted_mean":
                made[name] = _time_weighted(points, follows, self._grid, windows)
        return {name: made[name] for name in named}

    def _increments(self, counter: Counter, named: dict[str, Aggregate], points: Table, windows: Table) -> Table:
        name = next(iter(named))
        values = points["value"]
        wide = values.astype(
            np.uint64 if values.dtype.kind == "u" else np.int64 if values.dtype.kind == "i" else np.float64
        )
        points = {**points, "value": wide}
        if counter.modulus is not None:
            _check_register(name, counter.modulus, wide)
        follows = _follows(points)
        at = np.flatnonzero(follows)
        falls, turns = _falls(counter, wide, at)
        drops, rollovers = int(falls.sum() - turns.sum()), int(turns.sum())
        if drops and counter.on_drop == "raise":
            where = at[np.argmax(falls & ~turns)]
            series = ", ".join(f"{each} {points[each][where]}" for each in SERIES)
            raise QueryError(
                f"{name}: the counter of {series} drops at {to_iso(int(points['cap'][where + 1]))}: "
                'choose what that means by modulus=, on_drop="reset" or on_drop="ignore"'
            )
        if drops and counter.on_drop == "ignore":
            accepted, drops = _accepted(counter, points)
            points = {each: column[accepted] for each, column in points.items()}
            at = np.flatnonzero(_follows(points))
            falls, turns = _falls(counter, points["value"], at)
            rollovers = int(turns.sum())
        self.drops |= dict.fromkeys(named, drops)
        self.rollovers |= dict.fromkeys(named, rollovers)
        return _grown(counter, named, points, at, falls, turns, windows)


def _window_places(points: Table, group_starts: npt.NDArray[np.intp], windows: Table) -> npt.NDArray[np.intp]:
    """The indices of the windows whose points start at `group_starts`."""
    return places_of({name: points[name][group_starts] for name in GROUP}, windows)


def _quantiles(named: dict[str, Aggregate], points: Table, windows: Table) -> Table:
    group_starts = run_starts([points[name] for name in GROUP])
    lengths = run_lengths(group_starts, len(points["start"]))
    values = points["value"].astype(np.float64)
    values = values[np.lexsort((values, np.repeat(np.arange(len(group_starts)), lengths)))]
    places = _window_places(points, group_starts, windows)
    greatest = values[group_starts + lengths - 1]
    made = {}
    for name, aggregate in named.items():
        rank = (lengths - 1) * aggregate.parameter
        below = np.floor(rank).astype(np.intp)
        low, high = values[group_starts + below], values[group_starts + np.minimum(below + 1, lengths - 1)]
        part = rank - below
        between = np.where(part > 0, low + (high - low) * part, low)
        # NaN sorts last: a group contains NaN if its greatest value is NaN.
        made[name] = scattered(np.where(np.isnan(greatest), np.nan, between), places, len(windows["start"]))
    return made


def _newest(points: Table) -> Table:
    """The newest version of each series and capture time."""
    last = run_lasts(run_starts([points[name] for name in (*SERIES, "cap")]), len(points["cap"]))
    return points if len(last) == len(points["cap"]) else {name: column[last] for name, column in points.items()}


def _follows(points: Table) -> npt.NDArray[np.bool_]:
    """Which points are followed by another one of their series."""
    follows = np.ones(len(points["cap"]), np.bool_)
    follows[run_starts([points[name] for name in SERIES])[1:] - 1] = False
    follows[-1:] = False
    return follows


def _check_register(name: str, modulus: float, values: Array) -> None:
    outside = (values < 0) | (values >= modulus)
    if outside.any():
        raise QueryError(
            f"{name}: a counter with modulus={modulus} cannot have the value {values[outside][0]}, which is stored"
        )


def _falls(
    counter: Counter, values: Array, at: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """At which of the indices `at` the next value is less; and at which of them that is a rollover."""
    before, after = values[at], values[at + 1]
    falls = after < before
    if counter.modulus is None:
        return falls, np.zeros(len(at), np.bool_)
    # A rollover advances the counter by less than half of the modulus, so the value drops by more than half.
    fallen = np.where(falls, before - np.minimum(after, before), 0)
    half = counter.modulus / 2 if values.dtype.kind == "f" else int(counter.modulus) // 2
    return falls, falls & (fallen > half)


def _accepted(counter: Counter, points: Table) -> tuple[npt.NDArray[np.bool_], int]:
    """Which values are not less than the last accepted one of their series, or a rollover; and how many are dropped."""
    accepted = np.ones(len(points["cap"]), np.bool_)
    starts = [*run_starts([points[name] for name in SERIES]).tolist(), len(accepted)]
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
    return accepted, int(len(accepted) - accepted.sum())


def _grown(
    counter: Counter,
    named: dict[str, Aggregate],
    points: Table,
    at: npt.NDArray[np.intp],
    falls: npt.NDArray[np.bool_],
    turns: npt.NDArray[np.bool_],
    windows: Table,
) -> Table:
    """The deltas and rates of windows, from the increments at the indices `at`, given which are drops and rollovers."""
    count = len(windows["start"])
    if not len(at):
        return {name: scattered(np.empty(0), at, count) for name in named}
    wide = points["value"]
    before, after = wide[at], wide[at + 1]
    over = after
    if counter.modulus is not None and turns.any():
        kind = wide.dtype.type
        # The modulus itself may overflow the type by one.
        rest = kind(counter.modulus - 1) - before + kind(1) if wide.dtype.kind != "f" else counter.modulus - before
        over = after + rest
    grown = np.where(turns, over, np.where(falls, after, after - before))
    taken = {name: points[name][at] for name in GROUP}
    group_starts = run_starts([taken[name] for name in GROUP])
    places = _window_places(taken, group_starts, windows)
    if wide.dtype.kind == "f":
        deltas: Array = np.add.reduceat(grown, group_starts)
    else:
        steps = np.where(turns, over.astype(float), np.where(falls, after.astype(float), after.astype(float) - before))
        size = np.add.reduceat(np.abs(steps), group_starts)
        if (size > _EXACT).any():
            raise QueryError(f"{next(iter(named))}: increments of integers overflow int64: use shorter windows")
        deltas = np.add.reduceat(grown, group_starts).astype(np.int64)
    spans = np.add.reduceat(points["cap"][at + 1] - points["cap"][at], group_starts)
    return {
        name: scattered(deltas if each.kind == "delta" else deltas / spans * each.parameter, places, count)
        for name, each in named.items()
    }


def _time_weighted(points: Table, follows: npt.NDArray[np.bool_], grid: Grid, windows: Table) -> Array:
    """Time-weighted means: a value holds until the next one of its series, also across the start of a window."""
    caps, starts, values = points["cap"], points["start"], points["value"].astype(np.float64)
    until = np.where(follows, np.append(caps[1:], 0), caps)
    held = np.minimum(until, grid.ends(starts)) - caps
    group_starts = run_starts([points[name] for name in GROUP])
    carried = np.zeros(len(group_starts), np.int64)
    before = np.maximum(group_starts - 1, 0)
    is_carried = follows[before] & (group_starts > 0)
    carried[is_carried] = (caps - starts)[group_starts[is_carried]]
    times = np.add.reduceat(held, group_starts) + carried
    # A value that holds for no time does not count, even if it is infinite or NaN.
    weighed = np.where(held > 0, values * held, 0.0)
    total = np.add.reduceat(weighed, group_starts) + np.where(carried > 0, values[before] * carried, 0.0)
    there = times > 0
    places = _window_places(points, group_starts, windows)
    bridged, bridges = _bridged(points, follows, windows, places)
    return scattered(
        np.concatenate([total[there] / times[there], values[bridges]]),
        np.concatenate([places[there], bridged]),
        len(windows["start"]),
    )


def _bridged(
    points: Table, follows: npt.NDArray[np.bool_], windows: Table, places: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The windows without points that lie between two points of their series; and the indices of the earlier points."""
    without = np.ones(len(windows["start"]), np.bool_)
    without[places] = False
    wanted = np.flatnonzero(without)
    columns = [np.concatenate([points[name], windows[name][wanted]]) for name in SERIES]
    columns.append(np.concatenate([points["cap"], windows["start"][wanted]]))
    order = np.lexsort(columns[::-1])
    is_point = order < len(points["cap"])
    before = (np.cumsum(is_point) - 1)[~is_point]
    wanted = wanted[order[~is_point] - len(points["cap"])]
    bridged = (before >= 0) & follows[np.maximum(before, 0)]
    for name in SERIES:
        bridged &= points[name][np.maximum(before, 0)] == windows[name][wanted]
    return wanted[bridged], before[bridged]


_ONE: Final = 2**40
"""The bucket of 1. Negative values have negative buckets."""
_INFINITE: Final = 2**50
_NAN: Final = 2**51
_SKETCH_MERGE_AT = 500_000
"""Pending buckets from which they are merged."""


class Sketch:
    """Counts the values of each window by bucket.

    Args:
        error: the relative error of quantiles, between 0 and 1.
    """

    def __init__(self, error: float) -> None:
        self._base = (1 + error) / (1 - error)
        self._middle = 2 / (self._base + 1)
        self._parts: list[Table] = []
        self._pending = 0
        self._merged = 0

    def add(self, keys: Table, values: Array, present: Array | None, group_starts: npt.NDArray[np.intp]) -> None:
        """Adds values, without nulls.

        Args:
            keys: series and start of each run.
            values: the values, shape (n,).
            present: which of them are not null, shape (n,); None for all.
            group_starts: where each run starts.
        """
        runs = np.repeat(np.arange(len(group_starts)), run_lengths(group_starts, len(values)))
        if present is not None:
            runs, values = runs[present], values[present]
        if not len(values):
            return
        buckets = self._buckets(values)
        order = np.lexsort((buckets, runs))
        runs, buckets = runs[order], buckets[order]
        firsts = run_starts([runs, buckets])
        part = {name: column[runs[firsts]] for name, column in keys.items()}
        self._parts.append({**part, "bucket": buckets[firsts], "count": run_lengths(firsts, len(buckets))})
        self._pending += len(firsts)
        if self._pending > max(_SKETCH_MERGE_AT, 2 * self._merged):
            self._parts = [self._merge()]
            self._pending = self._merged = len(self._parts[0]["bucket"])

    def aggregates(self, named: dict[str, Aggregate], windows: Table) -> Table:
        """The quantiles of each window, masked where it has no values. `windows` are sorted; all with values are in it."""
        count = len(windows["start"])
        if not self._parts:
            return {name: scattered(np.empty(0), np.empty(0, np.intp), count) for name in named}
        table = self._merge()
        self._parts = [table]
        group_starts = run_starts([table[name] for name in GROUP])
        places = places_of({name: table[name][group_starts] for name in GROUP}, windows)
        ends = np.cumsum(table["count"])
        totals = np.add.reduceat(table["count"], group_starts)
        bases = ends[group_starts] - table["count"][group_starts]
        greatest = table["bucket"][run_lasts(group_starts, len(ends))]
        made: Table = {}
        for name, aggregate in named.items():
            ranks = np.floor((totals - 1) * aggregate.parameter + 0.5).astype(np.int64)
            buckets = table["bucket"][np.searchsorted(ends, bases + ranks, "right")]
            values = self._values(np.where(greatest == _NAN, _NAN, buckets))
            made[name] = scattered(values, places, count)
        return made

    def _merge(self) -> Table:
        names = (*GROUP, "bucket")
        whole = sorted_by(concatenated(self._parts), names)
        group_starts = run_starts([whole[name] for name in names])
        merged = {name: whole[name][group_starts] for name in names}
        return {**merged, "count": np.add.reduceat(whole["count"], group_starts)}

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
