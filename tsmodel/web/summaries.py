"""Reduces points: to windows of time for charts, whose minimum and maximum keep every spike, and to statistics.

Rules kept here:

* Windows begin at multiples of their length since 2001. A range is widened to whole windows, so the values of a window do
  not depend on where the chart begins.
* Windows without points are left out.
* A point is the smallest window, and windows merge into longer ones: one function does both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.web.formats import Times, as_text, numbers
from tsmodel.web.slices import Points
from tsmodel.wire.sorting import run_starts

__all__ = ["LADDER", "Summary", "Windows", "fitting", "joined", "nice", "windows_of"]

Array = npt.NDArray[Any]

_SECOND: Final = 10**9
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
LADDER: Final[tuple[int, ...]] = (
    *(digit * 10**power for power in range(9) for digit in (1, 2, 5)),
    *(count * unit for unit in (_SECOND, _MINUTE) for count in (1, 2, 5, 10, 15, 30)),
    *(count * _HOUR for count in (1, 2, 3, 6, 12)),
    *(count * _DAY for count in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
)
"""Round lengths of windows, ns."""

_HELD: Final = 5_000_000
"""Maximum number of values for which quantiles are computed."""


@attrs.frozen
class Windows:
    """Windows of one series, sorted; arrays of shape (n,).

    Attributes:
        every: their length, ns.
        number: start of each window divided by its length.
        points: number of points.
        records: number of records, older versions included.
        first_time, last_time: times of the first and last point.
        count: number of values that are present and not NaN. If it is 0, the values below are undefined.
        total: sum of the values as floats.
        min, max, first, last: minimum, maximum, first and last value, as stored; None without a field.
    """

    every: int
    number: Array
    points: Array
    records: Array
    first_time: Array
    last_time: Array
    count: Array
    total: Array
    min: Array | None = None
    max: Array | None = None
    first: Array | None = None
    last: Array | None = None

    def __len__(self) -> int:
        return len(self.number)

    @property
    def mean(self) -> Array:
        """Mean of the values as floats, shape (n,)."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.total / np.maximum(self.count, 1)

    @property
    def nbytes(self) -> int:
        """Their size in memory."""
        return sum(each.nbytes for each in self.arrays().values())

    def arrays(self) -> dict[str, Array]:
        """The arrays by name."""
        return {name: each for name, each in attrs.asdict(self, recurse=False).items() if isinstance(each, np.ndarray)}

    def between(self, start: int, end: int) -> Windows:
        """The windows that overlap a half-open range of time, ns since 2001."""
        return self._taken(slice(*self._places(start, end)))

    def longer(self, every: int) -> Windows:
        """Merges the windows into longer ones, of a multiple of their length."""
        assert every % self.every == 0
        factor = every // self.every
        return self if factor == 1 else _joined(attrs.evolve(self, every=every, number=self.number // factor))

    def replaced(self, start: int, end: int, by: Windows) -> Windows:
        """Replaces the windows that overlap a half-open range of time."""
        low, high = self._places(start, end)
        return joined([self._taken(slice(low)), by, self._taken(slice(high, None))], self.every)

    def _places(self, start: int, end: int) -> tuple[int, int]:
        low, high = np.searchsorted(self.number, [start // self.every, -(-end // self.every)])
        return int(low), int(high)

    def _taken(self, picked: slice) -> Windows:
        arrays: dict[str, Any] = {name: each[picked] for name, each in self.arrays().items()}
        return attrs.evolve(self, **arrays)


def windows_of(points: Points, every: int) -> Windows:
    """The windows of points."""
    is_plain = len(points.cap) > 0 and points.versions is None and points.valid is None
    if is_plain and (made := _of_sorted(points.cap, points.values, every)):
        return made
    ones = np.ones(len(points.cap), np.int64)
    versions = ones if points.versions is None else points.versions
    values = points.values
    count = ones if points.valid is None else points.valid.astype(np.int64)
    if values is None:
        count, total = np.zeros(len(ones), np.int64), np.zeros(len(ones))
    else:
        total = values.astype(np.float64)
        if points.valid is not None:
            total[~points.valid] = 0.0
    return _joined(
        Windows(every, points.cap // every, ones, versions, points.cap, points.cap, count, total, *(4 * [values]))
    )


def _of_sorted(cap: Array, values: Array | None, every: int) -> Windows | None:
    """The windows of points that have one version and a valid value each; None if most windows would be empty.

    Looks up where windows begin rather than dividing all times.
    """
    first, last = int(cap[0]) // every, int(cap[-1]) // every
    if last - first > len(cap):
        return None
    number = np.arange(first, last + 1)
    starts = np.append(0, np.searchsorted(cap, number[1:] * every))
    lengths = np.diff(starts, append=len(cap))
    has = lengths > 0
    starts, lengths, number = starts[has], lengths[has], number[has]
    ends = starts + lengths - 1
    no_count = np.zeros(len(number), np.int64)
    made = Windows(every, number, lengths, lengths, cap[starts], cap[ends], no_count, np.zeros(len(number)))
    if values is None:
        return made
    with np.errstate(over="ignore", invalid="ignore"):
        return attrs.evolve(
            made,
            count=lengths,
            total=np.add.reduceat(values, starts, dtype=np.float64),
            min=np.minimum.reduceat(values, starts),
            max=np.maximum.reduceat(values, starts),
            first=values[starts],
            last=values[ends],
        )


def joined(parts: Iterable[Windows], every: int) -> Windows:
    """Joins consecutive parts with windows of one length, `every` ns; a window that spans parts is merged."""
    listed = [part for part in parts if len(part)]
    if not listed:
        none = np.empty(0, np.int64)
        return Windows(every, none, none, none, none, none, none, np.empty(0))
    whole: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in listed]) for name in listed[0].arrays()}
    return _joined(attrs.evolve(listed[0], **whole))


def nice(width: float) -> int:
    """The smallest length of the ladder that is at least `width` ns; beyond the ladder, whole days."""
    for each in LADDER:
        if each >= width:
            return each
    return -(-int(width) // _DAY) * _DAY


def fitting(start: int, end: int, most: int, base: int = 0) -> int:
    """The length of about `most` windows that cover a range: a multiple of `base`, or a round length."""
    width = max(1, -(-(end - start) // max(1, most)))
    return max(1, -(-width // base)) * base if base else nice(width)


def _joined(whole: Windows) -> Windows:
    """Merges neighbours with the same number."""
    starts = run_starts([whole.number])
    if len(starts) == len(whole.number):
        return whole
    ends = np.append(starts[1:], len(whole.number)) - 1

    def total(values: Array) -> Array:
        return np.add.reduceat(values, starts)

    with np.errstate(over="ignore", invalid="ignore"):
        made = attrs.evolve(
            whole,
            number=whole.number[starts],
            points=total(whole.points),
            records=total(whole.records),
            first_time=whole.first_time[starts],
            last_time=whole.last_time[ends],
            count=total(whole.count),
            total=total(whole.total),
        )
        if whole.min is None or whole.max is None or whole.first is None or whole.last is None:
            return made
        least, greatest, first, last = whole.min, whole.max, starts, ends
        has = whole.count > 0
        if not has.all():
            low, high = _limits(least.dtype)
            least, greatest = np.where(has, least, high), np.where(has, greatest, low)
            places = np.arange(len(has))
            first = np.minimum.reduceat(np.where(has, places, len(has) - 1), starts)
            last = np.maximum.reduceat(np.where(has, places, 0), starts)
        return attrs.evolve(
            made,
            min=np.minimum.reduceat(least, starts),
            max=np.maximum.reduceat(greatest, starts),
            first=whole.first[first],
            last=whole.last[last],
        )


def _limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The least and greatest value of a type."""
    if dtype.kind == "b":
        return np.bool_(False), np.bool_(True)
    if dtype.kind == "f":
        return dtype.type(-np.inf), dtype.type(np.inf)
    limits = np.iinfo(dtype)
    return dtype.type(limits.min), dtype.type(limits.max)


class Summary:
    """Computes statistics of points, which are added in the order of time.

    Args:
        digits: decimal places of values stored as scaled integers; None for others.
    """

    def __init__(self, digits: int | None) -> None:
        self._digits = digits
        self._points = self._records = self._corrected = self._values = 0
        self._mean = self._squares = 0.0
        self._caps: tuple[int, int] | None = None
        self._gap: tuple[int, int] | None = None
        self._extremes: dict[str, tuple[Any, int]] = {}
        self._ends: dict[str, Any] = {}
        self._held: list[Array] = []
        self._steps: list[Array] = []

    def add(self, points: Points) -> None:
        """Adds points that follow those before."""
        cap = points.cap
        if not len(cap):
            return
        self._take_times(cap)
        self._points += len(cap)
        self._records += points.records
        self._corrected += 0 if points.versions is None else int(np.count_nonzero(points.versions > 1))
        if points.values is not None:
            valid = slice(None) if points.valid is None else points.valid
            self._take_values(points.values[valid], cap[valid])

    def told(self, times: Times) -> dict[str, Any]:
        """The statistics by name, as in responses."""
        first, last = self._caps or (None, None)
        typical = np.median(np.concatenate(self._steps)) if self._steps and self._points <= _HELD else None
        told: dict[str, Any] = {
            "points": self._points,
            "records": self._records,
            "corrected": self._corrected,
            "values": self._values,
            "first_time": None if first is None else as_text(first, times),
            "last_time": None if last is None else as_text(last, times),
            "typical_step": None if typical is None else str(int(typical)),
            "longest_gap": None if self._gap is None else str(self._gap[0]),
            "longest_gap_start": None if self._gap is None else as_text(self._gap[1], times),
        }
        if not self._values:
            return told
        for name, (value, cap) in self._extremes.items():
            told |= {name: self._number(value), f"{name}_time": as_text(cap, times)}
        for name, value in self._ends.items():
            told[name] = self._number(value)
        told["mean"] = self._number(np.float64(self._mean))
        if self._values > 1:
            told["std"] = self._number(np.float64(np.sqrt(self._squares / (self._values - 1))))
        if self._values <= _HELD:
            values = np.concatenate(self._held).astype(np.float64)
            with np.errstate(invalid="ignore"):
                quantiles = np.quantile(values, (0.05, 0.5, 0.95))
            told |= dict(zip(("p05", "median", "p95"), map(self._number, quantiles), strict=True))
        return told

    def _number(self, value: Any) -> Any:
        return numbers(np.array([value]), None, self._digits)[0]

    def _take_times(self, cap: Array) -> None:
        whole = cap if self._caps is None else np.append(self._caps[1], cap)
        steps = np.diff(whole.astype(np.uint64))  # unsigned, because a step may be longer than int64 holds
        if len(steps):
            at = int(steps.argmax())
            longest = int(steps[at])
            if self._gap is None or longest > self._gap[0]:
                self._gap = longest, int(whole[at])
            if self._points <= _HELD:
                self._steps.append(steps)
        self._caps = (int(cap[0]) if self._caps is None else self._caps[0], int(cap[-1]))

    def _take_values(self, values: Array, cap: Array) -> None:
        count = len(values)
        if not count:
            return
        least, greatest = int(values.argmin()), int(values.argmax())
        if "min" not in self._extremes or values[least] < self._extremes["min"][0]:
            self._extremes["min"] = values[least], int(cap[least])
        if "max" not in self._extremes or values[greatest] > self._extremes["max"][0]:
            self._extremes["max"] = values[greatest], int(cap[greatest])
        self._ends.setdefault("first", values[0])
        self._ends["last"] = values[-1]
        floats = values.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            # Combines means and deviations of slices without cancellation, after Chan, Golub and LeVeque.
            mean = float(floats.mean())
            squares = float(np.square(floats - mean).sum())
            total, apart = self._values + count, mean - self._mean
            self._squares += squares + apart * apart * self._values * count / total
            self._mean += apart * count / total
        self._values = total
        if self._values <= _HELD:
            self._held.append(values)
