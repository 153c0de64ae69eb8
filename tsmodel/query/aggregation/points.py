"""Aggregates that are made of each value, or of how it follows another: they hold the values of one column.

Rules kept here:

* What is held is bounded: past `max_rows_in_memory` the query is refused.
* For what lies between two records, versions of the same capture time are one, of which the newest counts; and it belongs
  to the window in which it begins. So the increments of all windows together are the whole increment.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.frames.growing import Growing
from tsmodel.model.column import Aggregate, AggregateKind, Counter
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
from tsmodel.timestamps import to_iso
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
        self.drops: dict[str, int] = {}
        """How often a counter's value was less than the one before, by the name of the aggregate; rollovers left aside."""
        self.rollovers: dict[str, int] = {}
        """How often a counter began again at its modulus."""

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
            QueryError: when increments of integers leave int64, or a counter drops that must not.
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
                'say what that means by modulus=, on_drop="reset" or on_drop="ignore"'
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


def _windows(points: Table, group_starts: npt.NDArray[np.intp], windows: Table) -> npt.NDArray[np.intp]:
    """Which windows the points from each head on lie in."""
    return places_of({name: points[name][group_starts] for name in GROUP}, windows)


def _quantiles(named: dict[str, Aggregate], points: Table, windows: Table) -> Table:
    group_starts = run_starts([points[name] for name in GROUP])
    lengths = run_lengths(group_starts, len(points["start"]))
    values = points["value"].astype(np.float64)
    values = values[np.lexsort((values, np.repeat(np.arange(len(group_starts)), lengths)))]
    places = _windows(points, group_starts, windows)
    greatest = values[group_starts + lengths - 1]
    made = {}
    for name, aggregate in named.items():
        rank = (lengths - 1) * aggregate.parameter
        below = np.floor(rank).astype(np.intp)
        low, high = values[group_starts + below], values[group_starts + np.minimum(below + 1, lengths - 1)]
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


def _check_register(name: str, modulus: float, values: Array) -> None:
    outside = (values < 0) | (values >= modulus)
    if outside.any():
        raise QueryError(
            f"{name}: a counter with modulus={modulus} never has the value {values[outside][0]}, which is stored"
        )


def _falls(
    counter: Counter, values: Array, at: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """At which of some places the next value is less; and at which of these the counter began again at its modulus."""
    before, after = values[at], values[at + 1]
    falls = after < before
    if counter.modulus is None:
        return falls, np.zeros(len(at), np.bool_)
    # The step over the edge is less than half: before - after is more than half.
    fallen = np.where(falls, before - np.minimum(after, before), 0)
    half = counter.modulus / 2 if values.dtype.kind == "f" else int(counter.modulus) // 2
    return falls, falls & (fallen > half)


def _accepted(counter: Counter, points: Table) -> tuple[npt.NDArray[np.bool_], int]:
    """Which values are no drop from the last accepted one of their series, or a rollover; and how many are not."""
    accepted = np.ones(len(points["cap"]), np.bool_)
    starts = [*run_starts([points[name] for name in SERIES]).tolist(), len(accepted)]
    falls = np.append(False, points["value"][1:] < points["value"][:-1])
    modulus = counter.modulus
    for start, end in pairwise(starts):
        if not falls[start + 1 : end].any():
            continue
        first = start + 1 + int(falls[start + 1 : end].argmax())  # up to there all values are accepted
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
    """The increments from some places to the next ones, and where they fall or begin again, by windows."""
    count = len(windows["start"])
    if not len(at):
        return {name: scattered(np.empty(0), at, count) for name in named}
    wide = points["value"]
    before, after = wide[at], wide[at + 1]
    over = after
    if counter.modulus is not None and turns.any():
        kind = wide.dtype.type
        # The modulus itself may be one too many for the type.
        rest = kind(counter.modulus - 1) - before + kind(1) if wide.dtype.kind != "f" else counter.modulus - before
        over = after + rest
    grown = np.where(turns, over, np.where(falls, after, after - before))
    taken = {name: points[name][at] for name in GROUP}
    group_starts = run_starts([taken[name] for name in GROUP])
    places = _windows(taken, group_starts, windows)
    if wide.dtype.kind == "f":
        deltas: Array = np.add.reduceat(grown, group_starts)
    else:
        steps = np.where(turns, over.astype(float), np.where(falls, after.astype(float), after.astype(float) - before))
        size = np.add.reduceat(np.abs(steps), group_starts)
        if (size > _EXACT).any():
            raise QueryError(f"{next(iter(named))}: increments of integers leave int64; take shorter windows")
        deltas = np.add.reduceat(grown, group_starts).astype(np.int64)
    spans = np.add.reduceat(points["cap"][at + 1] - points["cap"][at], group_starts)
    return {
        name: scattered(deltas if each.kind == "delta" else deltas / spans * each.parameter, places, count)
        for name, each in named.items()
    }


def _time_weighted(points: Table, follows: npt.NDArray[np.bool_], grid: Grid, windows: Table) -> Array:
    """Each value holds until the next of its series; what holds at a window's begin counts from there on."""
    caps, starts, values = points["cap"], points["start"], points["value"].astype(np.float64)
    until = np.where(follows, np.append(caps[1:], 0), caps)
    held = np.minimum(until, grid.ends(starts)) - caps
    group_starts = run_starts([points[name] for name in GROUP])
    carried = np.zeros(len(group_starts), np.int64)
    before = np.maximum(group_starts - 1, 0)
    is_carried = follows[before] & (group_starts > 0)
    carried[is_carried] = (caps - starts)[group_starts[is_carried]]
    times = np.add.reduceat(held, group_starts) + carried
    # A value that holds for no time is no part of the mean, not even when it is infinite or NaN.
    weighed = np.where(held > 0, values * held, 0.0)
    total = np.add.reduceat(weighed, group_starts) + np.where(carried > 0, values[before] * carried, 0.0)
    there = times > 0
    places = _windows(points, group_starts, windows)
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
