"""Windows of capture time: where each begins and ends.

Rules kept here:

* Windows are half-open, and every time lies in exactly one.
* By the clocks of a time zone, windows begin where the clock shows a multiple of their length. Where it is put back, times
  that it shows again begin no window again, unless windows divide the shift; where it is put forward, a window whose
  begin it leaves out begins with the shift.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.query.aggregation.clocks import Clock
from tsmodel.query.aggregation.multiples import DAY, Lengths, Months, Multiples, Times, past
from tsmodel.query.days import zone_of
from tsmodel.timestamps import DurationLike, TimeLike, duration_ns, to_ns

__all__ = ["Grid", "grid_of"]

_LEAST: Final = -(2**63)
_MONTHS: Final = {"mo": 1, "y": 12}
_CALENDAR: Final = re.compile(r"([1-9][0-9]{0,3})(mo|y)")


class Grid(Protocol):
    """Windows; all arrays are int64 ns since 2001, of shape (n,)."""

    def starts(self, times: Times) -> Times:
        """Where each time's window begins.

        Raises:
            QueryError: when one begins before the first time that there is.
        """
        ...

    def ends(self, starts: Times) -> Times:
        """Where each window ends, given where it begins."""
        ...

    def edges(self, first: int, last: int) -> Times:
        """Where each window begins from one to another, both included, given where these begin; ascending."""
        ...

    def most(self, first: int, last: int) -> int:
        """How many windows there may be between two times."""
        ...


def grid_of(every: DurationLike, origin: TimeLike | None, tz: str | dt.tzinfo | None) -> Grid:
    """The windows of a length: "15m", a timedelta, int ns, or calendar months and years, "3mo" and "1y".

    Args:
        every: the length.
        origin: a time at which one of them begins; None for midnight (by the clocks of `tz`) of Monday 2001-01-01.
        tz: the time zone by whose clocks they begin; None for UTC.

    Raises:
        QueryError: when windows cannot have that length, or there is no such time zone.
        TimestampError: when `every` is no duration, or `origin` no time.
    """
    calendar = _CALENDAR.fullmatch(every) if isinstance(every, str) else None
    if calendar:
        if origin is not None:
            raise QueryError(f"resample({every!r}) begins with calendar months: it takes no origin")
        return ClockGrid(Months(int(calendar[1]) * _MONTHS[calendar[2]]), Clock(zone_of(tz or "UTC")))
    length = duration_ns(every)
    if not 0 < length < 2**62:
        raise QueryError(f"resample({every!r}): windows are longer than nothing, and shorter than 146 years")
    begin = 0 if origin is None else to_ns(origin)
    if tz is None:
        return FixedGrid(length, begin % length)
    clock = Clock(zone_of(tz))
    return ClockGrid(Lengths(length, 0 if origin is None else (begin + clock.offset(begin)) % length), clock)


@attrs.frozen
class FixedGrid:
    """See `Grid`: windows of one length.

    Attributes:
        every: the length in ns.
        origin: where one of them begins, less whole lengths: `0 <= origin < every`.
    """

    every: int
    origin: int

    def starts(self, times: Times) -> Times:
        """See `Grid.starts`."""
        starts = times - self.origin if self.origin else times
        starts = np.floor_divide(starts, self.every)
        starts *= self.every
        if self.origin:
            starts += self.origin
        if len(times) and times.min() < _LEAST + self.every + self.origin:
            _check_starts(starts, times)
        return starts

    def ends(self, starts: Times) -> Times:
        """See `Grid.ends`."""
        return past(starts, self.every)

    def edges(self, first: int, last: int) -> Times:
        """See `Grid.edges`."""
        edges: Times = first + np.arange((last - first) // self.every + 1) * np.int64(self.every)
        return edges

    def most(self, first: int, last: int) -> int:
        """See `Grid.most`."""
        return (last - first) // self.every + 1


class ClockGrid:
    """See `Grid`: windows by a clock.

    Between two changes of the clock, a window begins with each multiple of the length. For each such stretch it is known
    where the first window begins in it, and where the one before that did, which reaches into the stretch.

    Args:
        steps: the multiples.
        clock: says by how much it differs from UTC, and when that changes.
    """

    def __init__(self, steps: Multiples, clock: Clock) -> None:
        self._steps = steps
        self._clock = clock
        self._covered: tuple[int, int] | None = None
        self._changes = self._offsets = self._firsts = self._carried = self._nexts = np.empty(0, np.int64)

    def starts(self, times: Times) -> Times:
        """See `Grid.starts`."""
        if not len(times):
            return times
        low, high = int(times.min()), int(times.max())
        self._cover(low, high)
        at = self._stretches(np.array([low, high], np.int64))
        at = at[0] if at[0] == at[1] else self._stretches(times)
        offsets, firsts = self._offsets[at], self._firsts[at]
        begun = np.maximum(self._steps.floor(times + offsets) - offsets, firsts)
        starts = np.where(times >= firsts, begun, self._carried[at])
        _check_starts(starts, times)
        return starts

    def ends(self, starts: Times) -> Times:
        """See `Grid.ends`."""
        if not len(starts):
            return starts
        self._cover(int(starts.min()), int(starts.max()))
        at = self._stretches(starts)
        offsets = self._offsets[at]
        ends = self._steps.after(self._steps.floor(starts + offsets)) - offsets
        return np.where(
            ends >= np.append(self._changes[1:], 2**63 - 1)[at], np.append(self._nexts[1:], 2**63 - 1)[at], ends
        )

    def edges(self, first: int, last: int) -> Times:
        """See `Grid.edges`."""
        self._cover(first, last)
        begin, end = self._stretches(np.array([first, last], np.int64)).tolist()
        parts = []
        for at in range(begin, end + 1):
            offset, least = int(self._offsets[at]), int(self._firsts[at])
            low = max(first, least)
            high = min(last, int(self._changes[at + 1]) - 1) if at + 1 < len(self._changes) else last
            if low <= high:
                multiples = self._steps.floor(np.array([low + offset, high + offset], np.int64)).tolist()
                parts.append(np.unique(np.maximum(self._steps.between(*multiples) - offset, low)))
        return np.concatenate(parts)

    def most(self, first: int, last: int) -> int:
        """See `Grid.most`."""
        shortest = self._steps.longest if isinstance(self._steps, Lengths) else self._steps.longest * 28 // 31
        return (last - first) // shortest + 2 * len(self._changes) + 1

    def _stretches(self, times: Times) -> npt.NDArray[np.intp]:
        found: npt.NDArray[np.intp] = np.searchsorted(self._changes, times, "right") - 1
        return np.maximum(found, 0)

    def _cover(self, low: int, high: int) -> None:
        """Learns what the clock does from a window before some times to a window after them."""
        if self._covered is not None:
            if self._covered[0] <= low and high <= self._covered[1]:
                return
            low, high = min(low, self._covered[0]), max(high, self._covered[1])
        margin = 2 * self._steps.longest + 2 * DAY
        if low - margin < _LEAST or high + margin >= 2**63:
            raise QueryError("a window begins or ends at a time that int64 ns cannot express")
        self._changes, self._offsets = self._clock.offsets(low - margin, high + margin)
        self._covered = low, high
        changes, offsets = self._changes.tolist(), self._offsets.tolist()
        firsts, carried = [_LEAST], [_LEAST]
        for at in range(1, len(changes)):
            before, change = changes[at] - 1, changes[at]
            if before >= firsts[-1]:
                begun = self._floor(before + offsets[at - 1]) - offsets[at - 1]
                carried.append(max(begun, firsts[-1]))
            else:
                carried.append(carried[-1])
            firsts.append(self._first(change, offsets[at - 1], offsets[at]))
        nexts = firsts[:]
        for at in range(len(changes) - 2, 0, -1):
            if firsts[at] >= changes[at + 1]:
                nexts[at] = nexts[at + 1]
        self._firsts, self._carried, self._nexts = (np.array(each, np.int64) for each in (firsts, carried, nexts))

    def _first(self, change: int, before: int, after: int) -> int:
        """Where the first window begins from a change of the clock on."""
        if after > before:
            return max(self._ceil(change + before) - after, change)
        again = self._steps.divides(before - after)
        return self._ceil(change + (after if again else before)) - after

    def _floor(self, local: int) -> int:
        return int(self._steps.floor(np.array([local], np.int64))[0])

    def _ceil(self, local: int) -> int:
        floored = self._steps.floor(np.array([local], np.int64))
        return local if int(floored[0]) == local else int(self._steps.after(floored)[0])


def _check_starts(starts: Times, times: Times) -> None:
    if (starts > times).any():
        raise QueryError("a record lies in a window that starts before the first time that int64 ns can express")
