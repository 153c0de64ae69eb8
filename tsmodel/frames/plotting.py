"""Pictures of columns.

Rules kept here:

* Nothing that stands out is lost: of more points than a picture has room for, each slice of it keeps the first, the last,
  the least and the greatest.
* A value that is absent, or NaN, is a gap in the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.frames.libraries import library
from tsmodel.model.meta import schema_of
from tsmodel.model.operands import ColumnInfo
from tsmodel.timestamps import to_unix_ns

__all__ = ["draw", "thinned"]

Numbers = npt.NDArray[Any]

SLICES: Final = 2000
"""Slices of a line: about as many as a picture has pixels across."""
_MOST_NAMED: Final = 20
"""Lines that a legend names."""
_LATEST: Final = 2**63 - 1
"""The last time that `datetime64[ns]` holds, ns since 1970."""


def thinned(x: Numbers, y: npt.NDArray[np.float64], slices: int = SLICES) -> npt.NDArray[np.intp]:
    """The places of the points that a line keeps.

    Args:
        x: ascending, shape (n,).
        y: NaN where there is no value, shape (n,).
        slices: of equal width, into which the line is cut.

    Returns:
        Places, ascending; at most five in each slice.
    """
    count = len(x)
    if count <= 4 * slices:
        return np.arange(count)
    offset = x.astype(np.float64) - float(x[0])
    width = offset[-1] or 1.0
    at = np.minimum((offset / width * slices).astype(np.intp), slices - 1)
    starts = np.flatnonzero(np.diff(at, prepend=-1))
    ends = np.append(starts[1:], count) - 1
    missing = np.isnan(y)
    places = [starts, ends]
    slice_of = np.repeat(np.arange(len(starts)), np.append(starts[1:], count) - starts)
    for stand_in, best in ((np.inf, np.minimum), (-np.inf, np.maximum)):
        filled = np.where(missing, stand_in, y)
        hits = np.flatnonzero(filled == best.reduceat(filled, starts)[slice_of])
        places.append(hits[np.flatnonzero(np.diff(slice_of[hits], prepend=-1))])
    gaps = np.flatnonzero(missing)
    places.append(gaps[np.flatnonzero(np.diff(slice_of[gaps], prepend=-1))])
    return np.unique(np.concatenate(places))


def draw(
    model: type[Any], columns: Mapping[str, Numbers], x: str, ys: Sequence[str], by: str | None, axes: Any = None
) -> Any:
    """Draws a line for each of `ys` and each value of `by`.

    Args:
        model: the model.
        columns: as `query.columns()` gives them.
        x: the column that the picture goes along.
        ys: columns of numbers.
        by: the column whose values are lines of their own; None for one line.
        axes: matplotlib axes to draw on; None for those of a new figure.

    Returns:
        The axes.

    Raises:
        QueryError: when a column has no numbers.
        MissingLibraryError: when matplotlib is not installed.
    """
    schema = schema_of(model)
    infos = {name: schema.columns[name].info for name in (x, *ys)}
    units = {spec.name: spec.options.unit for spec in schema.specs if spec.options.unit}
    values = {y: _numbers(columns[y], infos[y]) for y in ys}
    if np.ma.is_masked(columns[x]) or columns[x].dtype.kind not in "iuf":
        raise QueryError(f"{model.__name__}.{x} has no numbers and times, or not everywhere: a picture cannot go along it")
    across = np.asarray(columns[x])
    has_times = getattr(getattr(infos[x].codec, "scalar", None), "kind", "") == "time"
    if axes is None:
        axes = library("matplotlib.figure", "plot()").Figure(figsize=(12, 5), layout="constrained").add_subplot()
    groups = _groups(len(across), None if by is None else columns[by])
    named = (lambda value: value) if by is None else _names(schema.columns[by].info)
    for value, picked in groups:
        name = named(value)
        order = picked[np.argsort(across[picked], kind="stable")]
        along = across[order]
        for y in ys:
            kept = thinned(along, values[y][order])
            parts = ([] if name is None else [f"{by} {name}"]) + ([y] if len(ys) > 1 or name is None else [])
            points = _datetimes(along[kept]) if has_times and len(kept) else along[kept]
            # A lone point has no line.
            mark = {"marker": "."} if len(kept) == 1 else {}
            axes.plot(points, values[y][order][kept], linewidth=0.9, label=", ".join(parts), **mark)
    axes.set_xlabel(f"{x} (UTC)" if has_times else _labelled(x, units))
    axes.set_ylabel(", ".join(_labelled(y, units) for y in ys))
    axes.grid(visible=True, alpha=0.3)
    if 1 < len(groups) * len(ys) <= _MOST_NAMED:
        axes.legend(fontsize="small")
    return axes


def _numbers(column: Numbers, info: ColumnInfo) -> npt.NDArray[np.float64]:
    """A column as floats, NaN where it is absent."""
    if column.dtype.kind not in "iufb" or column.ndim != 1:
        raise QueryError(f"{info.model}.{info.alias} ({info.codec.label}) has no numbers to draw")
    values = np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
    digits = getattr(info.codec, "digits", None) or getattr(getattr(info.codec, "item", None), "digits", 0)
    return np.asarray(values / 10**digits if digits else values)


def _groups(count: int, column: Numbers | None) -> list[tuple[object, npt.NDArray[np.intp]]]:
    """The rows of each value, in the order of the values."""
    if column is None:
        return [(None, np.arange(count))]
    if not len(column):
        return []
    if column.dtype.kind == "O" or np.ma.isMaskedArray(column):
        column = np.array([str(each) for each in column.tolist()])
    names, places = np.unique(column, return_inverse=True)
    order = np.argsort(places, kind="stable")
    cuts = np.searchsorted(places[order], np.arange(1, len(names)))
    return list(zip(names.tolist(), np.split(order, cuts), strict=True))


def _names(info: ColumnInfo) -> Callable[[Any], object]:
    """What a stored value is called: by its member's name, where it is one of an enumeration."""
    load = getattr(info.codec, "load", None)

    def name(stored: Any) -> object:
        value = stored if load is None or isinstance(stored, str) else load(stored)
        return getattr(value, "name", value)

    return name


def _datetimes(times: Numbers) -> Numbers:
    last = to_unix_ns(int(times.max()))
    if last > _LATEST:
        raise QueryError("times after 2262-04-11 cannot be drawn: narrow the range")
    return (times + to_unix_ns(0)).astype("datetime64[ns]")


def _labelled(name: str, units: Mapping[str, str]) -> str:
    return f"{name} [{units[name]}]" if name in units else name
