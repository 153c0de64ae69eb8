"""Times and dates: `Timestamp`, `UnixTime`, `DateTime`, `Date`; what they share with `Duration`.

Rules kept here:

* Integer arithmetic only. A value that cannot be stored exactly is rejected, never rounded.
* `datetime` and `timedelta` hold microseconds. A stored value with a finer part is a fault; a `Timestamp` can hold it.
* Times in text are ISO 8601 with an offset. Ints are nanoseconds since 2001-01-01T00:00:00Z. Floats are never times.
* NumPy reads and writes columns of ISO texts, with exactly the results of `to_ns` and `to_iso`. These two handle any text
  that does not have the common form of the column.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import TimestampError
from tsmodel.timestamps import EPOCH, EPOCH_UNIX_NS, UNITS_NS, as_python, timedelta_ns, to_iso, to_ns
from tsmodel.types.codec import Description, FieldCodec, NumberCodec, Scope, described_number
from tsmodel.types.column_facet import check_times, native, of_objects, rescaled, times_given
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.types.integers import INTEGER, Int64
from tsmodel.types.numbers import ScalarCodec, ScalarType, real
from tsmodel.types.scalars import SCALARS, ByteOrder, Scalar, shown
from tsmodel.types.text_facet import Conversion, Spelling

Ints = npt.NDArray[np.int64]

_SECOND: Final = 10**9
_MOST_SECONDS: Final = 9_223_000_000
"""Seconds from 2001 that are within int64 in nanoseconds, whatever the offset."""
_FORM: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,](?P<fraction>\d{1,9}))?(?:Z|[+-](?P<offset>\d{2}:\d{2}))", re.ASCII
)


def ns_of_texts(texts: Sequence[str]) -> list[int]:
    """Applies `to_ns` to each text.

    Raises:
        ValueError: if one of them is not a plain ISO 8601 time with seconds and an offset.
    """
    widths = list(map(len, texts))
    if len(set(widths)) == 1:
        return _of_one_width(texts).tolist()  # type: ignore[no-any-return]
    ns: Any = np.empty(len(texts), np.int64)
    of_text = np.array(widths)
    for width in set(widths):
        (places,) = np.nonzero(of_text == width)
        at: list[int] = places.tolist()
        ns[places] = _of_one_width([texts[place] for place in at])
    return ns.tolist()  # type: ignore[no-any-return]


def _of_one_width(texts: Sequence[str]) -> Ints:
    form = _FORM.fullmatch(texts[0])
    _demand(form is not None)
    assert form is not None
    raw = np.frombuffer("".join(texts).encode("ascii"), np.uint8).reshape(len(texts), -1)
    digits = raw - np.uint8(ord("0"))  # other characters wrap around to more than 9
    is_digit = digits[0] <= 9
    is_same = ~is_digit
    if form["offset"] is not None:
        is_same[-6] = False  # the sign may differ
    _demand((digits[:, is_digit] <= 9).all() and (raw[:, is_same] == raw[0, is_same]).all())
    local = np.ascontiguousarray(raw[:, :19]).view("S19").reshape(-1).astype("M8[s]")  # refuses a 30th of February
    seconds: Ints = local.astype(np.int64) - EPOCH_UNIX_NS // _SECOND
    _demand((np.abs(seconds) < _MOST_SECONDS).all())
    if form["offset"] is not None:
        hours, minutes = digits[:, -5] * 10 + digits[:, -4], digits[:, -2] * 10 + digits[:, -1]
        west = raw[:, -6] == ord("-")
        _demand((west | (raw[:, -6] == ord("+"))).all() and (hours <= 23).all() and (minutes <= 59).all())
        seconds -= np.where(west, -60, 60) * (hours.astype(np.int64) * 60 + minutes)
    ns: Ints = seconds * _SECOND
    if form["fraction"] is not None:
        start, stop = form.span("fraction")
        ns += digits[:, start:stop] @ 10 ** np.arange(8, 8 - (stop - start), -1)
    return ns


def _demand(holds: Any) -> None:
    if not holds:
        raise ValueError("not all are plain ISO 8601 times")


def iso_texts(times: Sequence[int]) -> list[str]:
    """Applies `to_iso` to each time.

    Raises:
        OverflowError: if one is not an int64.
    """
    ns = np.array(times, np.int64)
    seconds, fractions = np.divmod(ns, _SECOND)
    unix = (seconds + EPOCH_UNIX_NS // _SECOND).astype("datetime64[s]")
    whole = np.datetime_as_string(unix).tolist()
    if not fractions.any():
        return [text + "Z" for text in whole]
    return [
        text + _shown_fraction(fraction) if fraction else text + "Z"
        for text, fraction in zip(whole, fractions.tolist(), strict=True)
    ]


def _shown_fraction(fraction: int) -> str:
    if fraction % 1000:
        return f".{fraction:09d}Z"
    micros = fraction // 1000
    return f".{micros:06d}Z" if micros % 1000 else f".{micros // 1000:03d}Z"


Resolution = Literal["s", "ms", "us", "ns"]

MICROSECOND: Final = dt.timedelta(microseconds=1)


class Temporal(NumberCodec):
    """Columns of times, as the temporal types of NumPy and Arrow."""

    arrow_epoch: ClassVar[int] = EPOCH_UNIX_NS
    """Offset of the epoch of stored numbers from that of Arrow, in their unit."""

    @property
    def numpy_unit(self) -> str:
        """NumPy type of times or durations in the unit of the stored numbers."""
        return "M8[ns]"

    def arrow_type(self, pa: Any) -> Any:
        return pa.timestamp("ns", "UTC")

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        if values.ndim == 1 and values.dtype.kind == self.numpy_unit[0]:
            return rescaled(self, values, self.numpy_unit, -self.arrow_epoch)
        return super().converted(values)

    def arrow_shift(self, pa: Any, kind: Any) -> int | None:
        if pa.types.is_temporal(kind) and self.storage.numpy == f"i{kind.bit_width // 8}":
            return self.arrow_epoch
        return super().arrow_shift(pa, kind)

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        kind, values = self.arrow_type(pa), native(column)
        check_times(name, kind, values, self.arrow_epoch)
        width = np.int32 if pa.types.is_date32(kind) else np.int64
        return pa.array(values.astype(width) + width(self.arrow_epoch)).view(kind)

    @property
    def counts(self) -> str:
        return "ns since 2001-01-01T00:00:00Z"


class TimeCodec(Temporal, msgspec.Struct, frozen=True):
    """Base class of codecs that store times as an integer count of a unit."""

    storage: Scalar
    byte_order: ByteOrder = "little"
    ordered: ClassVar[bool] = True

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
        """Least and greatest stored integer that stands for a value."""
        raise NotImplementedError

    def _check(self, stored: int, what: str) -> None:
        if not self._sound[0] <= stored <= self._sound[1]:
            raise FieldFault(f"{stored} is outside the range of a {what}")

    def _incomparable(self, value: object, mend: str) -> FieldFault:
        return FieldFault(f"cannot be compared with {shown(value)}; give {mend}")


TIME: Final = 'a time such as "2026-01-31T12:34:56Z", or an int of ns since 2001'


def ns_of(conversion: Conversion, data: Any) -> int:
    """Converts a time in any spelling to nanoseconds since 2001-01-01T00:00:00Z."""
    if isinstance(data, str):
        text = data.strip()
        if INTEGER.fullmatch(text):
            return int(text)
        data = text
    elif isinstance(data, (int, np.integer)) and not isinstance(data, (bool, np.timedelta64)):
        return int(data)
    elif not isinstance(data, (dt.datetime, np.datetime64)):
        raise conversion.refused(data)
    return _ns(data)


def _ns(time: str | dt.datetime | np.datetime64) -> int:
    try:
        return to_ns(time)
    except TimestampError as error:
        raise FieldFault(str(error)) from error


class TimeConversion(Conversion):
    """A time whose values are ints of ns since 2001: cap, Timestamp, UnixTime."""

    def __init__(self, codec: FieldCodec, spelling: Spelling, limits: tuple[int, int] | None = None) -> None:
        super().__init__(codec, spelling)
        self.limits = limits
        """Least and greatest value if they differ from the range of the field; None otherwise."""

    is_far = False
    """Whether times may lie beyond ISO 8601 text, so that they are written as ints."""

    accepts: ClassVar[str] = TIME

    def load(self, data: Any) -> Any:
        return self._kept(ns_of(self, data))

    def _kept(self, ns: int) -> int:
        if self.limits is not None and not self.limits[0] <= ns <= self.limits[1]:
            raise FieldFault(f"{ns} is not from {self.limits[0]} to {self.limits[1]}")
        self.held(ns)
        return ns

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        kinds = set(map(type, data))
        if kinds == {str}:
            return self.parse_column(data)
        return self._all_kept(list(data)) if kinds == {int} else super().load_column(data)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        if texts and len(texts[0]) > 10 and texts[0][4] == "-":
            return self._all_kept(ns_of_texts(texts))
        all_texts = "".join(texts)
        if "_" in all_texts or not all_texts.isascii():
            raise ValueError("not all of them are times")
        return self._all_kept(list(map(int, texts)))

    def _all_kept(self, values: list[int]) -> list[int]:
        if values and self.limits is not None and (min(values) < self.limits[0] or max(values) > self.limits[1]):
            raise ValueError("some of them are out of range")
        return self._all_held(values)

    def _all_held(self, values: list[int]) -> list[int]:
        number = self.codec.number
        if number is not None and self.codec.is_plain:
            number.pack(values)
        else:
            for value in values:
                self.held(value)
        return values

    def dump(self, value: Any) -> Any:
        ns = int(self.held(value))
        if self.spelling.times == "iso":
            try:
                return to_iso(ns)
            except TimestampError:
                return ns  # a UnixTime can lie far beyond the years of ISO 8601 text
        return ns

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        if set(map(type, values)) != {int}:
            return super().dump_column(values)
        held = self._all_held(list(values))
        return iso_texts(held) if self.spelling.times == "iso" else held

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        ns = {"type": "integer", "description": "ns since 2001-01-01T00:00:00Z"}
        if self.spelling.times == "ns":
            return ns
        text = {"type": "string", "format": "date-time"}
        return {"anyOf": [text, ns]} if self.is_far else text


def resolution_of(options: Options, default: Resolution) -> Resolution:
    resolution: Resolution = options.take("resolution", default)
    if resolution not in get_args(Resolution):
        raise ValueError(f"resolution={resolution!r} is not one of {', '.join(map(repr, get_args(Resolution)))}")
    return resolution


_TIMES: Final = (str, dt.datetime, np.datetime64)


class TimestampCodec(Temporal, ScalarCodec, frozen=True):
    """A time as an int of ns since 2001."""

    python: ClassVar[Any] = int

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any time, as ns since 2001."""
        if isinstance(value, _TIMES):
            return _ns(value)
        number = real(value)
        if not isinstance(number, int):
            raise FieldFault(
                f"cannot be compared with {shown(value)} ({type(value).__name__}); give ns since 2001, an aware datetime, "
                "ISO 8601 text or a numpy.datetime64"
            )
        return number

    @property
    def show(self) -> Callable[[Any], str]:
        """See `FieldCodec.show`: as an expression that gives the int."""
        return as_python

    @property
    def message_type(self) -> Any:
        least, greatest = self.limits
        return Annotated[int, msgspec.Meta(ge=least, le=greatest)]

    def conversion(self, spelling: Spelling) -> Conversion:
        return TimeConversion(self, spelling)

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        return of_objects(self, values.astype(object)) if values.dtype.kind == "U" else super().converted(values)

    def written(self, value: Any) -> bytes:
        if isinstance(value, _TIMES) and not getattr(value, "nanosecond", 0):
            return self.write(_ns(value))
        return super().written(value)

    def arrow_value(self, value: Any) -> Any:
        return value + EPOCH_UNIX_NS


class Timestamp(ScalarType[int]):
    """A time as an int of ns since 2001-01-01T00:00:00Z; 8 bytes."""

    stored_by = TimestampCodec
    scalar = SCALARS["Timestamp"]


class ResolutionCodec(TimeCodec, frozen=True):
    """Base class of codecs with a choice of units."""

    resolution: Resolution = "ns"
    name: ClassVar[str]
    letter: ClassVar[str]
    """NumPy's letter for times or durations."""

    arrow_epoch = 0

    @property
    def label(self) -> str:
        return f"{self.name} {self.resolution} in {self.storage.name}"

    def description(self) -> Description:
        return described_number(self.name, self.storage, self.byte_order, resolution=self.resolution)

    @property
    def numpy_unit(self) -> str:
        return f"{self.letter}8[{self.resolution}]"

    def times_from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        is_own = pa.types.is_duration(array.type) if self.letter == "m" else pa.types.is_timestamp(array.type)
        return times_given(pa, array, self.label, self.resolution if is_own else None)


class UnixTimeCodec(ResolutionCodec, frozen=True):
    """A time as an int of ns since 2001-01-01T00:00:00Z, stored as a count of units since 1970-01-01T00:00:00Z."""

    python: ClassVar[Any] = int
    name = "UnixTime"
    letter = "M"

    @property
    def accepts(self) -> str:
        least, greatest = map(self._ns, self.limits)
        return f"an int of ns since 2001 from {least} to {greatest}; to_ns() converts a time"

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
            raise FieldFault(f"{value} is not a whole number of {self.resolution}: round it first (remainder {rest} ns)")
        return units

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any time that `to_ns` takes, or an int of ns beyond int64."""
        try:
            beyond = isinstance(value, int) and not isinstance(value, bool)
            ns = int(value) if beyond else to_ns(value)  # type: ignore[call-overload, arg-type]
        except TimestampError as error:
            raise self._incomparable(value, f"a time: {error}") from error
        return Fraction(ns + EPOCH_UNIX_NS, UNITS_NS[self.resolution])

    def conversion(self, spelling: Spelling) -> Conversion:
        conversion = TimeConversion(self, spelling)
        conversion.is_far = self.storage.size == 8
        return conversion

    @property
    def counts(self) -> str:
        return f"{self.resolution} since 1970-01-01T00:00:00Z"

    def arrow_type(self, pa: Any) -> Any:
        return pa.timestamp(self.resolution, "UTC")

    def arrow_value(self, value: Any) -> Any:
        return self.dump(value)


class UnixTime(FieldType[int]):
    """A time as an int of ns since 2001-01-01T00:00:00Z, stored as a Unix time.

    The stored number counts units of `resolution` ("s" by default, "ms", "us" or "ns") since 1970-01-01T00:00:00Z, in the
    integer type `storage` (Int64 by default). A time that is not a whole number of units raises an error on writing.
    """

    takes = ("resolution", "storage", "byte_order")
    examples = ('UnixTime = field(resolution="ms")', "UnixTime = field(storage=UInt32)")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> UnixTimeCodec:
        resolution = resolution_of(options, "s")
        return UnixTimeCodec(options.storage(Int64), options.byte_order, resolution)


class DateTimeCodec(TimeCodec, frozen=True):
    """Stores an aware `datetime` as ns since 2001-01-01T00:00:00Z and reads it in UTC."""

    label: ClassVar[str] = "DateTime"
    python: ClassVar[Any] = dt.datetime
    accepts: ClassVar[str] = "an aware datetime from 1708 to 2293"

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        mask: Mask = column % 1000 != 0
        return mask

    def load(self, stored: Any) -> Any:
        if stored % 1000:
            raise FieldFault(
                f"{stored} ns is not a whole number of microseconds, and a datetime holds nothing finer: use Timestamp"
            )
        return EPOCH + dt.timedelta(0, 0, stored // 1000)

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(EPOCH)} + {scope.add(dt.timedelta)}(0, 0, {stored} // 1000)"

    def dump_code(self, value: str, scope: Scope) -> str:
        exact = f"({value} - {scope.add(EPOCH)}) // {scope.add(MICROSECOND)} * 1000"
        return f"({exact} if {value}.__class__ is {scope.add(dt.datetime)} else {super().dump_code(value, scope)})"

    def dump(self, value: Any) -> Any:
        if not isinstance(value, dt.datetime):
            raise self.refused(value)
        if value.utcoffset() is None:
            raise FieldFault(f"{value!r} has no offset from UTC: give it a tzinfo, such as timezone.utc")
        if ns := getattr(value, "nanosecond", 0):
            raise FieldFault(f"{value} has {ns} ns, and a datetime holds microseconds: use Timestamp, or value.floor('us')")
        return timedelta_ns(value - EPOCH)

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any time that `to_ns` takes."""
        try:
            return to_ns(value)  # type: ignore[arg-type]
        except TimestampError as error:
            raise self._incomparable(value, f"a time: {error}") from error

    def description(self) -> Description:
        return described_number("DateTime", self.storage, self.byte_order)

    def conversion(self, spelling: Spelling) -> Conversion:
        return DateTimeConversion(self, spelling)


class DateTimeConversion(Conversion):
    """An aware `datetime`."""

    codec: DateTimeCodec

    accepts: ClassVar[str] = TIME

    def load(self, data: Any) -> Any:
        if isinstance(data, dt.datetime):
            return self.held(data)
        return self.held(self.codec.load(ns_of(self, data)))

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        if texts and len(texts[0]) > 10 and texts[0][4] == "-":
            return list(map(self.codec.load, ns_of_texts(texts)))  # all are int64, so the field can hold them
        return super().parse_column(texts)

    def dump(self, value: Any) -> Any:
        ns = self._ns(value)
        return to_iso(ns) if self.spelling.times == "iso" else ns

    def _ns(self, value: Any) -> int:
        return int(self.codec.dump(self.held(value)))

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        ns = [self._ns(value) for value in values]
        return iso_texts(ns) if self.spelling.times == "iso" else ns

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if self.spelling.times == "iso":
            return {"type": "string", "format": "date-time"}
        return {"type": "integer", "description": "ns since 2001-01-01T00:00:00Z"}


class DateTime(FieldType[dt.datetime]):
    """An aware `datetime`, stored as ns since 2001-01-01T00:00:00Z; 8 bytes. Read in UTC.

    A `datetime` holds only microseconds: a stored time with a finer part is an error on reading. `Timestamp` can read it.
    """

    takes = ("byte_order",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> DateTimeCodec:
        return DateTimeCodec(SCALARS["Int64"], options.byte_order)


_FIRST_DAY: Final = dt.date(2001, 1, 1).toordinal()

_EPOCH_DAYS: Final = EPOCH_UNIX_NS // (86_400 * 10**9)


class DateCodec(TimeCodec, frozen=True):
    """A `date`, stored as days since 2001-01-01."""

    label: ClassVar[str] = "Date"
    python: ClassVar[Any] = dt.date
    accepts: ClassVar[str] = "a date (not a datetime)"
    arrow_epoch = _EPOCH_DAYS
    numpy_unit: ClassVar[str] = "M8[D]"
    counts: ClassVar[str] = "days since 2001-01-01"

    _sound: ClassVar[tuple[int, int]] = (1 - _FIRST_DAY, dt.date.max.toordinal() - _FIRST_DAY)

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
        """See `FieldCodec.operand`: a date, or a date in ISO 8601 text."""
        try:
            return self.dump(dt.date.fromisoformat(value) if isinstance(value, str) else value)
        except ValueError as error:
            raise self._incomparable(value, "a date") from error

    def description(self) -> Description:
        return described_number("Date", self.storage, self.byte_order)

    def conversion(self, spelling: Spelling) -> Conversion:
        return DateConversion(self, spelling)

    def arrow_type(self, pa: Any) -> Any:
        return pa.date32()


_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class DateConversion(Conversion):
    """A `date`."""

    accepts: ClassVar[str] = 'a date such as "2026-01-31"'

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            text = data.strip()
            if not _DATE.fullmatch(text):
                raise self.refused(data)
            return dt.date.fromisoformat(text)
        return self.held(data)

    def dump(self, value: Any) -> Any:
        return self.held(value).isoformat()

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


class Date(FieldType[dt.date]):
    """A `date`, stored as days since 2001-01-01; 4 bytes."""

    takes = ("byte_order",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> DateCodec:
        return DateCodec(SCALARS["Int32"], options.byte_order)
