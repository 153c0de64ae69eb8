"""Numbers: scalars as they are, decimal numbers as scaled integers, and small integers that share one (bit-fields)."""

from __future__ import annotations

import datetime as dt
import math
import numbers
from collections.abc import Sequence
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from typing import Any, Final, SupportsFloat

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import FieldFault, FixedCodec, Mask, Scope
from tsmodel.codec.scalars import BOOLS, ByteOrder, Scalar, are_bools, shown
from tsmodel.errors import TimestampError
from tsmodel.timestamps import to_ns

__all__ = ["BitsCodec", "ScalarCodec", "ScaledCodec"]

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
        """See `FieldCodec.operand`: an int for integers, ns since 2001 for times, 0 or 1 for bools."""
        kind = self.scalar.kind
        hint = ""
        if kind == "time":
            hint = "; give ns since 2001, an aware datetime, ISO 8601 text or a numpy.datetime64"
            if isinstance(value, (str, dt.datetime, np.datetime64)):
                try:
                    return to_ns(value)
                except TimestampError as error:
                    raise FieldFault(str(error)) from error
        if isinstance(value, (bool, np.bool_)):
            if kind == "bool":
                return int(value)
        elif isinstance(value, numbers.Integral) and kind != "bool":
            exact = int(value)
            return exact if kind != "float" or math.isfinite(_double(exact)) else _double(exact)
        elif isinstance(value, (numbers.Real, Decimal)) and kind in ("int", "float"):
            number = _double(value)
            if kind == "float" or not math.isnan(number):
                return number
        raise FieldFault(f"cannot be compared with {shown(value)} ({type(value).__name__}){hint}")

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
    ordered = True
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
        least, greatest = (Decimal(limit).scaleb(-self.digits, _EXACT) for limit in self.storage.limits)
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
            return Decimal(stored).scaleb(-self.digits, _EXACT)
        if abs(stored) > _DOUBLE_DIGITS:
            raise FieldFault(f"{stored} units of 1e-{self.digits} have more digits than a float: use Scaled with Decimal")
        return stored / 10**self.digits

    def load_code(self, stored: str, scope: Scope) -> str:
        if self.as_float:
            return f"{stored} / {10**self.digits}"
        return f"{scope.add(Decimal)}({stored}).scaleb({-self.digits}, {scope.add(_EXACT)})"

    def dump_code(self, value: str, scope: Scope) -> str:
        if self.as_float:
            return f"{scope.add(self.dump)}({value})"
        exact = scope.add(_EXACT)
        return f"{scope.add(int)}({value}.scaleb({self.digits}, {exact}).to_integral_exact(None, {exact}))"

    def dump(self, value: Any) -> Any:
        if self.as_float and type(value) is float:
            number = round(value * 10**self.digits) if math.isfinite(value) else 0
            if number / 10**self.digits == value and abs(number) <= _DOUBLE_DIGITS:
                return number
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
        """See `FieldCodec.operand`: a fraction of units, so that the comparison is exact."""
        try:
            return self._units(value)
        except (TypeError, ValueError, OverflowError):
            raise FieldFault(f"cannot be compared with {shown(value)}; give a number") from None

    def _units(self, value: Any) -> Fraction:
        if isinstance(value, float):
            value = Decimal(repr(float(value)))
        elif not isinstance(value, (Decimal, int, np.integer)) or isinstance(value, bool):
            raise TypeError("not a number")
        elif isinstance(value, np.integer):
            value = int(value)
        return Fraction(value) * Fraction(10**self.digits)


_EXACT: Final = Context(prec=100, traps=[Inexact])
_DOUBLE_DIGITS: Final = 10**15


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
    python = int
    zero = 0

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
        """See `FieldCodec.operand`: an int."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise FieldFault(f"cannot be compared with {shown(value)}; give an int")
        return Fraction(float(value)) if not isinstance(value, numbers.Rational) else Fraction(value)

    def load(self, stored: Any) -> Any:
        return (stored >> self.shift) & (2**self.bits - 1)

    def load_code(self, stored: str, scope: Scope) -> str:
        mask = 2**self.bits - 1
        return f"{stored} >> {self.shift} & {mask}" if self.shift else f"{stored} & {mask}"

    def dump(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**self.bits:
            raise self.refused(value)
        return int(value) << self.shift


def _double(value: SupportsFloat) -> float:
    """The value as a double; beyond the greatest one, infinite, which compares in the same way with any that is stored."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]
