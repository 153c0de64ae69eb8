"""Days by the clocks of a time zone."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tsmodel.errors import QueryError
from tsmodel.timestamps import to_ns

__all__ = ["day_of"]


def day_of(date: dt.date | str, tz: str | dt.tzinfo) -> tuple[int, int]:
    """Begin and end of a day, ns since 2001: midnight, and the midnight after it.

    Raises:
        QueryError: when there is no such day or time zone.
    """
    try:
        zone = ZoneInfo(tz) if isinstance(tz, str) else tz
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise QueryError(
            f'there is no time zone {tz!r} here; names are such as "Europe/Warsaw" (where the system has none, the package '
            "tzdata brings them)"
        ) from error
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
