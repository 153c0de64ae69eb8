"""Translates cells that other programs write: local times, other time formats, decimal commas.

Rules kept here:

* Nothing is guessed. An ambiguous local time is rejected unless the caller selects the earlier or later one; a local time
  that does not exist is always rejected.
* Integer arithmetic only.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from tsmodel.errors import TimestampError
from tsmodel.timestamps import from_unix_ns, to_ns, zone_of
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.numbers import point
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Conversion, ConversionFaults

__all__ = ["Ambiguous", "CellReaders", "LocalTimes", "Mark", "has_times"]

Mark = Literal[".", ","]
"""The decimal point."""

Ambiguous = Literal["raise", "earlier", "later"]
"""Which of two times an ambiguous local time means."""

_UNIX: Final = {"unix": 10**9, "unix_ms": 10**6, "unix_us": 10**3, "unix_ns": 1}
_NAIVE: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?))?", re.ASCII)
_EPOCH: Final = dt.datetime(2001, 1, 1)  # noqa: DTZ001 - local times are counted from it
_MOST_KEPT: Final = 65_536
_TIME: Final = "2026-01-01T00:00:00Z"


def has_times(conversion: Conversion) -> bool:
    """Whether values of a field are points in time, that is, whether it converts the text of one."""
    try:
        return bool(conversion.load(_TIME) != _TIME)
    except (ConversionFaults, FieldFault):
        return False


class CellReaders:
    """Translates the cells of columns into the spelling that their fields accept.

    Args:
        tz: time zone of times without an offset; None rejects them.
        ambiguous: which of two times an ambiguous local time means.
        time_format: format of times, in all columns or by column.
        decimal: decimal point by column.

    Raises:
        ValueError: if an argument is invalid.
    """

    def __init__(
        self,
        tz: str | dt.tzinfo | None = None,
        ambiguous: Ambiguous = "raise",
        time_format: str | Mapping[str, str] | None = None,
        decimal: Mapping[str, Mark] | None = None,
    ) -> None:
        self._formats = time_format if isinstance(time_format, Mapping) else {}
        self._marks = decimal or {}
        for name, mark in self._marks.items():
            if mark not in (".", ","):
                raise ValueError(f"decimal={{{name!r}: {mark!r}}}; expected '.' or ','")
        common = None if isinstance(time_format, Mapping) else time_format
        self._common = LocalTimes(tz, ambiguous, common) if tz is not None or common is not None else None
        if self._common is None and ambiguous != "raise":
            LocalTimes(None, ambiguous, None)  # raises if it is invalid
            raise ValueError(f"ambiguous={ambiguous!r} applies only to times without an offset: give tz=, too")
        self._of_format = {form: LocalTimes(tz, ambiguous, form) for form in self._formats.values()}

    @property
    def columns(self) -> list[str]:
        """The columns that arguments name."""
        return list({**self._formats, **self._marks})

    def of(self, column: str, conversion: Conversion) -> Callable[[str], str] | None:
        """Returns the translation of a column's cells; None if the field accepts them as they are."""
        if column in self._formats:
            return self._of_format[self._formats[column]]
        if self._marks.get(column) == ",":
            return point
        return self._common if self._common is not None and has_times(conversion) else None


class LocalTimes:
    """Translates the text of a time into the spelling that every time field accepts: int ns since 2001, as text.

    Args:
        tz: time zone of times without an offset; None rejects them.
        ambiguous: which of two times an ambiguous local time means.
        form: format of times: as for `datetime.strptime`, or "unix", "unix_ms", "unix_us", "unix_ns"; None for ISO
            8601.

    Raises:
        ValueError: if an argument is invalid.
    """

    def __init__(self, tz: str | dt.tzinfo | None, ambiguous: Ambiguous, form: str | None) -> None:
        if ambiguous not in ("raise", "earlier", "later"):
            raise ValueError(f'ambiguous={ambiguous!r}; expected "raise", "earlier" or "later"')
        self._tz = tz
        self._zone = None if tz is None else zone_of(tz)
        self._ambiguous = ambiguous
        self._form = form
        self._offsets: dict[int, int] = {}
        if form is None:
            self._read: Callable[[str], int] = self._iso
        elif form in _UNIX:
            self._read = self._unix
        else:
            if "%" not in form:
                raise ValueError(f'time_format={form!r}; expected a format such as "%d.%m.%Y %H:%M", or {", ".join(_UNIX)}')
            if self._zone is None and "%z" not in form:
                raise ValueError(f'time_format={form!r} has no offset (%z): give tz=, such as tz="Europe/Vienna"')
            self._read = self._formatted

    def __call__(self, text: str) -> str:
        """Translates the text of a time.

        Raises:
            FieldFault: if the text is not a time, or a local time is ambiguous or does not exist.
        """
        try:
            return str(self._read(text.strip()))
        except (TimestampError, OverflowError) as error:
            raise FieldFault(str(error)) from None

    def _iso(self, text: str) -> int:
        match = _NAIVE.fullmatch(text)
        if match is None or self._zone is None:
            return int(text) if re.fullmatch(r"[+-]?\d+", text, re.ASCII) else to_ns(text)
        return self._utc(to_ns(f"{match[1]}T{match[2] or '00:00'}Z"), text)

    def _unix(self, text: str) -> int:
        assert self._form is not None
        unit = _UNIX[self._form]
        try:
            number = Decimal(text)
            whole = int(number * unit) if abs(number) < 10**20 and text.isascii() and "_" not in text else None
        except (InvalidOperation, ValueError):
            whole = None
        if whole is None or whole != number * unit:
            raise FieldFault(f"{shown(text)} is not a time in {self._form.removeprefix('unix_')} since 1970") from None
        return from_unix_ns(whole)

    def _formatted(self, text: str) -> int:
        assert self._form is not None
        try:
            moment = dt.datetime.strptime(text, self._form)  # noqa: DTZ007 - its zone is added below
        except ValueError:
            raise FieldFault(f"{shown(text)} is not a time such as {self.example!r} ({self._form})") from None
        if moment.tzinfo is not None:
            return to_ns(moment)
        return self._utc(to_ns(moment.replace(tzinfo=dt.timezone.utc)), text)

    @property
    def example(self) -> str:
        """An example of the format."""
        assert self._form is not None
        return dt.datetime(2026, 1, 31, 12, 34, 56, tzinfo=dt.timezone.utc).strftime(self._form)

    def _utc(self, local: int, text: str) -> int:
        second = local // 10**9
        offset = self._offsets.get(second)
        if offset is None:
            offset = self._offset(second, text)
            if len(self._offsets) < _MOST_KEPT:
                self._offsets[second] = offset
        return local - offset

    def _offset(self, second: int, text: str) -> int:
        """The offset from UTC of a local time, in ns."""
        naive = _EPOCH + dt.timedelta(seconds=second)
        first, then = (_ns(naive.replace(tzinfo=self._zone, fold=fold).utcoffset()) for fold in (0, 1))
        if first == then or (first > then and self._ambiguous == "earlier"):
            return first
        if first < then:
            raise FieldFault(f"{shown(text)} does not exist in {self._tz}: the clocks are set forward then")
        if self._ambiguous == "later":
            return then
        raise FieldFault(
            f'{shown(text)} is ambiguous in {self._tz}: the clocks are set back then; give ambiguous="earlier" or "later"'
        )


def _ns(offset: dt.timedelta | None) -> int:
    assert offset is not None
    return (offset.days * 86_400 + offset.seconds) * 10**9 + offset.microseconds * 1000
