"""Times, under the names of the official client: seconds or nanoseconds, since 1970 (unix) or since 2001 (tstorage).

Rules kept here:

* Nanoseconds are integers and exact, before 1970 too. Only the functions in seconds know floats.
* As in the official client a naive `datetime` is this machine's local time. Everything else in tsmodel refuses it.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Final, TypeVar

import attrs
from typing_extensions import Self

from tsmodel.timestamps import EPOCH_UNIX_NS, now_ns

__all__ = ["Tstoragedatetime", "from_unix", "from_unix_ns", "now_ns", "to_unix", "to_unix_ns"]

Number = TypeVar("Number", int, float)

_SECOND: Final = 10**9
_EPOCH_UNIX: Final = EPOCH_UNIX_NS // _SECOND
_UNIX: Final = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def to_unix(timestamp: Number) -> Number:
    """Seconds since 1970 of seconds since 2001."""
    return timestamp + _EPOCH_UNIX


def to_unix_ns(timestamp: int) -> int:
    """Nanoseconds since 1970 of nanoseconds since 2001."""
    return timestamp + EPOCH_UNIX_NS


def from_unix(timestamp: Number) -> Number:
    """Seconds since 2001 of seconds since 1970."""
    return timestamp - _EPOCH_UNIX


def from_unix_ns(timestamp: int) -> int:
    """Nanoseconds since 2001 of nanoseconds since 1970."""
    return timestamp - EPOCH_UNIX_NS


@attrs.frozen
class Tstoragedatetime:
    """A `datetime` with all nine digits of its second.

    Attributes:
        datetime: the time. A naive one is this machine's local time; its microseconds are set from `nanoseconds`.
        nanoseconds: the fraction of the second, 0 to 999,999,999. Default: the microseconds of `datetime`.

    Raises:
        ValueError: when `nanoseconds` is not a fraction of a second.
    """

    datetime: dt.datetime
    nanoseconds: int = attrs.field()

    @nanoseconds.default
    def _fraction(self) -> int:
        return self.datetime.microsecond * 1000

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.nanoseconds < _SECOND:
            raise ValueError(f"nanoseconds is {self.nanoseconds}; it is the fraction of a second, 0 to {_SECOND - 1}")
        object.__setattr__(self, "datetime", self.datetime.replace(microsecond=self.nanoseconds // 1000))

    @classmethod
    def from_unix_ns(cls, timestamp: int) -> Self:
        """The time, in UTC, that is `timestamp` nanoseconds after 1970.

        Raises:
            OverflowError: when no `datetime` can hold it.
        """
        seconds, nanoseconds = divmod(timestamp, _SECOND)
        return cls(_UNIX + dt.timedelta(seconds=seconds), nanoseconds)

    @classmethod
    def from_unix(cls, timestamp: float) -> Self:
        """The time, in UTC, that is `timestamp` seconds after 1970, to the nearest nanosecond."""
        whole = math.floor(timestamp)
        return cls.from_unix_ns(whole * _SECOND + round((timestamp - whole) * _SECOND))

    @classmethod
    def from_tstorage_ns(cls, timestamp: int) -> Self:
        """The time, in UTC, that is `timestamp` nanoseconds after 2001."""
        return cls.from_unix_ns(to_unix_ns(timestamp))

    @classmethod
    def from_tstorage(cls, timestamp: float) -> Self:
        """The time, in UTC, that is `timestamp` seconds after 2001, to the nearest nanosecond."""
        whole = math.floor(timestamp)
        return cls.from_tstorage_ns(whole * _SECOND + round((timestamp - whole) * _SECOND))

    def to_unix_ns(self) -> int:
        """Nanoseconds since 1970."""
        passed = self.datetime.replace(microsecond=0).astimezone(dt.timezone.utc) - _UNIX
        return (passed.days * 86_400 + passed.seconds) * _SECOND + self.nanoseconds

    def to_unix(self) -> float:
        """Seconds since 1970."""
        return self.to_unix_ns() / _SECOND

    def to_tstorage_ns(self) -> int:
        """Nanoseconds since 2001."""
        return from_unix_ns(self.to_unix_ns())

    def to_tstorage(self) -> float:
        """Seconds since 2001."""
        return self.to_tstorage_ns() / _SECOND
