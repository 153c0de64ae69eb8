"""Times and durations as integers: nanoseconds since 2001-01-01T00:00:00Z, the time base of `cap` and `acq`.

Rules kept here:

* Integer arithmetic only: no conversion goes through a float.
* Every result fits int64, which spans 1708 to 2293; `datetime` can hold all of these.
* Nothing is guessed: a time without an offset from UTC is refused, and the error says how to add one. The exception is
  `numpy.datetime64`, which has no offsets and counts as UTC, as in NumPy itself.
* Leap seconds are ignored, as TStorage and Unix time ignore them: 2001 is 978 307 200 s after 1970.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from typing import Final, TypeAlias

import numpy as np

from tsmodel.errors import TimestampError

__all__ = [
    "EPOCH",
    "EPOCH_UNIX_NS",
    "DurationLike",
    "TimeLike",
    "as_python",
    "duration_ns",
    "from_unix_ns",
    "now_ns",
    "to_datetime",
    "to_datetime64",
    "to_iso",
    "to_ns",
    "to_unix_ns",
    "zone_of",
]

TimeLike: TypeAlias = int | str | dt.datetime | np.datetime64
"""A point in time; see `to_ns`."""

DurationLike: TypeAlias = int | str | dt.timedelta | np.timedelta64
"""A length of time; see `duration_ns`."""

EPOCH: Final = dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc)
"""The point in time that is 0."""

EPOCH_UNIX_NS: Final = 978_307_200 * 10**9
"""The point in time that is 0, in nanoseconds since 1970-01-01T00:00:00Z."""

_LEAST: Final = -(2**63)
_GREATEST: Final = 2**63 - 1
_SECOND: Final = 10**9
_NEAR: Final = 10**15
"""About eleven days: times this close to 2001 are rarely real."""
UNITS_NS: Final = {
    "w": 604_800 * _SECOND,
    "d": 86_400 * _SECOND,
    "h": 3_600 * _SECOND,
    "m": 60 * _SECOND,
    "s": _SECOND,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}
"""Nanoseconds per unit, as durations spell them, greatest first."""
_NUMPY_UNITS: Final = {**UNITS_NS, "W": UNITS_NS["w"], "D": UNITS_NS["d"]}
_NUMPY_FRACTIONS: Final = {"ps": 10**3, "fs": 10**6, "as": 10**9}

_ISO = re.compile(
    r"(?P<date>(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2}))"
    r"(?P<time>[T ](?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?)?"
    r"(?P<offset>Z|(?P<sign>[+-])(?P<offset_hour>\d{2})(?::?(?P<offset_minute>\d{2}))?)?",
    re.ASCII,
)
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+){unit})?" for unit in UNITS_NS), re.ASCII)


def now_ns() -> int:
    """The current time by this machine's clock, ns since 2001-01-01T00:00:00Z."""
    return time.time_ns() - EPOCH_UNIX_NS


def to_ns(value: TimeLike) -> int:
    """Converts a point in time to nanoseconds since 2001-01-01T00:00:00Z; exact, always an int64.

    >>> to_ns("2001-01-01T01:00:00.000000001+01:00")
    1

    Args:
        value: an int of the same unit and base; an aware `datetime`; ISO 8601 text with an offset or Z and at most 9
            fractional digits; or a `numpy.datetime64` of any unit, which counts as UTC.

    Raises:
        TimestampError: when the offset from UTC is missing, the text is not a time, the time is not a whole number of
            nanoseconds or lies outside int64 (1708 to 2293), or `value` is of another type.
    """
    if isinstance(value, str):
        ns = _parse(value)
    elif isinstance(value, dt.datetime):
        ns = _datetime_ns(value)
    elif isinstance(value, np.datetime64):
        ns = _datetime64_ns(value)
    else:
        ns = _integer(value, "a point in time is an int, aware datetime, ISO 8601 text or numpy.datetime64")
    return _within_int64(ns, value)


def to_datetime(ns: int, tz: dt.tzinfo = dt.timezone.utc) -> dt.datetime:
    """The time as an aware datetime in `tz`, rounded down to microseconds.

    Rounding down preserves the order of times, before 2001 too. `to_iso` and `to_datetime64` keep the nanoseconds.

    Raises:
        TimestampError: when `ns` is not an int64.
    """
    ns = _within_int64(ns, ns)
    return (EPOCH + dt.timedelta(microseconds=ns // 1000)).astimezone(tz)


def to_iso(ns: int) -> str:
    """The time as ISO 8601 text in UTC; exact, with 0, 3, 6 or 9 fractional digits, as few as possible.

    >>> to_iso(1_500_000_000)
    '2001-01-01T00:00:01.500Z'

    Raises:
        TimestampError: when `ns` is not an int64.
    """
    seconds, fraction = divmod(_within_int64(ns, ns), _SECOND)
    whole = (EPOCH + dt.timedelta(seconds=seconds)).isoformat()[:19]
    digits = f"{fraction:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{whole}.{digits}Z" if digits else f"{whole}Z"


def as_python(ns: object) -> str:
    """A time as a Python expression, for the `repr` of objects; for times near 2001, as in test data, the int.

    >>> as_python(794016000000000000), as_python(5)
    ("to_ns('2026-03-01T00:00:00Z')", '5')
    """
    if type(ns) is not int or abs(ns) < _NEAR or not _LEAST <= ns <= _GREATEST:
        return repr(ns)
    return f"to_ns({to_iso(ns)!r})"


def to_datetime64(ns: int) -> np.datetime64:
    """The time as `datetime64[ns]`, in UTC; exact.

    Raises:
        TimestampError: when the time is after 2262-04-11T23:47:16.854775807Z, the last time that `datetime64[ns]` can
            hold, or `ns` is not an int64.
    """
    unix_ns = to_unix_ns(_within_int64(ns, ns))
    if unix_ns > _GREATEST:
        raise TimestampError(f"{to_iso(ns)} is after 2262-04-11, where numpy.datetime64[ns] ends; use to_iso instead")
    return np.datetime64(unix_ns, "ns")


def to_unix_ns(ns: int) -> int:
    """Converts nanoseconds since 2001 to nanoseconds since 1970, which exceed int64 from 2262 on."""
    return ns + EPOCH_UNIX_NS


def from_unix_ns(unix_ns: int) -> int:
    """Converts nanoseconds since 1970 to nanoseconds since 2001.

    Raises:
        TimestampError: when the result is not an int64.
    """
    return _within_int64(unix_ns - EPOCH_UNIX_NS, f"{unix_ns} ns since 1970")


def zone_of(tz: str | dt.tzinfo) -> dt.tzinfo:
    """The time zone of a name such as "Europe/Warsaw"; a tzinfo is returned as it is.

    Raises:
        TimestampError: when this machine has no time zone of that name.
    """
    if isinstance(tz, dt.tzinfo):
        return tz
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        raise TimestampError(
            f'there is no time zone {tz!r} here; use a name such as "Europe/Warsaw" (if the system has no time zones, '
            "install the package tzdata)"
        ) from error


def duration_ns(value: DurationLike) -> int:
    """Converts a length of time to nanoseconds; exact, always an int64, negative if `value` is.

    >>> duration_ns("2h30m")
    9000000000000

    Args:
        value: an int of nanoseconds; text of whole numbers with the units w d h m s ms us ns, greatest unit first; a
            `timedelta`; or a `numpy.timedelta64` of any unit except months and years, whose lengths vary.

    Raises:
        TimestampError: when the text is not a duration, the duration is not a whole number of nanoseconds or exceeds
            int64 (292 years), or `value` is of another type.
    """
    if isinstance(value, str):
        ns = _parse_duration(value)
    elif isinstance(value, dt.timedelta):
        ns = timedelta_ns(value)
    elif isinstance(value, np.timedelta64):
        ns = _timedelta64_ns(value)
    else:
        ns = _integer(value, 'a duration is an int of nanoseconds, text such as "15m", timedelta or numpy.timedelta64')
    if not _LEAST <= ns <= _GREATEST:
        raise TimestampError(f"{_shown(value)} is longer than int64 nanoseconds can hold, which is 292 years")
    return ns


def _within_int64(ns: int, value: object) -> int:
    if not _LEAST <= ns <= _GREATEST:
        raise TimestampError(
            f"{_shown(value)} is outside int64 nanoseconds since 2001, which span {to_iso(_LEAST)} to {to_iso(_GREATEST)}"
        )
    return ns


def _shown(value: object) -> str:
    try:
        return str(value)
    except OverflowError:  # NumPy cannot print all of its own times
        return f"a {type(value).__name__}"


def _integer(value: object, expected: str) -> int:
    # NumPy counts timedelta64 as an integer, and Python counts bool as one; neither is valid here.
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64):
        return int(value)
    hint = "; give a date a time of day and an offset" if isinstance(value, dt.date) else ""
    raise TimestampError(f"{expected}, not {value!r} ({type(value).__name__}){hint}")


def _datetime_ns(value: dt.datetime) -> int:
    if value.tzinfo is None or value.utcoffset() is None:
        raise TimestampError(
            f"{value!r} is naive: it has no offset from UTC; use .replace(tzinfo=datetime.timezone.utc) if it is in UTC, "
            "or .astimezone() if it is in this machine's local time"
        )
    return timedelta_ns(value - EPOCH)


def timedelta_ns(value: dt.timedelta) -> int:
    """Converts a timedelta to nanoseconds, exactly."""
    # pandas.Timedelta is a timedelta that keeps its last three digits in a separate attribute.
    finest: int = getattr(value, "nanoseconds", 0)
    return (value.days * 86_400 + value.seconds) * _SECOND + value.microseconds * 1000 + finest


def _parse(text: str) -> int:
    match = _ISO.fullmatch(text)
    if match is None:
        raise TimestampError(f'{text!r} is not ISO 8601 such as "2026-01-31T12:34:56.789Z" or "2026-01-31T12:34+01:00"')
    if match["time"] is None:
        raise TimestampError(f'{text!r} is a date; add the time of day and the offset: "{match["date"]}T00:00:00Z"')
    if match["offset"] is None:
        raise TimestampError(f'{text!r} has no offset from UTC; end it with Z for UTC, or with an offset such as "+01:00"')
    if match["second"] == "60":
        raise TimestampError(f"{text!r} is a leap second, which this time base does not count; use :59 or the next :00")
    fraction = match["fraction"] or ""
    if len(fraction) > 9:
        raise TimestampError(f"{text!r} has {len(fraction)} fractional digits; at most 9 (nanoseconds) are possible")
    year, month, day, hour, minute, second, offset_hour, offset_minute = (
        int(digits or 0)
        for digits in match.group("year", "month", "day", "hour", "minute", "second", "offset_hour", "offset_minute")
    )
    if offset_hour > 23 or offset_minute > 59:
        raise TimestampError(f"{text!r} has an offset of more than 23:59")
    try:
        as_utc = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.timezone.utc)
    except ValueError as error:
        raise TimestampError(f"{text!r} is not a time: {error}") from error
    offset = offset_hour * UNITS_NS["h"] + offset_minute * UNITS_NS["m"]
    east = -offset if match["sign"] == "-" else offset
    return timedelta_ns(as_utc - EPOCH) + int(fraction.ljust(9, "0")) - east


def _parse_duration(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise TimestampError(
            f'{text!r} is not a duration such as "15m", "250ms" or "2h30m": whole numbers with units '
            f"{' '.join(UNITS_NS)}, greatest unit first"
        )
    return sum(int(count) * UNITS_NS[unit] for unit, count in match.groupdict(default="0").items())


def _datetime64_ns(value: np.datetime64) -> int:
    if np.isnat(value):
        raise TimestampError("NaT is not a point in time; drop or fill it first")
    unit, multiple = np.datetime_data(value.dtype)
    count = int(value.astype(np.int64)) * multiple
    if unit in ("Y", "M"):
        years, month = divmod(count * 12 if unit == "Y" else count, 12)
        try:
            first = dt.date(1970 + years, month + 1, 1)
        except (ValueError, OverflowError) as error:
            raise TimestampError(f"{_shown(value)} is outside int64 nanoseconds since 2001") from error
        return (first.toordinal() - EPOCH.toordinal()) * UNITS_NS["d"]
    return _scaled(count, unit, value) - EPOCH_UNIX_NS


def _timedelta64_ns(value: np.timedelta64) -> int:
    if np.isnat(value):
        raise TimestampError("NaT is not a duration; drop or fill it first")
    unit, multiple = np.datetime_data(value.dtype)
    if unit in ("Y", "M", "generic"):
        kind = "no unit" if unit == "generic" else "a unit whose length varies"
        raise TimestampError(f"{value!r} has {kind}; convert it to days or smaller first")
    return _scaled(int(value.astype(np.int64)) * multiple, unit, value)


def _scaled(count: int, unit: str, value: object) -> int:
    """Converts `count` NumPy units to nanoseconds."""
    if unit in _NUMPY_UNITS:
        return count * _NUMPY_UNITS[unit]
    ns, rest = divmod(count, _NUMPY_FRACTIONS[unit])
    if rest:
        raise TimestampError(f"{_shown(value)} is not a whole number of nanoseconds")
    return ns
