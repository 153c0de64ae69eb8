"""Field types of times; `Timestamp` is among the numbers."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tsmodel.codec import SCALARS, FieldCodec
from tsmodel.codec.times import UNITS_NS, DateCodec, DateTimeCodec, DurationCodec, Resolution, UnixTimeCodec
from tsmodel.model.fields.base import FieldType, Options
from tsmodel.model.fields.numbers import Int64

__all__ = ["Date", "DateTime", "Duration", "UnixTime"]


class DateTime(FieldType[dt.datetime]):
    """An aware `datetime`, read in UTC; stored as ns since 2001-01-01T00:00:00Z in 8 bytes. A `datetime` holds
    microseconds: a stored time with a finer part is an error on reading, and a `Timestamp` reads it."""

    takes = ("byte_order",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        return DateTimeCodec(SCALARS["Int64"], options.byte_order)


class UnixTime(FieldType[int]):
    """A time as an int of ns since 2001-01-01T00:00:00Z, like all times here; stored as a count of `resolution` ("s" when
    nothing is said, "ms", "us", "ns") since 1970-01-01T00:00:00Z, in `storage` (Int64 when nothing is said)."""

    takes = ("resolution", "storage", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        resolution = _resolution(options, "s")
        return UnixTimeCodec(options.storage(Int64), options.byte_order, resolution)


class Duration(FieldType[dt.timedelta]):
    """A `timedelta`, stored as a count of `resolution` ("ns" when nothing is said) in `storage` (Int64 when nothing is
    said). What is not a whole number of microseconds is an error on reading."""

    takes = ("resolution", "storage", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        resolution = _resolution(options, "ns")
        return DurationCodec(options.storage(Int64), options.byte_order, resolution)


class Date(FieldType[dt.date]):
    """A `date`, stored as days since 2001-01-01 in 4 bytes."""

    takes = ("byte_order",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        return DateCodec(SCALARS["Int32"], options.byte_order)


def _resolution(options: Options, default: Resolution) -> Resolution:
    resolution: Resolution = options.take("resolution", default)
    if resolution not in UNITS_NS:
        raise ValueError(f"resolution={resolution!r} is not one of {', '.join(map(repr, UNITS_NS))}")
    return resolution
