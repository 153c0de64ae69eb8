"""Time zones, and days by their clocks."""

from __future__ import annotations

import datetime as dt

from tsmodel.errors import QueryError, TimestampError
from tsmodel.timestamps import to_ns
from tsmodel.timestamps import zone_of as _zone_of

__all__ = ["day_of", "zone_of"]


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
