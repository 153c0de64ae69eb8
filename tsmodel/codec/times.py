"""Times, lengths of time and dates, stored as integers.

Rules kept here:

* Integer arithmetic only. What cannot be stored exactly is refused, never rounded.
* `datetime` and `timedelta` know microseconds. A stored value with a finer part is a fault: a `Timestamp` can hold it.
"""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from typing import Any, ClassVar, Final, Literal

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import FieldFault, FixedCodec, Mask, Scope
from tsmodel.codec.scalars import ByteOrder, Scalar, shown
from tsmodel.errors import TimestampError
from tsmodel.timestamps import EPOCH, EPOCH_UNIX_NS, duration_ns, to_ns

__all__ = ["UNITS_NS", "DateCodec", "DateTimeCodec", "DurationCodec", "Resolution", "UnixTimeCodec"]

Resolution = Literal["s", "ms", "us", "ns"]

UNITS_NS: Final[dict[str, int]] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Nanoseconds of each unit that times are stored in."""

_MICROSECOND: Final = dt.timedelta(microseconds=1)
_DAY_NS: Final = 86_400 * 10**9
_FIRST_DAY: Final = dt.date(2001, 1, 1).toordinal()
_MOST_DELTA_US: Final = dt.timedelta.max // dt.timedelta(microseconds=1)
_LEAST_DELTA_US: Final = dt.timedelta.min // dt.timedelta(microseconds=1)


def timedelta_ns(value: dt.timedelta) -> int:
    """Its nanoseconds, exactly."""
    return value.days * _DAY_NS + value.seconds * 10**9 + value.microseconds * 1000


@attrs.frozen
class _TimeCodec(FixedCodec):
    """What all have in common: an integer of some unit.

    Attributes:
        storage: the integer.
    """

    storage: Scalar
    byte_order: ByteOrder = "little"
    zero: ClassVar[object] = 0
    ordered: ClassVar[bool] = True

    @property
    def number(self) -> Scalar:
        return self.storage

    @property
    def code(self) -> str:
        return self.storage.code

    @property
    def align(self) -> int:
        return self.storage.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.storage.dtype(self.byte_order)

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        least, greatest = self._sound
        info = np.iinfo(column.dtype)
        mask = np.zeros(len(column), np.bool_)
        if least > info.min:
            mask |= column < column.dtype.type(least)
        if greatest < info.max:
            mask |= column > column.dtype.type(greatest)
        return mask

    @property
    def _sound(self) -> tuple[int, int]:
        """Least and greatest stored integer that has a value."""
        raise NotImplementedError

    def _check(self, stored: int, what: str) -> None:
        if not self._sound[0] <= stored <= self._sound[1]:
            raise FieldFault(f"{stored} is outside of what a {what} can hold")

    def _incomparable(self, value: object, mend: str) -> FieldFault:
        return FieldFault(f"cannot be compared with {shown(value)}; give {mend}")


@attrs.frozen
class DateTimeCodec(_TimeCodec):
    """An aware `datetime`, read in UTC; stored as ns since 2001-01-01T00:00:00Z."""

    label: ClassVar[str] = "DateTime"
    python: ClassVar[Any] = dt.datetime
    accepts: ClassVar[str] = "an aware datetime from 1708 to 2293"

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        mask: Mask = column % 1000 != 0
        return mask

    def load(self, stored: Any) -> Any:
        if stored % 1000:
            raise FieldFault(
                f"{stored} ns is no whole number of microseconds, which is what a datetime holds: use Timestamp"
            )
        return EPOCH + dt.timedelta(0, 0, stored // 1000)

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(EPOCH)} + {scope.add(dt.timedelta)}(0, 0, {stored} // 1000)"

    def dump_code(self, value: str, scope: Scope) -> str:
        return f"({value} - {scope.add(EPOCH)}) // {scope.add(_MICROSECOND)} * 1000"

    def dump(self, value: Any) -> Any:
        if not isinstance(value, dt.datetime):
            raise self.refused(value)
        if value.utcoffset() is None:
            raise FieldFault(f"{value!r} has no offset from UTC: give it a tzinfo, such as timezone.utc")
        return timedelta_ns(value - EPOCH)

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any time that `to_ns` takes."""
        try:
            return to_ns(value)  # type: ignore[arg-type]
        except TimestampError as error:
            raise self._incomparable(value, f"a time: {error}") from error


@attrs.frozen
class UnixTimeCodec(_TimeCodec):
    """A time as int ns since 2001-01-01T00:00:00Z, as everywhere; stored as units since 1970-01-01T00:00:00Z.

    Attributes:
        resolution: the unit.
    """

    resolution: Resolution = "s"
    python: ClassVar[Any] = int

    @property
    def label(self) -> str:
        return f"UnixTime {self.resolution} in {self.storage.name}"

    @property
    def accepts(self) -> str:
        assert self.storage.limits is not None
        least, greatest = map(self._ns, self.storage.limits)
        return f"an int of ns since 2001 from {least} to {greatest}; to_ns() makes one of a time"

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        return None

    def _ns(self, stored: int) -> int:
        return stored * UNITS_NS[self.resolution] - EPOCH_UNIX_NS

    def load(self, stored: Any) -> Any:
        return self._ns(stored)

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{stored} * {UNITS_NS[self.resolution]} - {EPOCH_UNIX_NS}"

    def dump(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise self.refused(value)
        units, rest = divmod(int(value) + EPOCH_UNIX_NS, UNITS_NS[self.resolution])
        if rest:
            raise FieldFault(f"{value} is no whole number of {self.resolution}: round it first ({rest} ns are over)")
        return units

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any time that `to_ns` takes, or an int of ns beyond int64."""
        try:
            beyond = isinstance(value, int) and not isinstance(value, bool)
            ns = int(value) if beyond else to_ns(value)  # type: ignore[call-overload, arg-type]
        except TimestampError as error:
            raise self._incomparable(value, f"a time: {error}") from error
        return Fraction(ns + EPOCH_UNIX_NS, UNITS_NS[self.resolution])


@attrs.frozen
class DurationCodec(_TimeCodec):
    """A `timedelta`, stored as an integer of units.

    Attributes:
        resolution: the unit.
    """

    resolution: Resolution = "ns"
    python: ClassVar[Any] = dt.timedelta

    @property
    def label(self) -> str:
        return f"Duration {self.resolution} in {self.storage.name}"

    @property
    def accepts(self) -> str:
        return f"a timedelta that {self.storage.name} holds in {self.resolution}"

    @property
    def _unit(self) -> int:
        return UNITS_NS[self.resolution]

    @property
    def _sound(self) -> tuple[int, int]:
        return -(-_LEAST_DELTA_US * 1000 // self._unit), _MOST_DELTA_US * 1000 // self._unit

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        if self.resolution != "ns":
            return super().faulty(column)
        mask: Mask = column % column.dtype.type(1000) != 0 if column.dtype.itemsize > 1 else column != 0
        return mask

    def load(self, stored: Any) -> Any:
        self._check(stored, "timedelta")
        micros, rest = divmod(stored * self._unit, 1000)
        if rest:
            raise FieldFault(f"{stored} ns is no whole number of microseconds, which is what a timedelta holds: use Int64")
        return dt.timedelta(0, 0, micros)

    def load_code(self, stored: str, scope: Scope) -> str:
        micros = f"{stored} // 1000" if self.resolution == "ns" else f"{stored} * {self._unit // 1000}"
        return f"{scope.add(dt.timedelta)}(0, 0, {micros})"

    def dump_code(self, value: str, scope: Scope) -> str:
        if self._unit > 1000:  # a remainder must be seen
            return super().dump_code(value, scope)
        return f"{value} // {scope.add(_MICROSECOND)}" + (" * 1000" if self.resolution == "ns" else "")

    def dump(self, value: Any) -> Any:
        if not isinstance(value, dt.timedelta):
            raise self.refused(value)
        units, rest = divmod(timedelta_ns(value), self._unit)
        if rest:
            raise FieldFault(f"{value} is no whole number of {self.resolution}: round it first")
        return units

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any length of time that `duration_ns` takes; an int is ns."""
        try:
            ns = timedelta_ns(value) if isinstance(value, dt.timedelta) else duration_ns(value)  # type: ignore[arg-type]
        except (TimestampError, TypeError) as error:
            raise self._incomparable(value, 'a timedelta, or text such as "15m"') from error
        return Fraction(ns, self._unit)


@attrs.frozen
class DateCodec(_TimeCodec):
    """A `date`, stored as days since 2001-01-01."""

    label: ClassVar[str] = "Date"
    python: ClassVar[Any] = dt.date
    accepts: ClassVar[str] = "a date (not a datetime)"

    @property
    def _sound(self) -> tuple[int, int]:
        return 1 - _FIRST_DAY, dt.date.max.toordinal() - _FIRST_DAY

    def load(self, stored: Any) -> Any:
        self._check(stored, "date")
        return dt.date.fromordinal(stored + _FIRST_DAY)

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(dt.date.fromordinal)}({stored} + {_FIRST_DAY})"

    def dump(self, value: Any) -> Any:
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            raise self.refused(value)
        return value.toordinal() - _FIRST_DAY

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: a date, or ISO 8601 text of one."""
        try:
            return self.dump(dt.date.fromisoformat(value) if isinstance(value, str) else value)
        except ValueError as error:
            raise self._incomparable(value, "a date") from error
