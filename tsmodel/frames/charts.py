"""Charts of columns, drawn by matplotlib.

Rules kept here:

* A line has at most a few thousand points. Of the values that share a point of the axis, the first, the least, the greatest
  and the last are drawn, so that no spike is lost.
* Missing values and NaN are not drawn; the line continues after them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError, TimestampError, check_type
from tsmodel.frames import library
from tsmodel.frames.frame import Wanted, chosen
from tsmodel.model import Column
from tsmodel.timestamps import zone_of
from tsmodel.wire.sorting import run_lasts, run_starts

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes

__all__ = ["Chart", "downsampled", "times_of"]

Array = npt.NDArray[Any]

_POINTS: Final = 1000
"""Points of the axis. Each has up to four values."""
_EPOCH: Final = np.datetime64("2001-01-01", "ns")
_TIMES: Final = (np.iinfo(np.int64).min + 1, int(np.datetime64("2262-01-01", "ns").astype(np.int64)) - 978_307_200 * 10**9)
"""The range of times that NumPy can hold, in ns since 2001. NumPy counts from 1970."""


def downsampled(x: Array, y: Array, points: int = _POINTS) -> npt.NDArray[np.intp]:
    """The indices of the values to draw, ascending: the first, the least, the greatest and the last value in each of
    `points` equal parts of the axis.

    Args:
        x: positions on the axis, ascending, shape (n,).
        y: the values, without NaN, shape (n,).
        points: number of parts.
    """
    if len(x) <= 4 * points:
        return np.arange(len(x))
    places = x.astype(np.float64)
    part = ((places - places[0]) * (points / (places[-1] - places[0] or 1.0))).astype(np.int64)
    order = np.lexsort((y, part))  # parts ascend already, so only values within a part move
    starts = run_starts([part])
    lasts = run_lasts(starts, len(part))
    return np.unique(np.concatenate([starts, lasts, order[starts], order[lasts]]))


@attrs.frozen
class Chart:
    """A line for each column of `y` and each combination of values of `by`.

    Attributes:
        x: the column along the axis.
        y: the columns to draw.
        by: the columns that identify a line.
        ax: the axes to draw into; None for a new figure.
        tz: time zone of times.
        max_lines: most lines to draw; the title says how many there are.
    """

    x: str
    y: tuple[str, ...]
    by: tuple[str, ...]
    ax: Axes | None
    tz: str | dt.tzinfo
    max_lines: int

    def __attrs_post_init__(self) -> None:
        if self.tz != "UTC":
            try:
                zone_of(self.tz)
            except TimestampError as error:
                raise QueryError(f"plot(tz=...): {error}") from error
        check_type(self.max_lines, int, "plot(max_lines=...) takes an int", QueryError)
        if self.ax is not None and not hasattr(self.ax, "plot"):
            raise QueryError(f"plot(ax=...) takes axes of matplotlib, not {self.ax!r} ({type(self.ax).__name__})")

    @classmethod
    def of(
        cls,
        model: type[Any],
        x: Wanted,
        y: Wanted | Sequence[Wanted],
        by: Wanted | Sequence[Wanted] | None,
        **options: Any,
    ) -> Chart:
        """A chart of columns of a model.

        Raises:
            QueryError: when one is not a column of the model, or an option has the wrong type.
        """
        several = ([x], _several("y", y), _several("by", by or ()))
        names = [tuple(chosen(model, [each])[0].alias for each in some) for some in several]
        return cls(names[0][0], names[1], names[2], **options)

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        return list(dict.fromkeys((self.x, *self.y, *self.by)))

    def draw_table(self, table: pa.Table) -> Axes:
        """Draws an Arrow table of these columns."""
        columns = {name: _numbers(table, name) for name in dict.fromkeys((self.x, *self.y))}
        by = {name: table.column(name).to_numpy(zero_copy_only=False) for name in self.by}
        axes = self.draw(columns, by)
        axes.set_ylabel(", ".join(_with_unit(table, name) for name in self.y))
        return axes

    def draw(self, columns: Mapping[str, Array], by: Mapping[str, Array]) -> Axes:
        """Draws arrays of shape (n,).

        Args:
            columns: `x` and `y` by name: numbers, with NaN where missing, or times as datetime64, with NaT.
            by: the values that identify a line, by name.

        Raises:
            MissingLibraryError: when matplotlib is not installed.
        """
        pyplot = library("matplotlib.pyplot", "plot()")
        axes: Any = self.ax
        if axes is None:
            _, axes = pyplot.subplots(figsize=(10, 4), layout="constrained")
        x, y = columns[self.x], self.y
        groups = list(_groups(by, len(x)))
        shown = groups[: max(1, self.max_lines // max(1, len(y)))]
        for label, places in shown:
            for name in y:
                across, values = x[places], columns[name][places].astype(np.float64)
                sound = ~(np.isnan(values) | np.isnat(across)) if across.dtype.kind == "M" else ~np.isnan(values)
                across, values = across[sound], values[sound]
                order = np.argsort(across, kind="stable")
                across, values = across[order], values[order]
                kept = downsampled(across.astype(np.int64) if across.dtype.kind == "M" else across, values)
                full = ", ".join(filter(None, [name if len(y) > 1 else "", label]))
                axes.plot(across[kept], values[kept], label=full, linewidth=1, marker="." if len(kept) < 50 else "")
        if x.dtype.kind == "M":
            axes.xaxis_date(self.tz)
        axes.set_xlabel(self.x)
        axes.set_ylabel(", ".join(y))
        if len(shown) < len(groups):
            axes.set_title(f"{len(shown) * len(y):,} of {len(groups) * len(y):,} lines", loc="right", fontsize="small")
        if len(shown) * len(y) > 1:
            axes.legend(fontsize="small")
        axes.grid(visible=True, alpha=0.3)
        drawn: Axes = axes
        return drawn


def _several(argument: str, wanted: Wanted | Iterable[Wanted]) -> list[Wanted]:
    check_type(wanted, (str, Column, Iterable), f"plot({argument}=...) takes a column or several", QueryError)
    return [wanted] if isinstance(wanted, (str, Column)) else list(wanted)


def times_of(ns: Array) -> Array:
    """Converts times in ns since 2001 to datetime64; NaT if NumPy cannot hold them."""
    low, high = _TIMES
    held = (ns >= low) & (ns < high)
    made: Array = np.where(held, _EPOCH + np.where(held, ns, 0).astype("timedelta64[ns]"), np.datetime64("NaT", "ns"))
    return made


def _groups(by: Mapping[str, Array], count: int) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    """Yields a label and the indices of each combination of values. The label names the columns that vary."""
    differing = {name: values for name, values in by.items() if len(values) and (values != values[0]).any()}
    if not differing:
        yield "", np.arange(count)
        return
    codes = [np.unique(values, return_inverse=True)[1] for values in differing.values()]
    order = np.lexsort(codes[::-1])
    starts = run_starts([each[order] for each in codes])
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), count], strict=True):
        places = order[start:end]
        yield ", ".join(f"{name} {values[places[0]]}" for name, values in differing.items()), places


def _with_unit(table: pa.Table, name: str) -> str:
    unit = (table.schema.field(name).metadata or {}).get(b"unit")
    return name if unit is None else f"{name} [{unit.decode()}]"


def _numbers(table: pa.Table, name: str) -> Array:
    pyarrow = library("pyarrow", "plot()")
    column = table.column(name)
    kind = column.type
    if pyarrow.types.is_timestamp(kind):
        made: Array = column.cast(pyarrow.timestamp("ns")).to_numpy(zero_copy_only=False)
        return made
    if pyarrow.types.is_boolean(kind):
        column = column.cast(pyarrow.int8())
    elif not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind)):
        raise QueryError(f"plot() draws numbers; {name} is {kind}")
    numbers: Array = column.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers
