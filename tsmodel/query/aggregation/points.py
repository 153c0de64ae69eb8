"""Aggregates that are made of each value, or of how it follows another: they hold the values of one column.

Rules kept here:

* What is held is bounded: past `max_rows_in_memory` the query is refused.
* For what lies between two records, versions of the same capture time are one, of which the newest counts; and it belongs
  to the window in which it begins. So the increments of all windows together are the whole increment.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.frames.growing import Growing
from tsmodel.model.aggregates import Aggregate, AggregateKind
from tsmodel.query.aggregation.grids import Grid
from tsmodel.query.aggregation.groups import (
    GROUP,
    SERIES,
    Array,
    Table,
    places_of,
    scattered,
    sorted_by,
)
from tsmodel.wire.sorting import run_lasts, run_lengths, run_starts

__all__ = ["HELD", "Points"]

HELD: Final[frozenset[AggregateKind]] = frozenset(("quantile", "delta", "rate", "time_weighted_mean"))
"""Aggregates that are made of points."""

_KEY: Final = (*SERIES, "cap", "acq")
_EXACT: Final = 2.0**62


class Points:
    """The values of one column, with their keys.

    Args:
        grid: the windows.
        most: how many values may be held.
    """

    def __init__(self, grid: Grid, most: int) -> None:
        self._grid = grid
        self._most = most
        self._columns: dict[str, Growing] = {}
        self._count = 0

    def add(self, keys: Table, values: Array, present: Array | None) -> None:
        """Takes values; those that are absent are left out.

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
                f"quantiles, deltas, rates and time-weighted means hold the values they are made of: {self._count:,} by "
                f"now, and they may hold {self._most:,}: narrow the query, or allow more by max_rows_in_memory()"
            )
        for name, column in columns.items():
            if name not in self._columns:
                self._columns[name] = Growing(column.dtype)
            self._columns[name].room(count)[:] = column

    def aggregates(self, named: dict[str, Aggregate], windows: Table) -> Table:
        """The aggregates of each of some windows, sorted, among which are all that have values; masked arrays where there
        is none.

        Raises:
            QueryError: when increments of integers leave int64.
        """
        made: Table = {}
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
        if kinds & {"delta", "rate"}:
            wanted = {name: each for name, each in named.items() if each.kind in ("delta", "rate")}
            made |= _increments(wanted, points, follows, windows)
        for name, each in named.items():
            if each.kind == "time_weighted_mean":
                made[name] = _time_weighted(points, follows, self._grid, windows)
        return {name: made[name] for name in named}


def _windows(points: Table, heads: npt.NDArray[np.intp], windows: Table) -> npt.NDArray[np.intp]:
    """Which windows the points from each head on lie in."""
    return places_of({name: points[name][heads] for name in GROUP}, windows)


def _quantiles(named: dict[str, Aggregate], points: Table, windows: Table) -> Table:
    heads = run_starts([points[name] for name in GROUP])
    lengths = run_lengths(heads, len(points["start"]))
    values = points["value"].astype(np.float64)
    values = values[np.lexsort((values, np.repeat(np.arange(len(heads)), lengths)))]
    places = _windows(points, heads, windows)
    greatest = values[heads + lengths - 1]
    made = {}
    for name, aggregate in named.items():
        rank = (lengths - 1) * aggregate.parameter
        below = np.floor(rank).astype(np.intp)
        low, high = values[heads + below], values[heads + np.minimum(below + 1, lengths - 1)]
        part = rank - below
        between = np.where(part > 0, low + (high - low) * part, low)
        # NaN lies behind all numbers, and makes NaN.
        made[name] = scattered(np.where(np.isnan(greatest), np.nan, between), places, len(windows["start"]))
    return made


def _newest(points: Table) -> Table:
    """Of each series and capture time the newest version."""
    last = run_lasts(run_starts([points[name] for name in (*SERIES, "cap")]), len(points["cap"]))
    return points if len(last) == len(points["cap"]) else {name: column[last] for name, column in points.items()}


def _follows(points: Table) -> npt.NDArray[np.bool_]:
    """Which points are followed by another of their series."""
    follows = np.ones(len(points["cap"]), np.bool_)
    follows[run_starts([points[name] for name in SERIES])[1:] - 1] = False
    follows[-1:] = False
    return follows


def _increments(named: dict[str, Aggregate], points: Table, follows: npt.NDArray[np.bool_], windows: Table) -> Table:
    at = np.flatnonzero(follows)
    count = len(windows["start"])
    if not len(at):
        return {name: scattered(np.empty(0), at, count) for name in named}
    values = points["value"]
    wide = values.astype(np.uint64 if values.dtype.kind == "u" else np.int64 if values.dtype.kind == "i" else np.float64)
    before, after = wide[at], wide[at + 1]
    is_reset = after < before
    grown = np.where(is_reset, after, after - before)
    taken = {name: points[name][at] for name in GROUP}
    heads = run_starts([taken[name] for name in GROUP])
    places = _windows(taken, heads, windows)
    if wide.dtype.kind == "f":
        deltas: Array = np.add.reduceat(grown, heads)
    else:
        size = np.add.reduceat(np.where(is_reset, np.abs(after.astype(float)), after.astype(float) - before), heads)
        if (size > _EXACT).any():
            raise QueryError(f"{next(iter(named))}: increments of integers leave int64; take shorter windows")
        deltas = np.add.reduceat(grown, heads).astype(np.int64)
    spans = np.add.reduceat(points["cap"][at + 1] - points["cap"][at], heads)
    return {
        name: scattered(deltas if each.kind == "delta" else deltas / spans * each.parameter, places, count)
        for name, each in named.items()
    }


def _time_weighted(points: Table, follows: npt.NDArray[np.bool_], grid: Grid, windows: Table) -> Array:
    """Each value holds until the next of its series; what holds at a window's begin counts from there on."""
    caps, starts, values = points["cap"], points["start"], points["value"].astype(np.float64)
    until = np.where(follows, np.append(caps[1:], 0), caps)
    held = np.minimum(until, grid.ends(starts)) - caps
    heads = run_starts([points[name] for name in GROUP])
    carried = np.zeros(len(heads), np.int64)
    before = np.maximum(heads - 1, 0)
    is_carried = follows[before] & (heads > 0)
    carried[is_carried] = (caps - starts)[heads[is_carried]]
    times = np.add.reduceat(held, heads) + carried
    # A value that holds for no time is no part of the mean, not even when it is infinite or NaN.
    weighed = np.where(held > 0, values * held, 0.0)
    total = np.add.reduceat(weighed, heads) + np.where(carried > 0, values[before] * carried, 0.0)
    there = times > 0
    places = _windows(points, heads, windows)
    bridged, bridges = _bridged(points, follows, windows, places)
    return scattered(
        np.concatenate([total[there] / times[there], values[bridges]]),
        np.concatenate([places[there], bridged]),
        len(windows["start"]),
    )


def _bridged(
    points: Table, follows: npt.NDArray[np.bool_], windows: Table, places: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which windows have no points, but lie between two of their series; and the first of these two."""
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
