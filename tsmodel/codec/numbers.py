"""Numbers: scalars as they are, decimal numbers as scaled integers, and small integers that share one (bit-fields)."""

from __future__ import annotations

import datetime as dt
import math
import numbers
from collections.abc import Sequence
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from typing import Any, ClassVar, Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import FieldFault, FixedCodec, Mask, Scope
from tsmodel.codec.scalars import BOOLS, ByteOrder, Scalar, are_bools, shown
from tsmodel.errors import TimestampError
from tsmodel.timestamps import to_ns

__all__ = ["EXACT", "BitsCodec", "Real", "ScalarCodec", "ScaledCodec", "neighbours", "rounded"]

Real: TypeAlias = int | float | Fraction | Decimal
"""What constants become."""

_TYPES: Final = {"int": int, "time": int, "float": float, "bool": bool}


@attrs.frozen
class ScalarCodec(FixedCodec):
    """A number or bool as it is."""

    scalar: Scalar
    byte_order: ByteOrder = "little"

    @property
    def label(self) -> str:
        return self.scalar.name

    @property
    def python(self) -> Any:
        return _TYPES[self.scalar.kind]

    @property
    def accepts(self) -> str:
        return self.scalar.accepts

    @property
    def number(self) -> Scalar:
        return self.scalar

    @property
    def code(self) -> str:
        return self.scalar.code

    @property
    def align(self) -> int:
        return self.scalar.size

    @property
    def zero(self) -> object:
        return self.python()

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.scalar.dtype(self.byte_order)

    @property
    def ordered(self) -> bool:
        return self.scalar.kind != "bool"

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: ns since 2001 for times, 0 or 1 for bools. For floats, a float of the field's width, or
        an exact number; for integers any exact number, or an infinite float."""
        kind = self.scalar.kind
        hint = ""
        if kind == "time":
            hint = "; give ns since 2001, an aware datetime, ISO 8601 text or a numpy.datetime64"
            if isinstance(value, (str, dt.datetime, np.datetime64)):
                try:
                    return to_ns(value)
                except TimestampError as error:
                    raise FieldFault(str(error)) from error
        if kind == "bool" and isinstance(value, (bool, np.bool_)):
            return int(value)
        number = None if kind == "bool" else real(value)
        if kind == "time" and not isinstance(number, int):
            number = None
        if number is None:
            raise FieldFault(f"cannot be compared with {shown(value)} ({type(value).__name__}){hint}")
        return rounded(number, self.scalar.numpy) if kind == "float" else _integral(number, value)

    def constant(self, value: Any) -> Any:
        """See `FieldCodec.constant`: for the items of arrays and structures, which are Python's own numbers."""
        if self.scalar.kind != "float":
            return super().constant(value)
        number = self.operand(value)
        return float(number) if isinstance(number, np.floating) else number

    def comparable(self, value: Any) -> Any:
        """See `FieldCodec.comparable`: messages hold floats wider than the field is."""
        if self.scalar.kind != "float" or self.scalar.size == 8:
            return value
        return float(np.dtype(self.scalar.numpy).type(value))

    @property
    def may_be_faulty(self) -> bool:
        """See `FixedCodec.may_be_faulty`."""
        return self.scalar.kind == "bool"

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        """A bool is 0 or 1."""
        if not self.may_be_faulty:
            return None
        mask: Mask = np.ascontiguousarray(column).view(np.uint8) > 1
        return mask

    def load_code(self, stored: str, scope: Scope) -> str:
        return stored

    def dump_code(self, value: str, scope: Scope) -> str:
        return value

    @property
    def defers(self) -> bool:
        """`struct` takes the truth of anything for a bool."""
        return self.scalar.kind == "bool"

    def holds(self, stored: Sequence[Any]) -> bool:
        return self.scalar.kind != "bool" or are_bools(stored)

    def dump(self, value: Any) -> Any:
        if self.scalar.kind == "bool" and type(value) not in BOOLS:
            raise self.refused(value)
        return value

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        if self.scalar.kind == "bool" and at < end and payload[at] > 1:
            raise FieldFault(f"byte {payload[at]} is neither 0 nor 1, so no Bool", at)
        return super().read(payload, at, end)

    def write(self, value: Any) -> bytes:
        if why := self.scalar.fault(value):
            raise FieldFault(why)
        return super().write(value)


@attrs.frozen
class ScaledCodec(FixedCodec):
    """A decimal number, stored as an integer of units of `10 ** -digits`.

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

    @property
    def number(self) -> Scalar:
        return self.storage

    @property
    def code(self) -> str:
        return self.storage.code

    @property
    def align(self) -> int:
        return self.storage.size

    @property
    def zero(self) -> object:
        return 0

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.storage.dtype(self.byte_order)

    @property
    def accepts(self) -> str:
        assert self.storage.limits is not None
        least, greatest = (Decimal(limit).scaleb(-self.digits, EXACT) for limit in self.storage.limits)
        return f"a number of at most {self.digits} decimal places from {least} to {greatest}"

    @property
    def may_be_faulty(self) -> bool:
        """See `FixedCodec.may_be_faulty`."""
        return self.as_float and self.storage.size == 8

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        """Past 15 digits, a double need not lead back to the integer that it was made of."""
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
        if isinstance(value, Decimal) and value and value.is_finite() and not -99 < value.adjusted() < 99:
            raise self.refused(value)  # before its digits are written out, of which an exponent can make any number
        units = self._units(value)
        if units.denominator != 1:
            raise FieldFault(f"{shown(value)} has more than {self.digits} decimal places: round it first")
        number = units.numerator
        assert self.storage.limits is not None
        if not self.storage.limits[0] <= number <= self.storage.limits[1]:
            raise self.refused(value)
        if self.as_float and abs(number) > _DOUBLE_DIGITS:
            raise FieldFault(f"{shown(value)} has more digits than a float holds for sure: use Scaled with Decimal")
        return number

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: a fraction of units, so that the comparison is exact; or an infinite float. A float
        is taken for the decimal number that it is shown as."""
        number = real(value)
        if number is None:
            raise FieldFault(f"cannot be compared with {shown(value)}; give a number")
        number = _integral(number, value)
        if isinstance(number, float):
            if math.isinf(number):
                return number
            number = Decimal(str(value) if isinstance(value, np.floating) else repr(number))
        if isinstance(number, Decimal):
            if number.adjusted() > _MOST_DIGITS:
                return math.copysign(math.inf, number)
            if number.adjusted() < -_MOST_DIGITS:
                return Fraction(1 if number > 0 else -1, 2)  # any part of a unit compares alike with whole units
        return Fraction(number) * 10**self.digits

    def _units(self, value: Any) -> Fraction:
        if isinstance(value, float):
            value = Decimal(repr(float(value)))
        elif not isinstance(value, (Decimal, int, np.integer)) or isinstance(value, bool):
            raise TypeError("not a number")
        elif isinstance(value, np.integer):
            value = int(value)
        if isinstance(value, Decimal) and value.is_finite() and value and abs(value.adjusted()) > _MOST_DIGITS:
            raise OverflowError("such a Decimal takes very long to make a fraction of")
        return Fraction(value or 0) * Fraction(10**self.digits)


EXACT: Final = Context(prec=100, traps=[Inexact])
"""In which decimals are made of their units."""
_DOUBLE_DIGITS: Final = 10**15
_MOST_DIGITS: Final = 1000
"""No stored number has so many."""


@attrs.frozen
class BitsCodec(FixedCodec):
    """Some bits of an integer that several fields share.

    Attributes:
        bits: how many.
        storage: the unsigned integer that holds them.
        shift: bits of that integer below them.
    """

    bits: int
    storage: Scalar
    shift: int = 0
    byte_order: ByteOrder = "little"
    python: ClassVar[Any] = int
    zero: ClassVar[object] = 0

    @property
    def label(self) -> str:
        return f"Bits {self.shift} to {self.shift + self.bits - 1} of {self.storage.name}"

    @property
    def accepts(self) -> str:
        return f"an int from 0 to {2**self.bits - 1}"

    @property
    def number(self) -> Scalar:
        return self.storage

    @property
    def code(self) -> str:
        return self.storage.code

    @property
    def align(self) -> int:
        return self.storage.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.storage.dtype(self.byte_order)

    def of(self, units: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The field's values, from a column of the integers that hold them."""
        values: npt.NDArray[Any] = (units >> units.dtype.type(self.shift)) & units.dtype.type(2**self.bits - 1)
        return values

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: any exact number, or an infinite float."""
        number = real(value)
        if number is None:
            raise FieldFault(f"cannot be compared with {shown(value)}; give an int")
        return _integral(number, value)

    def load(self, stored: Any) -> Any:
        return (stored >> self.shift) & (2**self.bits - 1)

    def load_code(self, stored: str, scope: Scope) -> str:
        mask = 2**self.bits - 1
        return f"{stored} >> {self.shift} & {mask}" if self.shift else f"{stored} & {mask}"

    def dump(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**self.bits:
            raise self.refused(value)
        return int(value) << self.shift


def real(value: object) -> Real | None:
    """A constant of any numeric type as one of a few, of the same value; None for what is no real number, or a bool.

    Floats stay floats, of other types only NaN and the infinities become floats.
    """
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, Decimal):
        return (value or 0) if value.is_finite() else math.nan if value.is_nan() else math.copysign(math.inf, value)
    if isinstance(value, numbers.Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, np.floating) and value.dtype.char == "g" and np.isfinite(value):
        return Fraction(*value.as_integer_ratio())
    return float(value) if isinstance(value, numbers.Real) else None


def rounded(number: Real, numpy: str) -> Real | np.floating[Any]:
    """A constant as columns of floats of this NumPy type are compared with it: a float is rounded to that width, to nearest
    even, unless it is finite and would become infinite; any other number stays as it is."""
    if isinstance(number, Fraction):
        low, high = neighbours(number, "f8")
        return float(low) if low == high else number  # which is shorter to read
    if not isinstance(number, float):
        return number
    with np.errstate(over="ignore"):
        narrow: np.floating[Any] = np.dtype(numpy).type(number)
    return number if np.dtype(numpy).itemsize == 8 or np.isinf(narrow) else narrow


def neighbours(number: Real | np.floating[Any], numpy: str) -> tuple[np.floating[Any], np.floating[Any]]:
    """The greatest float of a NumPy type that is not above a number, and the least that is not below it: the number itself,
    twice, when it is such a float, or NaN."""
    kind: Any = np.dtype(numpy).type
    with np.errstate(over="ignore"):
        try:
            near = kind(float(number))
        except OverflowError:
            near = kind(math.inf if number > 0 else -math.inf)
        low = high = near
        while _above(low, number):
            low = np.nextafter(low, kind(-math.inf))
        while _above(number, high):
            high = np.nextafter(high, kind(math.inf))
    return low, high


def _above(first: Any, second: Any) -> bool:
    """`first > second`, exactly; Python compares all others so, and Decimals with floats unless a context forbids it."""
    first, second = (float(each) if isinstance(each, np.floating) else each for each in (first, second))
    if isinstance(first, Decimal):
        second = Decimal.from_float(second)  # noqa: FURB164 - Decimal() may signal
    elif isinstance(second, Decimal):
        first = Decimal.from_float(first)  # noqa: FURB164 - as above
    return bool(first > second)


def _integral(number: Real, value: object) -> Real:
    """A constant that integers are compared with."""
    if isinstance(number, float) and math.isnan(number):
        raise FieldFault(f"cannot be compared with {shown(value)} ({type(value).__name__}): integers are never NaN")
    return number
