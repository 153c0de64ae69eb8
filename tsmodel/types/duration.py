"""`Duration`: a `timedelta`. In text it is "1h30m" or ISO 8601 "PT1H30M"; ints are nanoseconds."""

from __future__ import annotations

import datetime as dt
import re
from fractions import Fraction
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from tsmodel.errors import TimestampError
from tsmodel.timestamps import UNITS_NS, duration_ns, timedelta_ns
from tsmodel.types.codec import Scope
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.types.integers import INTEGER, Int64
from tsmodel.types.text_facet import Conversion, Spelling
from tsmodel.types.times import MICROSECOND, ResolutionCodec, resolution_of

_TOO_FINE: Final = "ns is not a whole number of microseconds, and a timedelta holds nothing finer"

_MOST_DELTA_US: Final = dt.timedelta.max // dt.timedelta(microseconds=1)

_LEAST_DELTA_US: Final = dt.timedelta.min // dt.timedelta(microseconds=1)


class DurationCodec(ResolutionCodec, frozen=True):
    """A `timedelta`, stored as an integer count of units."""

    python: ClassVar[Any] = dt.timedelta
    name = "Duration"
    letter = "m"

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
            raise FieldFault(f"{stored} {_TOO_FINE}: use Int64")
        return dt.timedelta(0, 0, micros)

    def load_code(self, stored: str, scope: Scope) -> str:
        micros = f"{stored} // 1000" if self.resolution == "ns" else f"{stored} * {self._unit // 1000}"
        return f"{scope.add(dt.timedelta)}(0, 0, {micros})"

    def dump_code(self, value: str, scope: Scope) -> str:
        if self._unit > 1000:  # a remainder must not go unnoticed
            return super().dump_code(value, scope)
        exact = f"{value} // {scope.add(MICROSECOND)}" + (" * 1000" if self.resolution == "ns" else "")
        return f"({exact} if {value}.__class__ is {scope.add(dt.timedelta)} else {super().dump_code(value, scope)})"

    def dump(self, value: Any) -> Any:
        if not isinstance(value, dt.timedelta):
            raise self.refused(value)
        ns = timedelta_ns(value)
        if ns % 1000:
            raise FieldFault(f"{ns} {_TOO_FINE}: use Int64")
        units, rest = divmod(ns, self._unit)
        if rest:
            raise FieldFault(f"{value} is not a whole number of {self.resolution}: round it first")
        return units

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any duration that `duration_ns` accepts; an int is ns."""
        try:
            ns = timedelta_ns(value) if isinstance(value, dt.timedelta) else duration_ns(value)  # type: ignore[arg-type]
        except (TimestampError, TypeError) as error:
            raise self._incomparable(value, 'a timedelta, or text such as "15m"') from error
        return Fraction(ns, self._unit)

    def conversion(self, spelling: Spelling) -> Conversion:
        return DurationConversion(self, spelling)

    @property
    def counts(self) -> str:
        return f"a duration in {self.resolution}"

    def arrow_type(self, pa: Any) -> Any:
        return pa.duration(self.resolution)


_UNITS_TEXT: Final = re.compile(r"-?(?=\d)" + "".join(rf"(?:(\d+){unit})?" for unit in UNITS_NS), re.ASCII)

_ISO_DURATION: Final = re.compile(
    r"-?P(?=\d|T\d)(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:[.,](\d{1,9}))?S)?)?", re.ASCII
)


class DurationConversion(Conversion):
    """A `timedelta`."""

    accepts: ClassVar[str] = 'a duration such as "1h30m", "250ms" or "PT1H30M", or an int of ns'

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
            raise FieldFault(f"{ns} {_TOO_FINE}")
        return self.held(dt.timedelta(microseconds=micros))

    def _ns_of(self, text: str) -> int:
        sign = -1 if text.startswith("-") else 1
        if INTEGER.fullmatch(text):
            return int(text)
        if match := _UNITS_TEXT.fullmatch(text):
            return sign * sum(int(n) * unit for n, unit in zip(match.groups("0"), UNITS_NS.values(), strict=True))
        if match := _ISO_DURATION.fullmatch(text):
            *counts, fraction = match.groups("")
            whole = sum(int(n or 0) * unit for n, unit in zip(counts, UNITS_NS.values(), strict=False))
            return sign * (whole + int(fraction.ljust(9, "0")))
        raise self.refused(text)

    def dump(self, value: Any) -> Any:
        ns = timedelta_ns(self.held(value))
        return _shown(ns) if self.spelling.times == "iso" else ns

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if self.spelling.times == "ns":
            return {"type": "integer", "description": "ns"}
        units = "".join(f"([0-9]+{unit})?" for unit in UNITS_NS)
        return {"type": "string", "pattern": f"^-?(?=[0-9]){units}$"}


def _shown(ns: int) -> str:
    """Formats a duration as whole numbers with units, greatest first, as `duration_ns` reads it; "-" comes first."""
    rest, pieces = abs(ns), []
    for unit, size in UNITS_NS.items():
        if unit == "w":
            continue
        count, rest = divmod(rest, size)
        if count:
            pieces.append(f"{count}{unit}")
    return ("-" if ns < 0 else "") + ("".join(pieces) or "0s")


class Duration(FieldType[dt.timedelta]):
    """A `timedelta`, stored as a count of `resolution` in the integer type `storage`.

    The defaults are "ns" and Int64. A `timedelta` holds only microseconds: a stored duration with a finer part is an error
    on reading. A value that is not a whole number of units raises an error on writing.
    """

    takes = ("resolution", "storage", "byte_order")
    examples = ("Duration", 'Duration = field(resolution="s", storage=UInt32)')

    @classmethod
    def codec(cls, argument: Any, options: Options) -> DurationCodec:
        resolution = resolution_of(options, "ns")
        return DurationCodec(options.storage(Int64), options.byte_order, resolution)
