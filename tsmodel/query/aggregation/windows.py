"""The sink that aggregates records by series and window of capture time, a chunk at a time.

Rules kept here:

* Each chunk becomes partial aggregates, one row for each run of records of the same series and window; rows of the same are
  merged. Memory grows with the windows that come out, not with the records that go in, and the order of records does not
  matter. Aggregates that are made of single values hold these besides.
* A null is no value: it is counted by `count()` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from tsmodel.keys import LIMITS
from tsmodel.model.column import Aggregate, AggregateKind
from tsmodel.model.expressions import ColumnInfo
from tsmodel.query.aggregation.filling import Gaps
from tsmodel.query.aggregation.grids import Grid
from tsmodel.query.aggregation.groups import (
    GROUP,
    SERIES,
    Array,
    Table,
    concatenated,
    sorted_by,
)
from tsmodel.query.aggregation.points import HELD, Points
from tsmodel.query.aggregation.sketches import Sketch
from tsmodel.query.aggregation.states import STREAMED, ColumnStates
from tsmodel.query.sinks import Selection
from tsmodel.types.codec import FieldCodec
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.sorting import order_of, run_lengths, run_starts

__all__ = ["WindowAggregates"]

_MERGE_AT = 200_000
"""Rows of partial aggregates that are merged at once."""


@attrs.frozen
class _Column:
    """A column whose values are aggregated.

    Attributes:
        info: which one.
        streamed: aggregates made of states, by name.
        states: these states; None when there are none.
        held: aggregates made of single values, by name.
        points: these values; None when there are none.
        sketches: for each relative error, quantiles with it, by name, and what they are made of.
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
        """Its values, contiguous, in the machine's byte order; decimals as their units."""
        values = self.info.values(records)
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _quiet() -> np.errstate:
    """Values may be infinite or NaN; what comes of them is too, and no reason to warn."""
    return np.errstate(over="ignore", invalid="ignore")


def _dtype(info: ColumnInfo) -> np.dtype[Any]:
    number = info.codec.number
    assert number is not None
    return np.dtype(number.numpy)


class WindowAggregates:
    """The sink that aggregates; its result is a table of the group and the named aggregates.

    Args:
        selection: picks the records.
        grid: the windows.
        aggregates: what is asked for, by name.
        gaps: how windows without records come out; None when they do not.
        most: how many values may be held.
    """

    def __init__(
        self, selection: Selection[Any], grid: Grid, aggregates: Mapping[str, Aggregate], gaps: Gaps | None, most: int
    ) -> None:
        self._selection = selection
        self._grid = grid
        self._aggregates = aggregates
        self._gaps = gaps
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
        """Takes a chunk; returns whether the limit is reached."""
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

    def result(self) -> Table:
        """The windows by cid, mid, moid and start; masked arrays where there are nulls."""
        if not self._parts:
            empty = {name: np.empty(0, LIMITS[name].dtype) for name in SERIES}
            return {**empty, "start": np.empty(0, np.int64), **{name: np.empty(0) for name in self._aggregates}}
        with _quiet():
            return self._made()

    @property
    def decimals(self) -> dict[str, FieldCodec]:
        """Which values are decimals, in units, by name."""
        codecs = {
            name: each.column.codec.present
            for name, each in self._aggregates.items()
            if each.column and each.kind != "count"
        }
        return {name: codec for name, codec in codecs.items() if codec.digits is not None}

    @property
    def drops(self) -> dict[str, int]:
        """Of each delta and rate, how often a value was less than the one before, rollovers left aside."""
        return self._counted("drops")

    @property
    def rollovers(self) -> dict[str, int]:
        """Of each delta and rate, how often the counter began again at its modulus."""
        return self._counted("rollovers")

    def _counted(self, what: str) -> dict[str, int]:
        counted: dict[str, int] = {name: 0 for name, each in self._aggregates.items() if each.counter is not None}
        for column in self._columns:
            if column.points is not None:
                counted |= getattr(column.points, what)
        return counted

    def _made(self) -> Table:
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
        """Rows for runs of the records; several of the same window where these do not lie together."""
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
        """The order in which records are aggregated; None for that in which they are: if it makes long runs, and no run
        whose order matters does not ascend."""
        if 4 * len(group_starts) <= len(caps):
            if not self._has_edges:
                return None
            falls = (caps[1:] < caps[:-1]) | ((caps[1:] == caps[:-1]) & (acqs[1:] < acqs[:-1]))
            falls[group_starts[1:] - 1] = False
            if not falls.any():
                return None
        return order_of([*(keys[name] for name in GROUP), caps, acqs])

    def _merge(self) -> Table:
        """All parts as one, each window once, sorted."""
        whole = sorted_by(concatenated(self._parts), GROUP)
        group_starts = run_starts([whole[name] for name in GROUP])
        merged: Table = {name: whole[name][group_starts] for name in GROUP}
        merged["rows"] = np.add.reduceat(whole["rows"], group_starts)
        for column in self._columns:
            if column.states is not None:
                merged |= column.states.joined(whole, group_starts)
        return merged
