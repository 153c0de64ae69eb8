"""Windows without records, put between those with some."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.query.aggregation.grids import Grid
from tsmodel.query.aggregation.groups import GROUP, SERIES, Array, Table
from tsmodel.wire.sorting import run_lasts, run_lengths, run_starts

__all__ = ["FILLS", "Fill", "Gaps"]

Fill: TypeAlias = Literal["null", "previous", "linear"]
FILLS = ("null", "previous", "linear")


@attrs.frozen
class Gaps:
    """How windows without records come out.

    Attributes:
        fill: what stands for a value that there is none of: nothing, the one before, or what lies on the line between the
            one before and the one after.
        first: a time in the first window; None for each series' own first window.
        last: the same of the last window.
        most: how many windows there may be.
    """

    fill: Fill
    first: int | None
    last: int | None
    most: int

    def filled(self, table: Table, grid: Grid, counts: frozenset[str]) -> Table:
        """Windows, sorted, with all between the first and the last of each series.

        Args:
            table: the windows, by `GROUP`, with values.
            grid: says which there are.
            counts: names of values that are 0 where there is no record.

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
        bases = np.cumsum(counted) - counted  # where each series begins
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
                f"with its gaps filled the result has up to {count:,} windows, and may have {self.most:,}: narrow the "
                "query, take longer windows, or allow more by max_rows_in_memory()"
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
