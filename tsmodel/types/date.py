"""`Date`: a `date`, stored as days."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, ClassVar, Final

import attrs

from tsmodel.timestamps import EPOCH_UNIX_NS
from tsmodel.types.codec import Description, Scope, described_number
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.scalars import SCALARS
from tsmodel.types.text_facet import Conversion, Spelling
from tsmodel.types.times import TimeCodec

__all__ = ["Date", "DateCodec"]

_FIRST_DAY: Final = dt.date(2001, 1, 1).toordinal()


_EPOCH_DAYS: Final = EPOCH_UNIX_NS // (86_400 * 10**9)


@attrs.frozen
class DateCodec(TimeCodec):
    """A `date`, stored as days since 2001-01-01."""

    label: ClassVar[str] = "Date"
    python: ClassVar[Any] = dt.date
    accepts: ClassVar[str] = "a date (not a datetime)"
    arrow_epoch = _EPOCH_DAYS
    numpy_unit: ClassVar[str] = "M8[D]"
    counts: ClassVar[str] = "days since 2001-01-01"

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
        """See `FieldType.codec`."""
        return DateCodec(SCALARS["Int32"], options.byte_order)
