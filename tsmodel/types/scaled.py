"""`Scaled`: decimal numbers, stored as integers."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from tsmodel.types.codec import Description, NumberCodec, Scope, described_number
from tsmodel.types.column_facet import decoded, integers, native, plain_value, refuse
from tsmodel.types.declaring import FieldType, Options, check_int
from tsmodel.types.field_faults import FieldFault, Mask, RowFault
from tsmodel.types.integers import Int64
from tsmodel.types.numbers import EXACT, NUMBER, point, whole_operand
from tsmodel.types.scalars import ByteOrder, Scalar, shown
from tsmodel.types.text_facet import Conversion, Spelling

_DOUBLE_DIGITS: Final = 10**15

_MOST_DIGITS: Final = 1000
"""More digits than any stored number has."""

_DIGITS: Final = {1: 3, 2: 5, 4: 10, 8: 20}
"""Maximum number of decimal digits of integers, by their size in bytes."""


class ScaledCodec(NumberCodec, msgspec.Struct, frozen=True):
    """A decimal number, stored as an integer count of `10 ** -digits`.

    Attributes:
        digits: decimal places.
        storage: the integer.
        as_float: whether values are floats; otherwise they are `Decimal`.
    """

    digits: int
    storage: Scalar
    as_float: bool = False
    ordered: ClassVar[bool] = True
    byte_order: ByteOrder = "little"

    @property
    def label(self) -> str:
        return f"Scaled {self.digits} digits in {self.storage.name}"

    @property
    def python(self) -> Any:
        return float if self.as_float else Decimal

    is_amount: ClassVar[bool] = True

    @property
    def accepts(self) -> str:
        least, greatest = (Decimal(limit).scaleb(-self.digits, EXACT) for limit in self.limits)
        return f"a number of at most {self.digits} decimal places from {least} to {greatest}"

    @property
    def may_be_faulty(self) -> bool:
        return self.as_float and self.storage.size == 8

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        """See `FixedCodec.faulty`: beyond 15 digits, a double may not convert back to the same integer."""
        if not self.may_be_faulty:
            return None
        mask: Mask = (column > _DOUBLE_DIGITS) | (column < -_DOUBLE_DIGITS if column.dtype.kind == "i" else False)
        return mask

    def load(self, stored: Any) -> Any:
        if not self.as_float:
            return Decimal(stored).scaleb(-self.digits, EXACT)
        if abs(stored) > _DOUBLE_DIGITS:
            raise FieldFault(f"{stored} units of 1e-{self.digits} have more digits than a float: use Scaled with Decimal")
        return stored / 10**self.digits

    def load_code(self, stored: str, scope: Scope) -> str:
        if self.as_float:
            return f"{stored} / {10**self.digits}"
        return f"{scope.add(Decimal)}({stored}).scaleb({-self.digits}, {scope.add(EXACT)})"

    def dump_code(self, value: str, scope: Scope) -> str:
        if self.as_float:
            return f"{scope.add(self.dump)}({value})"
        exact = scope.add(EXACT)
        return f"{scope.add(int)}({value}.scaleb({self.digits}, {exact}).to_integral_exact(None, {exact}))"

    def dump(self, value: Any) -> Any:
        if self.as_float and type(value) is float:
            number = round(value * 10**self.digits) if math.isfinite(value) else 0
            if number / 10**self.digits == value and abs(number) <= _DOUBLE_DIGITS:
                return number
        if isinstance(value, float):
            return self.units_of(Decimal(repr(float(value))), value)
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return self.units_of(Decimal(int(value)), value)
        if not isinstance(value, Decimal):
            raise self.refused(value)
        return self.units_of(value, value)

    def units_of(self, number: Decimal, given: object) -> int:
        """Converts a decimal number to units; a fault names what was `given` for it."""
        least, greatest = self.limits
        if not number.is_finite() or (number and number.adjusted() + self.digits > 20):
            raise self.refused(given)  # before its digits are written out, of which an exponent can make any number
        units = number.scaleb(self.digits, EXACT) if number else number
        count = int(units)
        if count != units:
            raise FieldFault(f"{shown(given)} has more than {self.digits} decimal places: round it first")
        if not least <= count <= greatest:
            raise self.refused(given)
        if self.as_float and abs(count) > _DOUBLE_DIGITS:
            raise FieldFault(f"{shown(given)} has more digits than a float holds for sure: use Scaled with Decimal")
        return count

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: an exact fraction of units, or an infinite float. A float stands for the decimal
        number that its `repr` shows."""
        number = whole_operand(value, "; give a number")
        if isinstance(number, float):
            if math.isinf(number):
                return number
            number = Decimal(str(value) if isinstance(value, np.floating) else repr(number))
        if isinstance(number, Decimal):
            if number.adjusted() > _MOST_DIGITS:
                return math.copysign(math.inf, number)
            if number.adjusted() < -_MOST_DIGITS:
                return Fraction(1 if number > 0 else -1, 2)  # any fraction of a unit compares the same with whole units
        return Fraction(number) * 10**self.digits

    def description(self) -> Description:
        return described_number("Scaled", self.storage, self.byte_order, digits=self.digits)

    def reading(self) -> Description:
        return {"as": "float"} if self.as_float else {}

    def conversion(self, spelling: Spelling) -> Conversion:
        return ScaledConversion(self, spelling)

    @property
    def counts(self) -> str:
        return f"in units of 1e-{self.digits}"

    def arrow_type(self, pa: Any) -> Any:
        if self.as_float:
            return pa.float64()
        return pa.decimal128(max(_DIGITS[self.size], self.digits), self.digits)

    def arrow_shift(self, pa: Any, kind: Any) -> int | None:
        return None

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        values = native(column)
        if self.as_float:
            return pa.array(values / 10.0**self.digits)
        halves = np.zeros((len(values), 2), np.uint64)  # 128-bit integers, the lower half first
        if values.dtype.kind == "u":
            halves[:, 0] = values
        else:
            signed = values.astype(np.int64)
            halves[:, 0] = signed.view(np.uint64)
            halves[:, 1] = (signed >> 63).view(np.uint64)
        return pa.Array.from_buffers(self.arrow_type(pa), len(values), [None, pa.py_buffer(halves)])

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """See `FixedCodec.converted`: a float must be the one nearest to a decimal number with `digits` places."""
        if values.ndim > 1 or values.dtype.kind != "f":
            return super().converted(values)
        wide = values.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            units = np.rint(wide * 10.0**self.digits)
            whole = (units / 10.0**self.digits).astype(values.dtype) == values
        refuse(
            ~whole,
            values,
            lambda at: f"{plain_value(values, at)!r} has more than {self.digits} decimal places: round it first",
        )
        refuse(
            np.abs(units) > _DOUBLE_DIGITS,
            values,
            lambda at: f"{plain_value(values, at)!r} has more digits than a float holds for sure",
        )
        return integers(self, units.astype(np.int64))

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        """See `FixedCodec.from_arrow`: an integer is the number itself, not a count of units."""
        array = decoded(pa, array)
        if not (pa.types.is_decimal(array.type) or pa.types.is_integer(array.type)):
            return super().from_arrow(pa, array)
        wide = pa.decimal128(38, self.digits)
        try:
            scaled = array.cast(pa.decimal128(38, 0) if pa.types.is_integer(array.type) else array.type).cast(wide)
        except pa.ArrowException:
            for row, value in enumerate(array.to_pylist()):
                if value is not None and (fault := self.fault(value)):
                    raise RowFault(row, fault.why, value) from None
            raise
        halves = np.frombuffer(scaled.buffers()[1], np.uint64).reshape(-1, 2)[scaled.offset : scaled.offset + len(array)]
        low, high = np.array(halves[:, 0]), np.array(halves[:, 1])
        present = array.is_valid().to_numpy(zero_copy_only=False)
        low[~present], high[~present] = 0, 0
        unsigned = self.dtype.kind == "u"
        units: npt.NDArray[Any] = low if unsigned else low.view(np.int64)
        beyond = high != (0 if unsigned else (low.view(np.int64) >> 63).view(np.uint64))
        if beyond.any():
            row = int(beyond.argmax())
            value = array[row].as_py()
            raise RowFault(row, f"{value!r} is not {self.accepts}", value)
        return units


class ScaledConversion(Conversion):
    """A decimal number with a fixed number of places: text, or a float if values of the field are floats."""

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
        if isinstance(data, float) and abs(data) * 10**self.codec.digits > _DOUBLE_DIGITS:
            raise FieldFault(f"{data!r} has more digits than a float holds for sure: give text")
        return self.codec.load(self.codec.dump(data))

    def parse(self, text: str) -> Any:
        return self._of(point(text) if self.spelling.decimal == "," else text)

    def _of(self, text: str) -> Any:
        if not NUMBER.fullmatch(text):
            raise self.refused(text)
        return self.codec.load(self.codec.units_of(Decimal(text.strip()), text))

    def dump(self, value: Any) -> Any:
        self.held(value)
        units = self.codec.dump(value)
        if self.codec.as_float:
            return float(self.codec.load(units))
        return format(Decimal(units).scaleb(-self.codec.digits, EXACT), "f")

    def show(self, value: Any) -> Any:
        data = self.dump(value)
        return str(data).replace(".", ",") if self.spelling.decimal == "," else data

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if self.codec.as_float:
            return {"type": "number"}
        places = f"\\.[0-9]{{{self.codec.digits}}}" if self.codec.digits else ""
        return {"type": "string", "pattern": f"^-?[0-9]+{places}$"}


N = TypeVar("N", Decimal, float, default=Decimal)


class Scaled(FieldType[N]):
    """A decimal number with a fixed number of places, stored as an integer count of `10 ** -digits`.

    Values are `Decimal`, or float with `Scaled[float]`. `digits` is the number of decimal places, `storage` the integer
    type. A value with more decimal places raises an error on writing; it is never rounded.
    """

    takes = ("digits", "storage", "byte_order")
    examples = ("Scaled = field(digits=2, storage=Int32)", "Scaled[float] = field(digits=2)")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> ScaledCodec:
        if argument not in (None, Decimal, float):
            raise ValueError("values of Scaled are Decimal or float: write Scaled or Scaled[float]")
        digits = options.require("digits", "2")
        check_int("digits", digits, 0, 30)
        return ScaledCodec(digits, options.storage(Int64), argument is float, options.byte_order)
