"""`Timestamp`: a time as an int of ns since 2001."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import TimestampError
from tsmodel.timestamps import EPOCH_UNIX_NS, as_python, to_ns
from tsmodel.types.column_facet import of_objects
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.numbers import ScalarCodec, ScalarType, integral, real
from tsmodel.types.scalars import SCALARS, shown
from tsmodel.types.text_facet import Conversion, Spelling
from tsmodel.types.times import Temporal, TimeConversion

__all__ = ["Timestamp", "TimestampCodec"]

_TIMES: Final = (str, dt.datetime, np.datetime64)


class TimestampCodec(Temporal, ScalarCodec):
    """A time as an int of ns since 2001."""

    python: ClassVar[Any] = int

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any time, as ns since 2001."""
        if isinstance(value, _TIMES):
            try:
                return to_ns(value)
            except TimestampError as error:
                raise FieldFault(str(error)) from error
        number = real(value)
        if not isinstance(number, int):
            raise FieldFault(
                f"cannot be compared with {shown(value)} ({type(value).__name__}); give ns since 2001, an aware datetime, "
                "ISO 8601 text or a numpy.datetime64"
            )
        return integral(number, value)

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
            try:
                return self.write(to_ns(value))
            except TimestampError as error:
                raise FieldFault(str(error)) from error
        return super().written(value)

    def arrow_value(self, value: Any) -> Any:
        return value + EPOCH_UNIX_NS


class Timestamp(ScalarType[int]):
    """A time as an int of ns since 2001-01-01T00:00:00Z; 8 bytes."""

    stored_by = TimestampCodec
    scalar = SCALARS["Timestamp"]
