"""Times, durations and dates in plain data and in cells.

Rules kept here:

* Times are ISO 8601 text with an offset; ints are nanoseconds since 2001-01-01T00:00:00Z, as everywhere. Durations are text
  such as "1h30m" or ISO 8601 "PT1H30M"; ints are nanoseconds. Both as text and as numbers; never a float.
* Integer arithmetic only. What a field cannot hold exactly is refused.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np

from tsmodel.codec import FieldCodec, FieldFault, FixedCodec
from tsmodel.codec.numbers import ScalarCodec
from tsmodel.codec.times import UnixTimeCodec, timedelta_ns
from tsmodel.errors import TimestampError
from tsmodel.model.conversion.base import Conversion, Spelling
from tsmodel.model.conversion.iso import iso_texts, ns_of_texts
from tsmodel.model.conversion.numbers import INTEGER
from tsmodel.timestamps import duration_ns, to_iso, to_ns

__all__ = ["AcqConversion", "DateConversion", "DateTimeConversion", "DurationConversion", "TimeConversion"]

_TIME: Final = 'a time such as "2026-01-31T12:34:56Z", or an int of ns since 2001'
_DURATION: Final = 'a duration such as "1h30m", "250ms" or "PT1H30M", or an int of ns'
_UNITS: Final = {"w": 604_800 * 10**9, "d": 86_400 * 10**9, "h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9}
_FINE_UNITS: Final = {**_UNITS, "ms": 10**6, "us": 10**3, "ns": 1}
_UNITS_TEXT: Final = re.compile(r"-?(?=\d)" + "".join(rf"(?:(\d+){unit})?" for unit in _FINE_UNITS), re.ASCII)
_ISO_DURATION: Final = re.compile(
    r"-?P(?=\d|T\d)(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:[.,](\d{1,9}))?S)?)?", re.ASCII
)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _ns_of(conversion: Conversion, data: Any) -> int:
    """Nanoseconds since 2001 of a time in any spelling."""
    if isinstance(data, str):
        text = data.strip()
        if INTEGER.fullmatch(text):
            return int(text)
        data = text
    elif isinstance(data, (int, np.integer)) and not isinstance(data, (bool, np.timedelta64)):
        return int(data)
    elif not isinstance(data, (dt.datetime, np.datetime64)):
        raise conversion.refused(data)
    try:
        return to_ns(data)
    except TimestampError as error:
        raise FieldFault(str(error)) from None


class TimeConversion(Conversion):
    """A time whose values are ints of ns since 2001: cap, Timestamp, UnixTime."""

    def __init__(self, codec: FieldCodec, spelling: Spelling, limits: tuple[int, int] | None = None) -> None:
        super().__init__(codec, spelling)
        self.limits = limits
        """Least and greatest value where they are not what the field can hold; None otherwise."""

    @property
    def accepts(self) -> str:
        return _TIME

    def load(self, data: Any) -> Any:
        return self._kept(_ns_of(self, data))

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
            raise ValueError("some of them are no times")
        return self._all_kept(list(map(int, texts)))

    def _all_kept(self, values: list[int]) -> list[int]:
        if values and self.limits is not None and (min(values) < self.limits[0] or max(values) > self.limits[1]):
            raise ValueError("some of them are beyond the limits")
        return self._all_held(values)

    def _all_held(self, values: list[int]) -> list[int]:
        if isinstance(self.codec, ScalarCodec):
            self.codec.scalar.pack(values)
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
                return ns  # a UnixTime can be far beyond the years that ISO 8601 text has
        return ns

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        if set(map(type, values)) != {int}:
            return super().dump_column(values)
        held = self._all_held(list(values))
        return iso_texts(held) if self.spelling.times == "iso" else held

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.dump_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        ns = {"type": "integer", "description": "ns since 2001-01-01T00:00:00Z"}
        if self.spelling.times == "ns":
            return ns
        text = {"type": "string", "format": "date-time"}
        # Times that int64 does not hold in ns have no ISO text here, and are written as ints.
        return {"anyOf": [text, ns]} if isinstance(self.codec, UnixTimeCodec) and self.codec.storage.size == 8 else text


class AcqConversion(TimeConversion):
    """The acquisition time, which is -1 as long as the database has not given it: null, or an empty cell."""

    nullable = True
    absent = -1

    def load(self, data: Any) -> Any:
        return -1 if data is None else super().load(data)

    def dump(self, value: Any) -> Any:
        return None if value == -1 and self.spelling.times == "iso" else super().dump(value)

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        if self.spelling.times == "iso" and -1 in values:
            return [self.dump(value) for value in values]
        return super().dump_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        time = super().schema(definitions)
        return {"anyOf": [time, {"type": "null"}]} if self.spelling.times == "iso" else time


class DateTimeConversion(Conversion):
    """An aware `datetime`."""

    @property
    def accepts(self) -> str:
        return _TIME

    def load(self, data: Any) -> Any:
        if isinstance(data, dt.datetime):
            return self.held(data)
        return self._at(_ns_of(self, data))

    def _at(self, ns: int) -> Any:
        assert isinstance(self.codec, FixedCodec)
        value = self.codec.load(ns)
        return self.held(value)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        if texts and len(texts[0]) > 10 and texts[0][4] == "-":
            assert isinstance(self.codec, FixedCodec)
            return list(map(self.codec.load, ns_of_texts(texts)))  # all of them are int64, so the field can hold them
        return super().parse_column(texts)

    def dump(self, value: Any) -> Any:
        ns = self._ns(value)
        return to_iso(ns) if self.spelling.times == "iso" else ns

    def _ns(self, value: Any) -> int:
        assert isinstance(self.codec, FixedCodec)
        return int(self.codec.dump(self.held(value)))

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        ns = [self._ns(value) for value in values]
        return iso_texts(ns) if self.spelling.times == "iso" else ns

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.dump_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if self.spelling.times == "iso":
            return {"type": "string", "format": "date-time"}
        return {"type": "integer", "description": "ns since 2001-01-01T00:00:00Z"}


class DurationConversion(Conversion):
    """A `timedelta`."""

    @property
    def accepts(self) -> str:
        return _DURATION

    def load(self, data: Any) -> Any:
        if isinstance(data, dt.timedelta):
            return self.held(data)
        if isinstance(data, str):
            ns = self._ns_of(data.strip())
        elif isinstance(data, np.timedelta64) or (isinstance(data, (int, np.integer)) and not isinstance(data, bool)):
            ns = duration_ns(data) if isinstance(data, np.timedelta64) else int(data)
        else:
            raise self.refused(data)
        micros, rest = divmod(ns, 1000)
        if rest:
            raise FieldFault(f"{ns} ns is no whole number of microseconds, which is what a timedelta holds")
        return self.held(dt.timedelta(microseconds=micros))

    def _ns_of(self, text: str) -> int:
        sign = -1 if text.startswith("-") else 1
        if INTEGER.fullmatch(text):
            return int(text)
        if match := _UNITS_TEXT.fullmatch(text):
            return sign * sum(int(n) * unit for n, unit in zip(match.groups("0"), _FINE_UNITS.values(), strict=True))
        if match := _ISO_DURATION.fullmatch(text):
            *counts, fraction = match.groups("")
            whole = sum(int(n or 0) * unit for n, unit in zip(counts, _UNITS.values(), strict=True))
            return sign * (whole + int(fraction.ljust(9, "0")))
        raise self.refused(text)

    def dump(self, value: Any) -> Any:
        ns = timedelta_ns(self.held(value))
        return _shown(ns) if self.spelling.times == "iso" else ns

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if self.spelling.times == "ns":
            return {"type": "integer", "description": "ns"}
        units = "".join(f"([0-9]+{unit})?" for unit in _FINE_UNITS)
        return {"type": "string", "pattern": f"^-?(?=[0-9]){units}$"}


def _shown(ns: int) -> str:
    """Text of whole numbers with units, greatest first, as `duration_ns` reads it; a minus in front when it is negative."""
    rest, pieces = abs(ns), []
    for unit, size in _FINE_UNITS.items():
        if unit == "w":
            continue
        count, rest = divmod(rest, size)
        if count:
            pieces.append(f"{count}{unit}")
    return ("-" if ns < 0 else "") + ("".join(pieces) or "0s")


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
