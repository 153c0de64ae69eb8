"""`Bits`: bit-fields, small integers that share one storage integer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.types.codec import Description, NumberCodec, Scope, described_number
from tsmodel.types.declaring import FieldType, IntField, Options, check_int
from tsmodel.types.integers import IntConversion, UInt8
from tsmodel.types.numbers import whole_operand
from tsmodel.types.scalars import ByteOrder, Scalar, int_within
from tsmodel.types.text_facet import Conversion, Spelling


class BitsCodec(NumberCodec, msgspec.Struct, frozen=True):
    """A bit-field of an integer that several fields share.

    Attributes:
        bits: width in bits.
        storage: the unsigned integer that holds it.
        shift: number of bits below it in that integer.
    """

    bits: int
    storage: Scalar
    shift: int = 0
    byte_order: ByteOrder = "little"
    python: ClassVar[Any] = int
    is_amount: ClassVar[bool] = True

    @property
    def label(self) -> str:
        return f"Bits {self.shift} to {self.shift + self.bits - 1} of {self.storage.name}"

    @property
    def accepts(self) -> str:
        return int_within(*self.limits)

    @property
    def limits(self) -> tuple[int, int]:
        return 0, 2**self.bits - 1

    def shifted(self, shift: int) -> BitsCodec:
        return msgspec.structs.replace(self, shift=shift)

    def stored_numbers(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See `FixedCodec.stored_numbers`: `column` contains the shared integers."""
        values: npt.NDArray[Any] = (column >> column.dtype.type(self.shift)) & column.dtype.type(2**self.bits - 1)
        return values

    def numbers_of(self, values: Sequence[Any]) -> npt.NDArray[Any]:
        return np.array(values, self.dtype)

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any exact number, or an infinite float."""
        return whole_operand(value, "; give an int")

    def load(self, stored: Any) -> Any:
        return (stored >> self.shift) & (2**self.bits - 1)

    def load_code(self, stored: str, scope: Scope) -> str:
        mask = 2**self.bits - 1
        return f"{stored} >> {self.shift} & {mask}" if self.shift else f"{stored} & {mask}"

    def dump(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**self.bits:
            raise self.refused(value)
        return int(value) << self.shift

    def checked_code(self, stored: str, scope: Scope) -> str:
        return self.load_code(stored, scope)

    def unencodable(self, module: Any) -> str | None:
        return ""  # a message has no bit-fields

    def description(self) -> Description:
        return described_number("Bits", self.storage, self.byte_order, bits=self.bits, shift=self.shift)

    def conversion(self, spelling: Spelling) -> Conversion:
        return IntConversion(self, spelling, self.limits)

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        stored = super().converted(values)
        return None if stored is None else stored << stored.dtype.type(self.shift)

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        return super().to_arrow(pa, name, self.stored_numbers(column))

    def arrow_shift(self, pa: Any, kind: Any) -> int | None:
        return None


class Bits(IntField, FieldType[int]):
    """An unsigned int of `bits` bits, from 0 to 2**bits - 1.

    Adjacent fields with the same `storage` (UInt8 by default) share an integer as long as they fit. The first one has the
    lowest bits, as in C bit-fields of one type on x86-64.
    """

    takes = ("bits", "storage", "byte_order")
    examples = ("Bits = field(bits=3)",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> BitsCodec:
        bits = options.require("bits", "3")
        storage = options.storage(UInt8, signed=False)
        check_int("bits", bits, 1, storage.size * 8, f", the bits of {storage.name}")
        return BitsCodec(bits, storage, 0, options.byte_order)
