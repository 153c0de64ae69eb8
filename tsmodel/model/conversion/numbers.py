"""Numbers and bools in plain data and in cells.

Rules kept here:

* A number is written in ASCII digits, with space around it at most: no underscores, no grouping. Integers also come in hex,
  `0x1f`. An int is never made of a float, nor of a bool.
* A float that is not finite is the text "NaN", "Infinity" or "-Infinity", since JSON has no number for it. A number too
  large for the field is refused, never infinite.
"""

from __future__ import annotations

import math
import numbers
import re
import struct
from collections.abc import Sequence
from decimal import Context, Decimal, Inexact
from typing import Any, ClassVar, Final

import numpy as np

from tsmodel.codec import FieldCodec, FieldFault
from tsmodel.codec.numbers import ScalarCodec, ScaledCodec
from tsmodel.codec.scalars import BOOLS, shown
from tsmodel.codec.shortest import shortest, shortest_of
from tsmodel.model.conversion.base import Conversion, Spelling

__all__ = ["INTEGER", "BoolConversion", "FloatConversion", "IntConversion", "ScaledConversion"]

INTEGER: Final = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
"""An integer in decimal digits."""

_HEX: Final = re.compile(r"\s*[+-]?0[xX][0-9a-fA-F]+\s*", re.ASCII)
_NUMBER: Final = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
_NOT_FINITE: Final = re.compile(r"\s*[+-]?(?:nan|inf|infinity)\s*", re.ASCII | re.IGNORECASE)
_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_BOOL_TEXTS: Final = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_USUAL_BOOLS: Final = {
    spelled: value for text, value in _BOOL_TEXTS.items() for spelled in (text, text.upper(), text.capitalize())
}


class IntConversion(Conversion):
    """An int within limits."""

    def __init__(self, codec: FieldCodec, spelling: Spelling, limits: tuple[int, int]) -> None:
        super().__init__(codec, spelling)
        self.least, self.greatest = limits

    @property
    def accepts(self) -> str:
        return f"an int from {self.least} to {self.greatest}"

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            return self.parse(data)
        if isinstance(data, bool) or not isinstance(data, (int, np.integer)) or not self.least <= data <= self.greatest:
            raise self.refused(data)
        return int(data)

    def parse(self, text: str) -> Any:
        if INTEGER.fullmatch(text):
            number = int(text)
        elif _HEX.fullmatch(text):
            number = int(text, 16)
        else:
            raise self.refused(text)
        if not self.least <= number <= self.greatest:
            raise self.refused(text)
        return number

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        if set(map(type, data)) != {int}:
            return super().load_column(data)
        return self._within(list(data))

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        all_texts = "".join(texts)
        if "_" in all_texts or not all_texts.isascii():
            raise ValueError("some of them are no numbers")  # which `int` would take
        return self._within(list(map(int, texts)))

    def _within(self, values: list[int]) -> list[int]:
        if values and (min(values) < self.least or max(values) > self.greatest):
            raise ValueError("some of them are beyond the limits")
        return values

    def dump(self, value: Any) -> Any:
        return int(self.held(value))

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        if set(map(type, values)) != {int} or not isinstance(self.codec, ScalarCodec):
            return super().dump_column(values)
        self.codec.scalar.pack(values)
        return values

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.dump_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.greatest}


def point(text: str) -> str:
    """A number's text with a decimal point, where the file has a comma."""
    if "." in text:
        raise FieldFault(f"{shown(text)} has a point, and the decimal point is a comma here; numbers have no grouping")
    return text.replace(",", ".")


class FloatConversion(Conversion):
    """A float."""

    @property
    def accepts(self) -> str:
        comma = ", with a decimal comma" if self.spelling.decimal == "," else ""
        return f"a number{comma} that a {self.codec.label} holds"

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            return self._of(data)
        if isinstance(data, (bool, np.bool_)) or not isinstance(data, (numbers.Real, Decimal)):
            raise self.refused(data)
        value = float(data)
        # A Decimal beyond all floats becomes infinite.
        if (math.isinf(value) and data != value) or self.codec.fault(value):
            raise self.refused(data)
        return value

    def parse(self, text: str) -> Any:
        return self._of(point(text) if self.spelling.decimal == "," else text)

    def _of(self, text: str) -> float:
        if _NUMBER.fullmatch(text):
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
            raise ValueError("some of them are no numbers")  # which `float` would take
        if self.spelling.decimal == ",":
            if "." in all_texts:
                raise ValueError("some of them have a point")
            texts = [text.replace(",", ".") for text in texts]
        values = list(map(float, texts))
        if not math.isfinite(sum(values)):  # also of finite values, now and then; each by itself is always right
            raise ValueError("some of them are not finite")
        self._pack(values)
        return values

    def _pack(self, values: Sequence[float]) -> None:
        """Raises OverflowError when one is too large for the field."""
        assert isinstance(self.codec, ScalarCodec)
        if self.codec.size < 8:
            struct.pack(f"<{len(values)}{self.codec.code}", *values)

    def dump(self, value: Any) -> Any:
        number = float(self.held(value))
        if not math.isfinite(number):
            return _special(number)
        assert isinstance(self.codec, ScalarCodec)
        return shortest_of(number, self.codec.scalar.numpy) if self.spelling.shortest else number

    def show(self, value: Any) -> Any:
        data = self.dump(value)
        return str(data).replace(".", ",") if self.spelling.decimal == "," else data

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        if set(map(type, values)) != {float} or not math.isfinite(sum(values)):
            return super().dump_column(values)
        self._pack(values)
        assert isinstance(self.codec, ScalarCodec)
        return shortest(values, self.codec.scalar.numpy) if self.spelling.shortest else values

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.dump_column(values) if self.spelling.decimal == "." else super().show_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [{"type": "number"}, {"enum": list(_SPECIAL)}]}


def _special(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


class BoolConversion(Conversion):
    """A bool: true or false, yes or no, 1 or 0, in any case."""

    accepts: ClassVar[str] = "true or false, yes or no, 1 or 0"

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            return self.parse(data)
        if type(data) in BOOLS:
            return bool(data)
        if isinstance(data, int) and data in (0, 1):
            return data == 1
        raise self.refused(data)

    def parse(self, text: str) -> Any:
        value = _BOOL_TEXTS.get(text.strip().lower())
        if value is None:
            raise self.refused(text)
        return value

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        return list(data) if set(map(type, data)) == {bool} else super().load_column(data)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        return list(map(_USUAL_BOOLS.__getitem__, texts))

    def dump(self, value: Any) -> Any:
        return bool(self.held(value))

    def show(self, value: Any) -> Any:
        return "true" if self.dump(value) else "false"

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "boolean"}


_EXACT: Final = Context(prec=100, traps=[Inexact])
_DOUBLE_DIGITS: Final = 10**15


class ScaledConversion(Conversion):
    """A decimal number of so many places: text, or a float where the field's values are floats."""

    codec: ScaledCodec
    has_decimals = True

    @property
    def accepts(self) -> str:
        return self.codec.accepts

    def plain(self, data: Any) -> Any:
        return data

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            return self._of(data)
        if isinstance(data, Decimal):
            return self._exactly(data, data)
        if isinstance(data, float) and abs(data) * 10**self.codec.digits > _DOUBLE_DIGITS:
            raise FieldFault(f"{data!r} has more digits than a float holds for sure: give text")
        return self.codec.load(self.codec.dump(data))

    def parse(self, text: str) -> Any:
        return self._of(point(text) if self.spelling.decimal == "," else text)

    def _of(self, text: str) -> Any:
        if not _NUMBER.fullmatch(text):
            raise self.refused(text)
        return self._exactly(Decimal(text.strip()), text)

    def _exactly(self, number: Decimal, data: Any) -> Any:
        assert self.codec.storage.limits is not None
        if not number.is_finite() or (number and number.adjusted() + self.codec.digits > 20):
            raise self.refused(data)  # before its digits are written out, of which an exponent can make any number
        units = number.scaleb(self.codec.digits, _EXACT) if number else Decimal(0)
        count = int(units)
        if count != units:
            raise FieldFault(f"{shown(data)} has more than {self.codec.digits} decimal places: round it first")
        if not self.codec.storage.limits[0] <= count <= self.codec.storage.limits[1]:
            raise self.refused(data)
        return self.codec.load(count)

    def dump(self, value: Any) -> Any:
        self.held(value)
        units = self.codec.dump(value)
        if self.codec.as_float:
            return float(self.codec.load(units))
        return format(Decimal(units).scaleb(-self.codec.digits, _EXACT), "f")

    def show(self, value: Any) -> Any:
        data = self.dump(value)
        return str(data).replace(".", ",") if self.spelling.decimal == "," else data

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if self.codec.as_float:
            return {"type": "number"}
        places = f"\\.[0-9]{{{self.codec.digits}}}" if self.codec.digits else ""
        return {"type": "string", "pattern": f"^-?[0-9]+{places}$"}
