"""`DateTime`: an aware `datetime`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy.typing as npt

from tsmodel.errors import TimestampError
from tsmodel.timestamps import EPOCH, to_iso, to_ns
from tsmodel.types.codec import Description, Scope, described_number
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.types.scalars import SCALARS
from tsmodel.types.text_facet import Conversion, Spelling
from tsmodel.types.times import MICROSECOND, TIME, TimeCodec, ns_of, timedelta_ns

__all__ = ["DateTime", "DateTimeCodec"]


@attrs.frozen
class DateTimeCodec(TimeCodec):
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

    @property
    def accepts(self) -> str:
        return TIME

    def load(self, data: Any) -> Any:
        if isinstance(data, dt.datetime):
            return self.held(data)
        return self._at(ns_of(self, data))

    def _at(self, ns: int) -> Any:
        value = self.codec.load(ns)
        return self.held(value)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        from tsmodel.types.times import ns_of_texts

        if texts and len(texts[0]) > 10 and texts[0][4] == "-":
            return list(map(self.codec.load, ns_of_texts(texts)))  # all are int64, so the field can hold them
        return super().parse_column(texts)

    def dump(self, value: Any) -> Any:
        ns = self._ns(value)
        return to_iso(ns) if self.spelling.times == "iso" else ns

    def _ns(self, value: Any) -> int:
        return int(self.codec.dump(self.held(value)))

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        from tsmodel.types.times import iso_texts

        ns = [self._ns(value) for value in values]
        return iso_texts(ns) if self.spelling.times == "iso" else ns

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.dump_column(values)

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
        """See `FieldType.codec`."""
        return DateTimeCodec(SCALARS["Int64"], options.byte_order)
