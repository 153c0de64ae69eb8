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

__all__ = ["Grid", "day_of", "grid_of", "zone_of"]

Times: TypeAlias = npt.NDArray[np.int64]

_LEAST: Final = -(2**63)
_GREATEST: Final = 2**63 - 1
_SECOND: Final = 10**9
_DAY_S: Final = 86_400
_DAY: Final = _DAY_S * _SECOND
_EPOCH_DAYS: Final = EPOCH_UNIX_NS // _DAY
_EPOCH_MONTHS: Final = (2001 - 1970) * 12
_BEYOND: Final = "a window starts or ends outside the range of int64 ns"
_CALENDAR: Final = re.compile(r"([1-9][0-9]{0,3})(mo|y)")


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
        months = Months(int(calendar[1]) * (12 if calendar[2] == "y" else 1))
        return months if tz is None else LocalGrid(months, zone_of(tz))
    length = duration_ns(every)
    if not 0 < length < 2**62:
        raise QueryError(f"resample({every!r}): a window must be longer than 0 and shorter than 146 years")
    begin = 0 if origin is None else to_ns(origin)
    if tz is None:
        return Lengths(length, begin % length)
    zone = zone_of(tz)
    return LocalGrid(Lengths(length, 0 if origin is None else (begin + _offset(zone, begin // _SECOND)) % length), zone)


@attrs.frozen
class Lengths:
    """A grid of windows of `every` ns, one of which starts at `origin`, with `0 <= origin < every`."""

    every: int
    origin: int

    def starts(self, times: Times) -> Times:
        starts = times - self.origin if self.origin else times
        starts = np.floor_divide(starts, self.every)
        starts *= self.every
        if self.origin:
            starts += self.origin
        if len(times) and times.min() < _LEAST + self.every + self.origin:
            _check_starts(starts, times)
        return starts

    def ends(self, starts: Times) -> Times:
        ends: Times = starts + np.int64(self.every)
        ends[ends < starts] = _GREATEST
        return ends

    def edges(self, first: int, last: int) -> Times:
        edges: Times = first + np.arange((last - first) // self.every + 1) * np.int64(self.every)
        return edges

    def most(self, first: int, last: int) -> int:
        return (last - first) // self.every + 1


@attrs.frozen
class Months:
    """A grid of windows of `months` calendar months, counted from January 2001."""

    months: int

    @property
    def every(self) -> int:
        """An upper bound of the length, in ns."""
        return self.months * 31 * _DAY

    def starts(self, times: Times) -> Times:
        return self._midnights(self._places(times))

    def ends(self, starts: Times) -> Times:
        return self._midnights(self._places(starts) + 1)

    def edges(self, first: int, last: int) -> Times:
        begin, end = self._places(np.array([first, last], np.int64)).tolist()
        return self._midnights(np.arange(begin, end + 1))

    def most(self, first: int, last: int) -> int:
        return (last - first) // (self.months * 28 * _DAY) + 1

    def _places(self, times: Times) -> Times:
        days = (times // _DAY + _EPOCH_DAYS).astype("M8[D]")
        places: Times = (days.astype("M8[M]").astype(np.int64) - _EPOCH_MONTHS) // self.months
        return places

    def _midnights(self, places: Times) -> Times:
        months = (places * self.months + _EPOCH_MONTHS).astype("M8[M]")
        days: Times = months.astype("M8[D]").astype(np.int64) - _EPOCH_DAYS
        if len(days) and (int(days.max()) > 2**63 // _DAY - 2 or int(days.min()) < -(2**63) // _DAY + 2):
            raise QueryError(_BEYOND)
        return days * _DAY


class LocalGrid:
    """A grid in the local time of a zone.

    A period lies between two changes of the zone's offset. Within it, a window starts where one of `local` does. For each
    period, the grid knows where its first window starts (`_firsts`), and the start of the window before that one, which
    extends into the period (`_carried`).

    Args:
        local: the windows in local time, which counts ns since 2001-01-01 as the clock shows them.
        zone: the time zone.
    """

    def __init__(self, local: Lengths | Months, zone: dt.tzinfo) -> None:
        self._local = local
        self._zone = zone
        self._covered: tuple[int, int] | None = None
        self._changes = self._offsets = self._firsts = self._carried = self._nexts = np.empty(0, np.int64)

    def starts(self, times: Times) -> Times:
        if not len(times):
            return times
        low, high = int(times.min()), int(times.max())
        self._cover(low, high)
        at = self._periods(np.array([low, high], np.int64))
        at = at[0] if at[0] == at[1] else self._periods(times)
        offsets, firsts = self._offsets[at], self._firsts[at]
        begun = np.maximum(self._local.starts(times + offsets) - offsets, firsts)
        starts = np.where(times >= firsts, begun, self._carried[at])
        _check_starts(starts, times)
        return starts

    def ends(self, starts: Times) -> Times:
        if not len(starts):
            return starts
        self._cover(int(starts.min()), int(starts.max()))
        at = self._periods(starts)
        offsets = self._offsets[at]
        ends = self._local.ends(self._local.starts(starts + offsets)) - offsets
        changes, nexts = (np.append(each[1:], _GREATEST)[at] for each in (self._changes, self._nexts))
        return np.where(ends >= changes, nexts, ends)

    def edges(self, first: int, last: int) -> Times:
        self._cover(first, last)
        begin, end = self._periods(np.array([first, last], np.int64)).tolist()
        parts = []
        for at in range(begin, end + 1):
            offset, least = int(self._offsets[at]), int(self._firsts[at])
            low = max(first, least)
            high = min(last, int(self._changes[at + 1]) - 1) if at + 1 < len(self._changes) else last
            if low <= high:
                limits = self._local.starts(np.array([low + offset, high + offset], np.int64)).tolist()
                parts.append(np.unique(np.maximum(self._local.edges(*limits) - offset, low)))
        return np.concatenate(parts)

    def most(self, first: int, last: int) -> int:
        return self._local.most(first, last) + 2 * len(self._changes)

    def _periods(self, times: Times) -> npt.NDArray[np.intp]:
        found: npt.NDArray[np.intp] = np.searchsorted(self._changes, times, "right") - 1
        return np.maximum(found, 0)

    def _cover(self, low: int, high: int) -> None:
        """Computes the periods from a window before `low` to a window after `high`."""
        if self._covered is not None:
            if self._covered[0] <= low and high <= self._covered[1]:
                return
            low, high = min(low, self._covered[0]), max(high, self._covered[1])
        margin = 2 * self._local.every + 2 * _DAY
        if low - margin < _LEAST or high + margin > _GREATEST:
            raise QueryError(_BEYOND)
        changes, offsets = _offsets(self._zone, low - margin, high + margin)
        self._covered = low, high
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
        columns = (changes, offsets, firsts, carried, nexts)
        arrays = (np.array(each, np.int64) for each in columns)
        self._changes, self._offsets, self._firsts, self._carried, self._nexts = arrays

    def _first(self, change: int, before: int, after: int) -> int:
        """The start of the first window at or after a change of the offset from `before` to `after`."""
        if after > before:
            return max(self._ceil(change + before) - after, change)
        again = isinstance(self._local, Lengths) and (before - after) % self._local.every == 0
        return self._ceil(change + (after if again else before)) - after

    def _floor(self, local: int) -> int:
        return int(self._local.starts(np.array([local], np.int64))[0])

    def _ceil(self, local: int) -> int:
        floored = self._floor(local)
        return local if floored == local else int(self._local.ends(np.array([floored], np.int64))[0])


def _offsets(zone: dt.tzinfo, low: int, high: int) -> tuple[list[int], list[int]]:
    """The offsets of a zone from UTC between two times: the times since which each offset applies, the first one within a
    second of `low`; and the offsets, in ns."""
    at, end = -(-low // _SECOND), high // _SECOND
    changes, offsets = [at], [_offset(zone, at)]
    while at < end:
        later = min(at + _DAY_S, end)
        offset = _offset(zone, later)
        if offset != offsets[-1]:
            before, after = at, later  # finds the first second that has the new offset
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (before, middle) if _offset(zone, middle) == offset else (middle, after)
            changes.append(after)
            offsets.append(offset)
        at = later
    return [change * _SECOND for change in changes], offsets


def _offset(zone: dt.tzinfo, seconds: int) -> int:
    """The offset of a zone from UTC in ns, at a time in seconds since 2001."""
    offset = (EPOCH + dt.timedelta(seconds=seconds)).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // dt.timedelta(microseconds=1) * 1000


def _check_starts(starts: Times, times: Times) -> None:
    if (starts > times).any():
        raise QueryError("a record is in a window that starts before the range of int64 ns")
