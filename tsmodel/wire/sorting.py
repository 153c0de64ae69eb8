"""Sorting rows by columns: checks for order, stable orders, and runs of equal rows.

Rules kept here:

* Columns come in order of significance, most significant first, and have the same length. Sorting is stable.
* Rows that are already sorted are recognised at a small fraction of the cost of sorting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["is_sorted", "order_of", "run_lasts", "run_lengths", "run_starts"]

_NARROW: Final = 2**16
_ASCENDING: Final = 32
"""Average length of ascending runs from which merge sort is faster than radix sort."""

Array: TypeAlias = npt.NDArray[Any]
Places: TypeAlias = npt.NDArray[np.intp]


def is_sorted(columns: Sequence[Array]) -> bool:
    """Whether rows are in ascending order."""
    equal: Any = np.True_
    for values in columns:
        if (equal & (values[1:] < values[:-1])).any():
            return False
        equal = equal & (values[1:] == values[:-1])
    return True


def order_of(columns: Sequence[Array]) -> Places | None:
    """The positions of rows in ascending order, shape (n,); None if they are sorted already.

    Records that arrive in the order of time need only one stable sort by meter, because trailing columns already ascend.
    """
    differing = [np.ascontiguousarray(column) for column in columns if len(column) and (column != column[0]).any()]
    first = len(differing)
    while first and is_sorted(differing[first - 1 :]):
        first -= 1
    if not first:
        return None
    order = _order_by(differing[0])
    # One sort may suffice for several series that follow one another in time, too; checking is cheap.
    if first == 1 or _are_sorted_within(differing, order):
        return order
    return np.lexsort(differing[:first][::-1])


def _order_by(column: Array) -> Places:
    """The stable order of one column."""
    if column.dtype.kind in "iu" and column.dtype.itemsize > 2:
        descents = np.count_nonzero(column[1:] < column[:-1])
        least = column.min()
        # NumPy uses radix sort for 16-bit integers, and otherwise merges long ascending runs.
        if descents * _ASCENDING > len(column) and int(column.max()) - int(least) < _NARROW:
            column = np.subtract(column, least).astype(np.uint16)
    return np.argsort(column, kind="stable")


def _are_sorted_within(columns: Sequence[Array], order: Places) -> bool:
    """Whether rows ascend in `order`, which sorts the first column."""
    values = columns[0].take(order)
    equal = values[1:] == values[:-1]
    for column in columns[1:]:
        if not equal.any():
            return True
        values = column.take(order)
        if (equal & (values[1:] < values[:-1])).any():
            return False
        equal &= values[1:] == values[:-1]
    return True


def run_starts(columns: Sequence[Array]) -> Places:
    """The first row of each run of equal rows, shape (runs,)."""
    begins = np.empty(len(columns[0]), np.bool_)
    begins[:1] = True
    tail = begins[1:]
    np.not_equal(columns[0][1:], columns[0][:-1], out=tail)
    for column in columns[1:]:
        tail |= column[1:] != column[:-1]
    return np.flatnonzero(begins)


def run_lengths(starts: Places, count: int) -> npt.NDArray[np.int64]:
    """The number of rows of each run, of `count` rows in total, shape (runs,)."""
    return np.diff(starts, append=count).astype(np.int64, copy=False)


def run_lasts(starts: Places, count: int) -> Places:
    """The last row of each run, of `count` rows in total, shape (runs,)."""
    return starts + run_lengths(starts, count) - 1
