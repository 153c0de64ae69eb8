"""`UnixTime`: a time as an int of ns since 2001, stored as units since 1970."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.errors import TimestampError
from tsmodel.timestamps import EPOCH_UNIX_NS, to_ns
from tsmodel.types.codec import Description, Scope, described_number
from tsmodel.types.column_facet import times_given
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.types.integers import Int64
from tsmodel.types.text_facet import Conversion, Spelling
from tsmodel.types.times import UNITS_NS, Resolution, TimeCodec, TimeConversion, resolution_of

__all__ = ["UnixTime", "UnixTimeCodec"]


@attrs.frozen
class UnixTimeCodec(TimeCodec):
    """A time as an int of ns since 2001-01-01T00:00:00Z, stored as a count of units since 1970-01-01T00:00:00Z.

    Attributes:
        resolution: the unit.
    """

    resolution: Resolution = "s"
    python: ClassVar[Any] = int
    arrow_epoch = 0

    @property
    def label(self) -> str:
        return f"UnixTime {self.resolution} in {self.storage.name}"

    @property
    def accepts(self) -> str:
        assert self.storage.limits is not None
        least, greatest = map(self._ns, self.storage.limits)
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

    def description(self) -> Description:
        return described_number("UnixTime", self.storage, self.byte_order, resolution=self.resolution)

    def conversion(self, spelling: Spelling) -> Conversion:
        conversion = TimeConversion(self, spelling)
        conversion.is_far = self.storage.size == 8
        return conversion

    @property
    def numpy_unit(self) -> str:
        return f"M8[{self.resolution}]"

    @property
    def counts(self) -> str:
        return f"{self.resolution} since 1970-01-01T00:00:00Z"

    def arrow_type(self, pa: Any) -> Any:
        return pa.timestamp(self.resolution, "UTC")

    def arrow_value(self, value: Any) -> Any:
        return self.dump(value)

    def times_from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        return times_given(pa, array, self.label, self.resolution if pa.types.is_timestamp(array.type) else None)


class UnixTime(FieldType[int]):
    """A time as an int of ns since 2001-01-01T00:00:00Z, stored as a Unix time.

    The stored number counts units of `resolution` ("s" by default, "ms", "us" or "ns") since 1970-01-01T00:00:00Z, in the
    integer type `storage` (Int64 by default). A time that is not a whole number of units raises an error on writing.
    """

    takes = ("resolution", "storage", "byte_order")
    examples = (
        'UnixTime = field(resolution="ms")',
        "UnixTime = field(storage=UInt32)",
    )

    @classmethod
    def codec(cls, argument: Any, options: Options) -> UnixTimeCodec:
        """See `FieldType.codec`."""
        resolution = resolution_of(options, "s")
        return UnixTimeCodec(options.storage(Int64), options.byte_order, resolution)
