"""Grids: where windows of time start and end, by fixed length, by calendar, and in the local time of a zone.

Rules kept here:

* Windows are half-open, and every time is in exactly one.
* In a time zone, windows start at local times that are multiples of their length. When clocks are set back, a local time
  that occurs again starts a second window only if the length divides the shift. When clocks are set forward, a window whose
  start is skipped starts at the change.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final, Protocol, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError, TimestampError
from tsmodel.timestamps import EPOCH, EPOCH_UNIX_NS, DurationLike, TimeLike, duration_ns, to_ns
from tsmodel.timestamps import zone_of as _zone_of

__all__ = ["DAY", "Clock", "Grid", "Lengths", "Months", "Multiples", "Times", "day_of", "grid_of", "past", "zone_of"]


def zone_of(tz: str | dt.tzinfo) -> dt.tzinfo:
    """Returns the time zone with a name.

    Raises:
        QueryError: when this system does not know it.
    """
    try:
        return _zone_of(tz)
    except TimestampError as error:
        raise QueryError(str(error)) from error


def day_of(date: dt.date | str, tz: str | dt.tzinfo) -> tuple[int, int]:
    """The start and end of a day in a time zone, ns since 2001.

    Raises:
        QueryError: when the day or the time zone does not exist.
    """
    zone = zone_of(tz)
    try:
        day = dt.date.fromisoformat(date) if isinstance(date, str) else date
        if type(day) is not dt.date:
            raise ValueError(f"{date!r} is not a date")
        start, end = (
            dt.datetime.combine(each, dt.time(), zone).astimezone(dt.timezone.utc)
            for each in (day, day + dt.timedelta(days=1))
        )
        return to_ns(start), to_ns(end)
    except (ValueError, TypeError, OverflowError) as error:
        raise QueryError(f'on() takes a day such as "2026-03-29", not {date!r}: {error}') from error


_BEYOND: Final = "a window starts or ends outside the range of int64 ns"
_SECOND: Final = 10**9
_DAY_S: Final = 86_400
_LEAST_S: Final = -(2**63) // _SECOND + _DAY_S
_GREATEST_S: Final = 2**63 // _SECOND - _DAY_S


class Clock:
    """The offsets of a time zone from UTC."""

    def __init__(self, zone: dt.tzinfo) -> None:
        self._zone = zone

    def offset(self, time: int) -> int:
        """The offset in ns at a time, in ns since 2001."""
        return self._offset(min(max(time // _SECOND, _LEAST_S), _GREATEST_S))

    def offsets(self, low: int, high: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The offsets between two times.

        Args:
            low: the earlier time, ns since 2001.
            high: the later time.

        Returns:
            Two arrays of shape (n,), in ns: the times since which an offset applies, ascending, the first one at or before
            `low`; and the offsets.
        """
        at = max(low // _SECOND, _LEAST_S)
        end = min(high // _SECOND + 1, _GREATEST_S)
        changes, offsets = [at], [self._offset(at)]
        while at < end:
            later = min(at + _DAY_S, end)
            offset = self._offset(later)
            if offset != offsets[-1]:
                changes.append(self._change(at, later))
                offsets.append(offset)
            at = later
        return np.array(changes, np.int64) * _SECOND, np.array(offsets, np.int64)

    def _change(self, before: int, after: int) -> int:
        """The first second that has the offset of `after`."""
        offset = self._offset(after)
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(middle) == offset:
                after = middle
            else:
                before = middle
        return after

    def _offset(self, seconds: int) -> int:
        moment = (EPOCH + dt.timedelta(seconds=seconds)).astimezone(self._zone)
        offset = moment.utcoffset()
        assert offset is not None
        return (offset.days * _DAY_S + offset.seconds) * _SECOND + offset.microseconds * 1000


Times: TypeAlias = npt.NDArray[np.int64]

DAY: Final = 86_400 * 10**9
_EPOCH_DAYS: Final = EPOCH_UNIX_NS // DAY
_EPOCH_MONTHS: Final = (2001 - 1970) * 12


def past(starts: Times, every: int) -> Times:
    """Times plus a length, or the greatest time if that overflows."""
    ends: Times = starts + np.int64(every)
    ends[ends < starts] = 2**63 - 1
    return ends


class Multiples(Protocol):
    """Multiples of a length in local time, which counts ns since 2001-01-01 as the clock shows them."""

    @property
    def longest(self) -> int:
        """An upper bound of the length, in ns."""
        ...

    def floor(self, local: Times) -> Times:
        """The multiple at or before each time."""
        ...

    def after(self, multiples: Times) -> Times:
        """The multiple after each multiple."""
        ...

    def between(self, first: int, last: int) -> Times:
        """All multiples from `first` to `last`, both included."""
        ...

    def divides(self, shift: int) -> bool:
        """Whether a shift is a whole number of lengths."""
        ...


@attrs.frozen
class Lengths:
    """Multiples of a fixed length, counted from `origin`."""

    every: int
    origin: int

    @property
    def longest(self) -> int:
        return self.every

    def floor(self, local: Times) -> Times:
        floored: Times = (local - self.origin) // self.every * self.every + self.origin
        return floored

    def after(self, multiples: Times) -> Times:
        return past(multiples, self.every)

    def between(self, first: int, last: int) -> Times:
        multiples: Times = first + np.arange((last - first) // self.every + 1) * np.int64(self.every)
        return multiples

    def divides(self, shift: int) -> bool:
        return shift % self.every == 0


@attrs.frozen
class Months:
    """The first midnights of every `months`-th calendar month, counted from January 2001."""

    months: int

    @property
    def longest(self) -> int:
        return self.months * 31 * DAY

    def floor(self, local: Times) -> Times:
        days = (local // DAY + _EPOCH_DAYS).astype("M8[D]")
        months = days.astype("M8[M]").astype(np.int64) - _EPOCH_MONTHS
        return self._midnights(months // self.months)

    def after(self, multiples: Times) -> Times:
        return self._midnights(self._places(multiples) + 1)

    def between(self, first: int, last: int) -> Times:
        begin, end = self._places(np.array([first, last], np.int64)).tolist()
        return self._midnights(np.arange(begin, end + 1))

    def divides(self, shift: int) -> bool:
        return not shift

    def _places(self, multiples: Times) -> Times:
        days = (multiples // DAY + _EPOCH_DAYS).astype("M8[D]")
        places: Times = (days.astype("M8[M]").astype(np.int64) - _EPOCH_MONTHS) // self.months
        return places

    def _midnights(self, places: Times) -> Times:
        months = (places * self.months + _EPOCH_MONTHS).astype("M8[M]")
        days: Times = months.astype("M8[D]").astype(np.int64) - _EPOCH_DAYS
        if len(days) and (int(days.max()) > 2**63 // DAY - 2 or int(days.min()) < -(2**63) // DAY + 2):
            raise QueryError(_BEYOND)
        return days * DAY


_LEAST: Final = -(2**63)
_MONTHS: Final = {"mo": 1, "y": 12}
_CALENDAR: Final = re.compile(r"([1-9][0-9]{0,3})(mo|y)")


class Grid(Protocol):
    """The windows of a resampling. All arrays are int64 ns since 2001, of shape (n,)."""

    def starts(self, times: Times) -> Times:
        """The start of the window of each time.

        Raises:
            QueryError: when a window starts before the range of int64 ns.
        """
        ...

    def ends(self, starts: Times) -> Times:
        """The end of each window, given its start."""
        ...

    def edges(self, first: int, last: int) -> Times:
        """The starts of all windows from the one that starts at `first` to the one that starts at `last`, ascending."""
        ...

    def most(self, first: int, last: int) -> int:
        """An upper bound of the number of windows between two times."""
        ...


def grid_of(every: DurationLike, origin: TimeLike | None, tz: str | dt.tzinfo | None) -> Grid:
    """The windows of a length: "15m", a timedelta, int ns, or calendar months and years, "3mo" and "1y".

    Args:
        every: the length.
        origin: a time at which a window starts; None for midnight of Monday 2001-01-01 in `tz`.
        tz: the time zone of the windows; None for UTC.

    Raises:
        QueryError: when the length is out of range, or the time zone does not exist.
        TimestampError: when `every` is not a duration, or `origin` is not a time.
    """
    calendar = _CALENDAR.fullmatch(every) if isinstance(every, str) else None
    if calendar:
        if origin is not None:
            raise QueryError(f"windows of resample({every!r}) start with calendar months: leave out origin=")
        return ClockGrid(Months(int(calendar[1]) * _MONTHS[calendar[2]]), Clock(zone_of(tz or "UTC")))
    length = duration_ns(every)
    if not 0 < length < 2**62:
        raise QueryError(f"resample({every!r}): a window must be longer than 0 and shorter than 146 years")
    begin = 0 if origin is None else to_ns(origin)
    if tz is None:
        return FixedGrid(length, begin % length)
    clock = Clock(zone_of(tz))
    return ClockGrid(Lengths(length, 0 if origin is None else (begin + clock.offset(begin)) % length), clock)


@attrs.frozen
class FixedGrid:
    """Windows of a fixed length.

    Attributes:
        every: the length in ns.
        origin: the start of a window, with `0 <= origin < every`.
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
    """Windows in the local time of a zone.

    A period lies between two changes of the offset. Within it, a window starts at each multiple of the length. For each
    period, the grid knows where its first window starts (`_firsts`), and the start of the window before that one, which
    extends into the period (`_carried`).

    Args:
        steps: the multiples.
        clock: the offsets of the zone.
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
        at = self._periods(np.array([low, high], np.int64))
        at = at[0] if at[0] == at[1] else self._periods(times)
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
        at = self._periods(starts)
        offsets = self._offsets[at]
        ends = self._steps.after(self._steps.floor(starts + offsets)) - offsets
        return np.where(
            ends >= np.append(self._changes[1:], 2**63 - 1)[at], np.append(self._nexts[1:], 2**63 - 1)[at], ends
        )

    def edges(self, first: int, last: int) -> Times:
        """See `Grid.edges`."""
        self._cover(first, last)
        begin, end = self._periods(np.array([first, last], np.int64)).tolist()
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

    def _periods(self, times: Times) -> npt.NDArray[np.intp]:
        found: npt.NDArray[np.intp] = np.searchsorted(self._changes, times, "right") - 1
        return np.maximum(found, 0)

    def _cover(self, low: int, high: int) -> None:
        """Computes the periods from a window before `low` to a window after `high`."""
        if self._covered is not None:
            if self._covered[0] <= low and high <= self._covered[1]:
                return
            low, high = min(low, self._covered[0]), max(high, self._covered[1])
        margin = 2 * self._steps.longest + 2 * DAY
        if low - margin < _LEAST or high + margin >= 2**63:
            raise QueryError(_BEYOND)
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
        """The start of the first window at or after a change of the offset from `before` to `after`."""
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
        raise QueryError("a record is in a window that starts before the range of int64 ns")
