"""Parses ranges as users type them: `2026-11-01..2026-11-02`, `-15m`, `4711,4712`, `1..10`.

Rules kept here:

* A range is half-open: it includes the lower end but not the upper.
* A time without an offset is local time in the command's time zone, UTC by default. A local time that occurs twice or never
  is refused.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Final, TypeVar

from tsmodel.cli.failures import UsageError
from tsmodel.errors import TimestampError
from tsmodel.keys import LIMITS
from tsmodel.timestamps import duration_ns, now_ns, to_ns

__all__ = ["Ids", "Span", "ids", "point", "span"]

T = TypeVar("T")

Span = tuple[int | None, int | None]
"""Start and end, ns since 2001; None for an open end."""

Ids = tuple[list[int], list[tuple[int, int]]]
"""Values, and half-open ranges."""

_PERIOD: Final = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
"""A year, a month or a day."""
_UNPADDED: Final = re.compile(r"(\d{4})([-/.])(\d{1,2})(?:\2(\d{1,2}))?(?:[T ](\d{1,2}):(\d{2})(.*))?", re.ASCII)
_AGO: Final = re.compile(r"-(?=\d)(?:\d+(?:ms|us|ns|w|d|h|m|s))+", re.ASCII)
_LOCAL: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)
_EXAMPLES: Final = "write 2026-11-01..2026-11-02, 2026-11-01T08:00.., 2026-11-01, today, or -15m"


def span(text: str, zone: dt.tzinfo) -> Span:
    """The time range for a text: `A..B`, `A..`, `..B`; a day, month or year, `today`, `yesterday`; or `-15m`, from then."""
    low, dots, high = text.strip().partition("..")
    if dots:
        if not low and not high:
            raise UsageError(f"{text!r} has no end; {_EXAMPLES}")
        start, end = (point(each, zone) if each else None for each in (low.strip(), high.strip()))
        if start is not None and end is not None and start >= end:
            raise UsageError(f"{text!r} is empty: it ends where it begins, or before")
        return start, end
    low = low.strip()
    if _AGO.fullmatch(low):
        return point(low, zone), None
    days = _days(low, zone)
    if days is not None:
        return _midnight(days[0], zone), _midnight(days[1], zone)
    point(low, zone)  # raises if it is not a time
    raise UsageError(f"{text!r} is a point in time, not a range; {_EXAMPLES}")


def point(text: str, zone: dt.tzinfo) -> int:
    """The time for a text, ns since 2001: ISO 8601, the start of a day, month or year, `now`, `-15m` (ago), or ns."""
    if text == "now":
        return now_ns()
    if _AGO.fullmatch(text):
        return now_ns() - _made(lambda: duration_ns(text[1:]), text)
    days = _days(text, zone)
    if days is not None:
        return _midnight(days[0], zone)
    if _INTEGER.fullmatch(text):
        return _made(lambda: to_ns(int(text)), text)
    if nearest := _padded(text):
        raise UsageError(f"{text!r} is not a time; did you mean {nearest}?")
    try:
        return to_ns(text)
    except TimestampError as error:
        if re.search(r"(?:Z|[+-]\d{2}:?\d{2})$", text):
            raise UsageError(f"{error}; {_EXAMPLES}") from None
    return _local(text, zone)


def ids(text: str, name: str) -> Ids:
    """Values of a key component: `4711`, `4711,4712`, `1..10`, and these with commas between them."""
    values: list[int] = []
    ranges: list[tuple[int, int]] = []
    limits = LIMITS[name]
    for part in text.split(","):
        low, dots, high = (each.strip() for each in part.partition(".."))
        ends = (low or str(limits.least), high or str(limits.bound)) if dots and (low or high) else (low,)
        if not all(_INTEGER.fullmatch(each) for each in ends):
            raise UsageError(f"--{name} {text!r}: {part!r} is not an integer; write 4711, 4711,4712 or 1..10")
        numbers = [int(each) for each in ends]
        if any(not limits.least <= each <= limits.bound for each in numbers):
            raise UsageError(f"--{name} {text!r}: {name} is {limits.least} to {limits.bound - 1}")
        if len(numbers) == 1:
            values.append(numbers[0])
        elif numbers[0] < numbers[1]:
            ranges.append((numbers[0], numbers[1]))
        else:
            raise UsageError(f"--{name} {part!r} is empty: it ends where it begins, or before")
    return values, ranges


def _days(text: str, zone: dt.tzinfo) -> tuple[dt.date, dt.date] | None:
    """The first day of a day, month or year, and the first day after it; None if the text is none of these."""
    if text in ("today", "yesterday"):
        day = dt.datetime.now(zone).date() - dt.timedelta(days=text == "yesterday")
        return day, day + dt.timedelta(days=1)
    found = _PERIOD.fullmatch(text)
    if found is None:
        return None
    year, month, day_of_month = (None if part is None else int(part) for part in found.groups())
    first = _made(lambda: dt.date(year or 0, month or 1, day_of_month or 1), text)
    if day_of_month is not None:
        return first, _made(lambda: first + dt.timedelta(days=1), text)
    if month is not None:
        return first, _made(lambda: dt.date(first.year + first.month // 12, first.month % 12 + 1, 1), text)
    return first, _made(lambda: first.replace(year=first.year + 1), text)


def _padded(text: str) -> str | None:
    """The ISO form of a date whose parts lack zeros or hyphens: `2026-3` becomes `2026-03`."""
    found = _UNPADDED.fullmatch(text)
    if found is None:
        return None
    year, _, month, day, hour, minute, rest = found.groups()
    made = "-".join([year, month.zfill(2), *([day.zfill(2)] if day else [])])
    made += f"T{hour.zfill(2)}:{minute}{rest}" if hour and day else ""
    return made if made != text.replace(" ", "T") else None


def _midnight(day: dt.date, zone: dt.tzinfo) -> int:
    return _made(lambda: to_ns(dt.datetime.combine(day, dt.time(), zone).astimezone(dt.timezone.utc)), str(day))


def _local(text: str, zone: dt.tzinfo) -> int:
    """A time without an offset."""
    full = text if re.search(r"[T ]\d{2}:", text) else f"{text}:00" if re.search(r"[T ]\d{2}$", text) else text
    if not _LOCAL.fullmatch(full):
        raise UsageError(f"{text!r} is not a time; {_EXAMPLES}")
    utc = _made(lambda: to_ns(f"{full}Z"), text)
    naive = dt.datetime(2001, 1, 1) + dt.timedelta(seconds=utc // 10**9)  # noqa: DTZ001 - by the clocks of the zone
    offsets = {naive.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)}
    if len(offsets) != 1:
        raise UsageError(
            f"{text!r}: the clocks show that twice or never in this time zone; give it an offset, such as +01:00"
        )
    offset = offsets.pop() or dt.timedelta()
    return _made(lambda: to_ns(utc - (offset.days * 86_400 + offset.seconds) * 10**9), text)


def _made(make: Callable[[], T], text: str) -> T:
    try:
        return make()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a time: {error}; {_EXAMPLES}") from None
