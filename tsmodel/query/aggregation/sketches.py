"""Quantiles to within a relative error, of values that are not held: those of like size are counted together.

Values between two neighbouring powers of a base are one bucket, as in DDSketch (Masson, Rim and Lee, 2019); the base is
such that no value is farther from its bucket's middle than the error allows. Counts of several parts add up exactly.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from tsmodel.model.column import Aggregate
from tsmodel.query.aggregation.groups import (
    GROUP,
    Array,
    Table,
    concatenated,
    places_of,
    scattered,
    sorted_by,
)
from tsmodel.wire.sorting import run_lasts, run_lengths, run_starts

__all__ = ["Sketch"]

_ONE: Final = 2**40
"""The bucket of 1; those of greater and lesser values lie around it, and those of negative values mirror them."""
_INFINITE: Final = 2**50
_NAN: Final = 2**51
_MERGE_AT = 500_000
"""Buckets that are merged at once."""


class Sketch:
    """How many values of each size each window has.

    Args:
        error: the relative error of a quantile, above 0 and below 1.
    """

    def __init__(self, error: float) -> None:
        self._base = (1 + error) / (1 - error)
        self._middle = 2 / (self._base + 1)
        self._parts: list[Table] = []
        self._pending = 0
        self._merged = 0

    def add(self, keys: Table, values: Array, present: Array | None, group_starts: npt.NDArray[np.intp]) -> None:
        """Takes values; those that are absent are left out.

        Args:
            keys: the series and start of each run.
            values: shape (n,).
            present: where they are there, shape (n,); None for everywhere.
            group_starts: where each run begins.
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
        if self._pending > max(_MERGE_AT, 2 * self._merged):
            self._parts = [self._merge()]
            self._pending = self._merged = len(self._parts[0]["bucket"])

    def aggregates(self, named: dict[str, Aggregate], windows: Table) -> Table:
        """Quantiles of each of some windows, sorted, among which are all that have values; masked arrays where there is
        none."""
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
        """The bucket of each value, in their order; NaN last."""
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
