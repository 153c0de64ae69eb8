"""Windows of capture time: where each begins and ends, by fixed lengths, calendars and the clocks of a time zone.

Rules kept here:

* Windows are half-open, and every time lies in exactly one.
* By the clocks of a time zone, windows begin where the clock shows a multiple of their length. When the clock is put back,
  the times it shows again begin no second window, unless windows divide the shift. When it is put forward, a window whose
  begin is skipped begins with the shift.
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
    """The time zone of a name.

    Raises:
        QueryError: when there is none here.
    """
    try:
        return _zone_of(tz)
    except TimestampError as error:
        raise QueryError(str(error)) from error


def day_of(date: dt.date | str, tz: str | dt.tzinfo) -> tuple[int, int]:
    """Begin and end of a day, ns since 2001: midnight, and the midnight after it.

    Raises:
        QueryError: when there is no such day or time zone.
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


_SECOND: Final = 10**9
_DAY_S: Final = 86_400
_LEAST_S: Final = -(2**63) // _SECOND + _DAY_S
_GREATEST_S: Final = 2**63 // _SECOND - _DAY_S


class Clock:
    """The clocks of a time zone.

    Args:
        zone: the zone.
    """

    def __init__(self, zone: dt.tzinfo) -> None:
        self._zone = zone

    def offset(self, time: int) -> int:
        """The clock's offset from UTC, in ns, at a time (ns since 2001)."""
        return self._offset(min(max(time // _SECOND, _LEAST_S), _GREATEST_S))

    def offsets(self, low: int, high: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The clock's offsets from UTC, and when each begins.

        Args:
            low: start of the times that matter, ns since 2001.
            high: their end.

        Returns:
            Two arrays of shape (n,), in ns: times ascending, the first one at or before `low`; offsets from each on.
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
        """The first second with the offset of `after`."""
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
    """Times some length later, or the last one that there is."""
    ends: Times = starts + np.int64(every)
    ends[ends < starts] = 2**63 - 1
    return ends


class Multiples(Protocol):
    """Multiples of a length on the axis of a clock: ns that it shows, since 2001."""

    @property
    def longest(self) -> int:
        """The length, or more, in ns."""
        ...

    def floor(self, local: Times) -> Times:
        """The multiple at or before each time."""
        ...

    def after(self, multiples: Times) -> Times:
        """The multiple after each multiple."""
        ...

    def between(self, first: int, last: int) -> Times:
        """All multiples from one to another."""
        ...

    def divides(self, shift: int) -> bool:
        """Whether a shift is a whole number of lengths."""
        ...


@attrs.frozen
class Lengths:
    """See `Multiples`: multiples of a length, from `origin` on."""

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
    """See `Multiples`: midnights at which some calendar months begin, January 2001 among them."""

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
            raise QueryError("a window begins or ends at a time that int64 ns cannot express")
        return days * DAY


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

    Between two changes of the clock, a window begins with each multiple of the length. For each such period it is known
    where the first window begins in it, and where the window before that one began, which reaches into the period.

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
        """Computes the clock's changes from a window before some times to a window after them."""
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
