"""Integers: `Int8` to `Int64` and `UInt8` to `UInt64`.

Rules kept here:

* Numbers in text are ASCII digits, optionally with surrounding space; no underscores, no grouping. Integers may also be
  hex, `0x1f`. A float or a bool is never converted to an int.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

import msgspec
import numpy as np

from tsmodel.types.codec import FieldCodec
from tsmodel.types.declaring import IntField
from tsmodel.types.numbers import ScalarCodec, ScalarType, whole_operand
from tsmodel.types.scalars import SCALARS, int_within
from tsmodel.types.text_facet import Conversion, Spelling

INTEGER: Final = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
"""An integer in decimal digits."""

_HEX: Final = re.compile(r"\s*[+-]?0[xX][0-9a-fA-F]+\s*", re.ASCII)


def int_of(text: str) -> int | None:
    """Returns the int that a text spells in decimal or hex digits; None if it spells none."""
    if INTEGER.fullmatch(text):
        return int(text)
    return int(text, 16) if _HEX.fullmatch(text) else None


class IntConversion(Conversion):
    """An int within limits."""

    def __init__(self, codec: FieldCodec, spelling: Spelling, limits: tuple[int, int]) -> None:
        super().__init__(codec, spelling)
        self.least, self.greatest = limits

    @property
    def accepts(self) -> str:
        return int_within(self.least, self.greatest)

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            return self.parse(data)
        if isinstance(data, bool) or not isinstance(data, (int, np.integer)) or not self.least <= data <= self.greatest:
            raise self.refused(data)
        return int(data)

    def parse(self, text: str) -> Any:
        number = int_of(text)
        if number is None or not self.least <= number <= self.greatest:
            raise self.refused(text)
        return number

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        if set(map(type, data)) != {int}:
            return super().load_column(data)
        return self._within(list(data))

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        all_texts = "".join(texts)
        if "_" in all_texts or not all_texts.isascii():
            raise ValueError("not all of them are numbers")  # `int` would accept them
        return self._within(list(map(int, texts)))

    def _within(self, values: list[int]) -> list[int]:
        if values and (min(values) < self.least or max(values) > self.greatest):
            raise ValueError("some of them are out of range")
        return values

    def dump(self, value: Any) -> Any:
        return int(self.held(value))

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        number = self.codec.number
        if set(map(type, values)) != {int} or number is None or not self.codec.is_plain:
            return super().dump_column(values)
        number.pack(values)
        return values

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.greatest}


class IntCodec(ScalarCodec, frozen=True):
    """Stores an int unchanged."""

    python: ClassVar[Any] = int

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any exact number, or an infinite float."""
        return whole_operand(value)

    @property
    def message_type(self) -> Any:
        least, greatest = self.limits
        if greatest >= 2**63:  # msgspec has no bounds beyond
            return int
        return Annotated[int, msgspec.Meta(ge=least, le=greatest)]

    def conversion(self, spelling: Spelling) -> Conversion:
        return IntConversion(self, spelling, self.limits)


class IntegerType(IntField, ScalarType[int]):
    """Base class of the integer types."""

    stored_by = IntCodec


class Int8(IntegerType):
    """An int from -128 to 127; 1 byte."""

    scalar = SCALARS["Int8"]


class Int16(IntegerType):
    """An int from -2**15 to 2**15 - 1; 2 bytes."""

    scalar = SCALARS["Int16"]


class Int32(IntegerType):
    """An int from -2**31 to 2**31 - 1; 4 bytes."""

    scalar = SCALARS["Int32"]


class Int64(IntegerType):
    """An int from -2**63 to 2**63 - 1; 8 bytes."""

    scalar = SCALARS["Int64"]


class UInt8(IntegerType):
    """An int from 0 to 255; 1 byte."""

    scalar = SCALARS["UInt8"]


class UInt16(IntegerType):
    """An int from 0 to 2**16 - 1; 2 bytes."""

    scalar = SCALARS["UInt16"]


class UInt32(IntegerType):
    """An int from 0 to 2**32 - 1; 4 bytes."""

    scalar = SCALARS["UInt32"]


class UInt64(IntegerType):
    """An int from 0 to 2**64 - 1; 8 bytes."""

    scalar = SCALARS["UInt64"]
