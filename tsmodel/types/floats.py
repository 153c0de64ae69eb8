"""Floats: `Float16`, `Float32` and `Float64`.

Rules kept here:

* A non-finite float is written as the text "NaN", "Infinity" or "-Infinity", because JSON has no number for it. A number
  that is too large for the field is rejected; it never becomes infinite.
"""

from __future__ import annotations

import math
import numbers
import re
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from tsmodel.types.column_facet import plain_value, refuse
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.numbers import NUMBER, ScalarCodec, ScalarType, point, real, rounded, shortest, shortest_of
from tsmodel.types.scalars import SCALARS, becomes_infinite, shown
from tsmodel.types.text_facet import Conversion, Spelling

_NOT_FINITE: Final = re.compile(r"\s*[+-]?(?:nan|inf|infinity)\s*", re.ASCII | re.IGNORECASE)

_FLOAT: Final = frozenset({float})

_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class FloatConversion(Conversion):
    """A float."""

    codec: FloatCodec

    @property
    def accepts(self) -> str:
        comma = ", with a decimal comma" if self.spelling.decimal == "," else ""
        return f"a number{comma} that a {self.codec.label} holds"

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            return self._of(data)
        if isinstance(data, (bool, np.bool_)) or not isinstance(data, (numbers.Real, Decimal)):
            raise self.refused(data)
        if self.codec.fault(data):
            raise self.refused(data)
        return float(data)

    def parse(self, text: str) -> Any:
        return self._of(point(text) if self.spelling.decimal == "," else text)

    def _of(self, text: str) -> float:
        if NUMBER.fullmatch(text):
            value = float(text)
            if math.isinf(value) or self.codec.fault(value):
                raise self.refused(text)
            return value
        if _NOT_FINITE.fullmatch(text):
            return float(text)
        raise self.refused(text)

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        if set(map(type, data)) != {float}:
            return super().load_column(data)
        self._pack(data)
        return list(data)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        all_texts = "".join(texts)
        if "_" in all_texts or not all_texts.isascii():
            raise ValueError("not all of them are numbers")  # `float` would accept them
        if self.spelling.decimal == ",":
            if "." in all_texts:
                raise ValueError("some of them have a point")
            texts = [text.replace(",", ".") for text in texts]
        values = list(map(float, texts))
        if not math.isfinite(sum(values)):  # finite values may overflow here; checking each value is always right
            raise ValueError("some of them are not finite")
        self._pack(values)
        return values

    def _pack(self, values: Sequence[float]) -> None:
        """Raises OverflowError if a value is too large for the field."""
        if self.codec.size < 8:
            struct.pack(f"<{len(values)}{self.codec.code}", *values)

    def dump(self, value: Any) -> Any:
        number = float(self.held(value))
        if not math.isfinite(number):
            return _special(number)
        return shortest_of(number, self.codec.scalar.numpy) if self.spelling.shortest else number

    def show(self, value: Any) -> Any:
        data = self.dump(value)
        return str(data).replace(".", ",") if self.spelling.decimal == "," else data

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        if set(map(type, values)) != {float} or not math.isfinite(sum(values)):
            return super().dump_column(values)
        self._pack(values)
        return shortest(values, self.codec.scalar.numpy) if self.spelling.shortest else values

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.dump_column(values) if self.spelling.decimal == "." else super().show_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [{"type": "number"}, {"enum": list(_SPECIAL)}]}


def _special(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


class FloatCodec(ScalarCodec, frozen=True):
    """Stores a float of a given width."""

    python: ClassVar[Any] = float

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: a float of the field's width, or an exact number."""
        number = real(value)
        if number is None:
            raise FieldFault(f"cannot be compared with {shown(value)} ({type(value).__name__})")
        return rounded(number, self.scalar.numpy)

    def constant(self, value: Any) -> Any:
        """See `FieldCodec.constant`: for items of arrays and structures, which are Python numbers."""
        number = self.operand(value)
        return float(number) if isinstance(number, np.floating) else number

    def comparable(self, value: Any) -> Any:
        """See `FieldCodec.comparable`: floats in messages can be wider than the field."""
        return value if self.scalar.size == 8 else float(np.dtype(self.scalar.numpy).type(value))

    def conversion(self, spelling: Spelling) -> Conversion:
        return FloatConversion(self, spelling)

    @property
    def show(self) -> Callable[[Any], str] | None:
        """See `FieldCodec.show`: with only the digits that the width has."""
        return None if self.scalar.size == 8 else partial(_shortest, self.scalar.numpy)

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        if values.ndim > 1 or values.dtype.kind not in "iuf":
            return None
        if values.dtype == self.dtype:
            return values
        with np.errstate(over="ignore"):
            stored = values.astype(self.dtype)
        too_large = np.isinf(stored) & np.isfinite(values)
        refuse(too_large, values, lambda at: self.scalar.fault(plain_value(values, at)) or "")
        return stored

    def dump(self, value: Any) -> Any:
        if type(value) is not float and becomes_infinite(value):
            raise FieldFault(self.scalar.fault(value) or "")
        return value

    def holds(self, stored: Sequence[Any]) -> bool:
        """See `FixedCodec.holds`: no finite number has become infinite."""
        return math.isfinite(sum(stored)) or _FLOAT.issuperset(map(type, stored)) or not any(map(becomes_infinite, stored))

    def arrow_value(self, value: Any) -> Any:
        return (
            np.float16(value) if self.scalar.numpy == "f2" else value
        )  # pyarrow before 21 does not convert floats to halves


def _shortest(numpy: str, value: Any) -> str:
    return repr(shortest_of(value, numpy) if type(value) is float else value)


class Float16(ScalarType[float]):
    """A float, stored as an IEEE 754 half; 2 bytes. Values are rounded to the nearest half: 3 to 4 digits."""

    stored_by = FloatCodec
    scalar = SCALARS["Float16"]


class Float32(ScalarType[float]):
    """A float, stored as an IEEE 754 single; 4 bytes. Values are rounded to the nearest single: 6 to 9 digits."""

    stored_by = FloatCodec
    scalar = SCALARS["Float32"]


class Float64(ScalarType[float]):
    """A float, stored as an IEEE 754 double; 8 bytes."""

    stored_by = FloatCodec
    scalar = SCALARS["Float64"]
