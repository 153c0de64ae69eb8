"""Times under the official client's names: seconds or nanoseconds since 1970 (unix) or since 2001 (tstorage).

Rules kept here:

* Nanoseconds are exact integers, also before 1970. Only the functions in seconds use floats.
* As in the official client, a naive `datetime` is in this machine's local time. The rest of tsmodel refuses it.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from dataclasses import dataclass
from typing import Final, TypeVar

from typing_extensions import Self

from tsmodel.timestamps import EPOCH_UNIX_NS, now_ns

__all__ = ["Tstoragedatetime", "from_unix", "from_unix_ns", "now", "now_ns", "to_unix", "to_unix_ns"]

Number = TypeVar("Number", int, float)

_SECOND: Final = 10**9
_EPOCH_UNIX: Final = EPOCH_UNIX_NS // _SECOND
_UNIX: Final = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def to_unix(timestamp: Number) -> Number:
    """Converts seconds since 2001 to seconds since 1970."""
    return timestamp + _EPOCH_UNIX


def to_unix_ns(timestamp: int) -> int:
    """Converts nanoseconds since 2001 to nanoseconds since 1970."""
    return timestamp + EPOCH_UNIX_NS


def from_unix(timestamp: Number) -> Number:
    """Converts seconds since 1970 to seconds since 2001."""
    return timestamp - _EPOCH_UNIX


def from_unix_ns(timestamp: int) -> int:
    """Converts nanoseconds since 1970 to nanoseconds since 2001."""
    return timestamp - EPOCH_UNIX_NS


def now() -> float:
    """The current time in seconds since 2001."""
    return from_unix(time.time())


@dataclass(order=True)
class Tstoragedatetime:
    """A `datetime` with nanosecond precision.

    Attributes:
        datetime: the time to the microsecond. A naive one is in this machine's local time.
        nanoseconds: the remainder below a microsecond, 0 to 999.
    """

    datetime: dt.datetime
    nanoseconds: int = 0

    @classmethod
    def from_unix_ns(cls, timestamp: int, *, tzinfo: dt.tzinfo | None = dt.timezone.utc) -> Self:
        """The time `timestamp` nanoseconds after 1970, in a time zone; naive and local if `tzinfo` is None.

        Raises:
            OverflowError: if no `datetime` can represent it.
        """
        microseconds, nanoseconds = divmod(timestamp, 1000)
        moment = _UNIX + microseconds * _MICROSECOND
        return cls(
            moment.astimezone(tzinfo) if tzinfo is not None else moment.astimezone().replace(tzinfo=None), nanoseconds
        )

    @classmethod
    def from_unix(cls, timestamp: float, *, tzinfo: dt.tzinfo | None = dt.timezone.utc) -> Self:
        """The time `timestamp` seconds after 1970, rounded to the nearest nanosecond."""
        return cls.from_unix_ns(_nanoseconds(timestamp), tzinfo=tzinfo)

    @classmethod
    def from_tstorage_ns(cls, timestamp: int, *, tzinfo: dt.tzinfo | None = dt.timezone.utc) -> Self:
        """The time `timestamp` nanoseconds after 2001."""
        return cls.from_unix_ns(to_unix_ns(timestamp), tzinfo=tzinfo)

    @classmethod
    def from_tstorage(cls, timestamp: float, *, tzinfo: dt.tzinfo | None = dt.timezone.utc) -> Self:
        """The time `timestamp` seconds after 2001, rounded to the nearest nanosecond."""
        return cls.from_tstorage_ns(_nanoseconds(timestamp), tzinfo=tzinfo)

    def to_unix_ns(self) -> int:
        """Nanoseconds since 1970."""
        return (self.datetime.astimezone(dt.timezone.utc) - _UNIX) // _MICROSECOND * 1000 + self.nanoseconds

    def to_unix(self) -> float:
        """Seconds since 1970."""
        return self.to_unix_ns() / _SECOND

    def to_tstorage_ns(self) -> int:
        """Nanoseconds since 2001."""
        return from_unix_ns(self.to_unix_ns())

    def to_tstorage(self) -> float:
        """Seconds since 2001."""
        return self.to_tstorage_ns() / _SECOND


def _nanoseconds(seconds: float) -> int:
    whole = math.floor(seconds)
    return whole * _SECOND + round((seconds - whole) * _SECOND)
