"""Series and windows: where those of the same lie together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.wire.sorting import order_of

__all__ = [
    "GROUP",
    "SERIES",
    "Array",
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
"""What tells one window from another, in the order of the result."""


def sorted_by(table: Table, names: Sequence[str]) -> Table:
    """The rows in ascending order of columns, the most significant first; equal ones stay as they came."""
    order = order_of([table[name] for name in names])
    if order is None:
        return table
    return {name: values[order] for name, values in table.items()}


def concatenated(tables: Sequence[Table]) -> Table:
    """The rows of all."""
    return tables[0] if len(tables) == 1 else {name: np.concatenate([each[name] for each in tables]) for name in tables[0]}


def places_of(wanted: Table, windows: Table) -> npt.NDArray[np.intp]:
    """Where each of some windows is among others; both sorted, each window once, and all of the wanted among the others."""
    both = [np.concatenate([windows[name], wanted[name]]) for name in GROUP]
    order = np.lexsort(both[::-1])
    is_wanted = order >= len(windows["start"])
    places: npt.NDArray[np.intp] = (np.cumsum(~is_wanted) - 1)[is_wanted]
    return places


def scattered(values: Array, places: npt.NDArray[np.intp], count: int) -> Array:
    """Values of some windows, at their places, as those of all; a masked array where there is none."""
    whole = np.zeros(count, values.dtype)
    whole[places] = values
    if len(places) == count:
        return whole
    mask = np.ones(count, np.bool_)
    mask[places] = False
    return np.ma.MaskedArray(whole, mask)
