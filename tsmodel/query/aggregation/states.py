"""What is kept of a column's values for each series and window, such that partial ones can be put together.

Rules kept here:

* Aggregates of one column share what they are made of: a sum and a mean, one sum.
* A null is no value. NaN is a value: what is computed with it is NaN, as in NumPy.
* Sums of integers are exact, or refused: beside a sum of 64-bit integers the sum of their sizes is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.model.column import AggregateKind
from tsmodel.query.aggregation.groups import Array, Table
from tsmodel.wire.sorting import run_lasts, run_lengths

__all__ = ["STREAMED", "ColumnStates"]

Starts: TypeAlias = npt.NDArray[np.intp]

STREAMED: Final[frozenset[AggregateKind]] = frozenset(("count", "sum", "mean", "min", "max", "std", "first", "last"))
"""Aggregates that need no more than states."""

_EXACT: Final = 2.0**62
_EDGES: Final = ("first", "last")


class ColumnStates:
    """The states of one column, as columns of a table.

    Args:
        name: the column's name, which the states' names begin with.
        dtype: of its values, in the machine's byte order.
        is_nullable: whether values may be absent.
        kinds: which aggregates are asked for.
    """

    def __init__(self, name: str, dtype: np.dtype[Any], kinds: Iterable[AggregateKind], *, is_nullable: bool) -> None:
        self._name = name
        self._dtype = dtype
        self._is_nullable = is_nullable
        self._kinds = frozenset(kinds)
        is_wide = dtype.kind in "iu" and dtype.itemsize == 8
        sums = {"sum", "mean", "std"} & self._kinds
        # Means are made of sums, too: floats alone would lose what large numbers of both signs leave over.
        self._adds_exactly = dtype.kind in "iub" and bool(sums)
        self._checks = is_wide and self._adds_exactly
        self._adds_floats = bool(sums) and (dtype.kind == "f" or (is_wide and sums != {"sum"}))

    @property
    def has_edges(self) -> bool:
        """Whether the first or the last value is asked for, so that order matters."""
        return not self._kinds.isdisjoint(_EDGES)

    def made(self, values: Array, present: Array | None, group_starts: Starts, caps: Array, acqs: Array) -> Table:
        """The states of each run.

        Args:
            values: the column, shape (n,); anything where it is absent.
            present: where it is there, shape (n,); None for everywhere.
            group_starts: where each run begins.
            caps: capture times, shape (n,); with `acqs` ascending in each run if `has_edges`.
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
        """The states of several parts of each window as one.

        Args:
            table: has this column's states, and `rows`, the number of records.
            group_starts: where each window begins.
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
        """An aggregate of each window; a masked array where there is none.

        Args:
            kind: which one.
            asked: what it is called, for errors.
            table: has this column's states, and `rows`.

        Raises:
            QueryError: when a sum of integers leaves int64.
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
                raise QueryError(f"{asked}: a sum of integers leaves int64; take the mean(), or shorter windows")
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
    """What changes no least, or no greatest, value."""
    if dtype.kind == "f":
        return np.inf if least else -np.inf
    if dtype.kind == "b":
        return least
    return np.iinfo(dtype).max if least else np.iinfo(dtype).min


def _edge(kind: str, present: Array | None, group_starts: Starts, count: int) -> Starts:
    """Where the first or the last value of each run is; anywhere in it when it has none."""
    if present is None:
        return group_starts if kind == "first" else run_lasts(group_starts, count)
    places = np.arange(count)
    if kind == "first":
        found = np.minimum.reduceat(np.where(present, places, count), group_starts)
        return np.where(found == count, group_starts, found)
    return np.maximum(np.maximum.reduceat(np.where(present, places, -1), group_starts), group_starts)
