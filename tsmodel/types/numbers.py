"""Code that numeric field types share: storing numbers unchanged, their text, and exact comparison with constants.

Rules kept here:

* A constant of any numeric type is compared exactly with stored numbers; it is never rounded on the way.
* Float16 and Float32 are shown as the shortest decimal numbers that read back as the same value, as in NumPy and pandas.
"""

from __future__ import annotations

import math
import numbers
import re
import struct
from collections.abc import Sequence
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from typing import Any, ClassVar, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from tsmodel.types.codec import Description, NumberCodec, Scope, described_number
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.scalars import ByteOrder, Scalar, shown

Real: TypeAlias = int | float | Fraction | Decimal
"""The types to which constants are converted."""


def real(value: object) -> Real | None:
    """Converts a constant of any numeric type to `Real` without changing its value; None if it is not a real number, or a
    bool.

    Floats stay floats. Numbers of other types become floats only if they are not finite.
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
    """Rounds a constant for comparison with a column of floats of a NumPy type. A float is rounded to that width, to
    nearest even, unless it is finite and would become infinite. Any other number is unchanged."""
    if isinstance(number, Fraction):
        low, high = neighbours(number, "f8")
        return float(low) if low == high else number  # shorter in messages
    if not isinstance(number, float):
        return number
    with np.errstate(over="ignore"):
        narrow: np.floating[Any] = np.dtype(numpy).type(number)
    return number if np.dtype(numpy).itemsize == 8 or np.isinf(narrow) else narrow


def neighbours(number: Real | np.floating[Any], numpy: str) -> tuple[np.floating[Any], np.floating[Any]]:
    """The greatest float of a NumPy type that is at most a number, and the least that is at least the number. Both are the
    number itself if it is such a float, or NaN."""
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
    """`first > second`, exactly. Python compares all these types exactly, except Decimals and floats if a context forbids
    it."""
    first, second = (float(each) if isinstance(each, np.floating) else each for each in (first, second))
    if isinstance(first, Decimal):
        second = Decimal.from_float(second)  # noqa: FURB164 - Decimal() may signal
    elif isinstance(second, Decimal):
        first = Decimal.from_float(first)  # noqa: FURB164 - as above
    return bool(first > second)


def whole_operand(value: object, remedy: str = "") -> Real:
    """Converts a constant for comparison with whole numbers: exact numbers, and floats other than NaN.

    Raises:
        FieldFault: if it is not such a number; `remedy` ends the message.
    """
    number = real(value)
    if number is None:
        raise FieldFault(f"cannot be compared with {shown(value)} ({type(value).__name__}){remedy}")
    if isinstance(number, float) and math.isnan(number):
        raise FieldFault(f"cannot be compared with {shown(value)} ({type(value).__name__}): integers are never NaN")
    return number


EXACT: Final = Context(prec=100, traps=[Inexact])
"""The context in which decimals are made from integers, without rounding."""

_DIGITS: Final = {"f4": range(6, 10), "f2": range(3, 6)}
"""Numbers of digits to try for the shortest decimal; shorter ones are found with the least, too."""

_POWERS: Final = np.array([10.0**power for power in range(23)])
"""Powers of ten that a double holds exactly."""

_NARROW: Final = {"f4": (np.float32, struct.Struct("<f")), "f2": (np.float16, struct.Struct("<e"))}
_LEAST: Final = {"f4": 1e-12, "f2": 2.0**-14}
_BOUND: Final = 1e15


def shortest(values: Sequence[float], numpy: str) -> list[float]:
    """For each value, returns the double with the shortest text that reads back as the same single (`f4`) or half (`f2`):
    231.7 for 231.6999969482422. Values that are not singles or halves, because they were never stored, are unchanged.

    Args:
        values: finite or not.
        numpy: NumPy type of the field; doubles are unchanged.
    """
    if numpy not in _DIGITS:
        return list(values)
    with np.errstate(over="ignore"):
        narrow = np.array(values, numpy)
    found = np.array(values, np.float64)
    size = np.where(narrow == found, np.abs(found), 0.0)
    # At powers of two, the neighbours have different distances, which rounding to nearest ignores.
    usual = (size >= _LEAST[numpy]) & (size < _BOUND) & (np.frexp(size)[0] != 0.5)
    wanted = np.flatnonzero(usual)
    places = np.floor(np.log10(size[wanted])).astype(np.int64)
    for digits in _DIGITS[numpy]:
        rounded = _rounded(found[wanted], digits - 1 - places)
        fits = rounded.astype(numpy) == narrow[wanted]
        found[wanted[fits]] = rounded[fits]
        wanted, places = wanted[~fits], places[~fits]
        if not len(wanted):
            break
    rest = np.concatenate([wanted, np.flatnonzero(~usual & (size > 0) & np.isfinite(size))])
    for at in rest.tolist():
        found[at] = float(str(narrow[at]))
    result: list[float] = found.tolist()
    return result


def shortest_of(value: float, numpy: str) -> float:
    """Does the same for a single value, without the overhead of arrays."""
    if numpy not in _DIGITS or not math.isfinite(value):
        return value
    kind, stored = _NARROW[numpy]
    try:
        (narrow,) = stored.unpack(stored.pack(value))
    except OverflowError:
        return value
    return float(str(kind(value))) if narrow == value else value


def _rounded(values: npt.NDArray[np.float64], places: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Rounds values to this many decimal places, or, if negative, zeros before the point; returns the nearest doubles."""
    up, down = _POWERS[np.maximum(places, 0)], _POWERS[np.maximum(-places, 0)]
    rounded: npt.NDArray[np.float64] = np.rint(values * up / down) / up * down
    return rounded


NUMBER: Final = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)


def point(text: str) -> str:
    """Replaces a decimal comma by a point."""
    if "." in text:
        raise FieldFault(f"{shown(text)} has a point, but the decimal point is a comma; digit grouping is not supported")
    return text.replace(",", ".")


class ScalarCodec(NumberCodec, msgspec.Struct, frozen=True):
    """Stores a number or bool unchanged."""

    is_plain = True
    ordered: ClassVar[bool] = True
    is_amount: ClassVar[bool] = True

    scalar: Scalar
    byte_order: ByteOrder = "little"

    @property
    def storage(self) -> Scalar:
        return self.scalar

    @property
    def label(self) -> str:
        return self.scalar.name

    @property
    def accepts(self) -> str:
        return self.scalar.accepts

    @property
    def zero(self) -> object:
        return self.python()

    def load_code(self, stored: str, scope: Scope) -> str:
        return stored

    def checked_code(self, stored: str, scope: Scope) -> str:
        return stored

    def dump_code(self, value: str, scope: Scope) -> str:
        return value

    def write(self, value: Any) -> bytes:
        if why := self.scalar.fault(value):
            raise FieldFault(why)
        return super().write(value)

    def description(self) -> Description:
        return described_number(self.scalar.name, self.scalar, self.byte_order)


T = TypeVar("T")


class ScalarType(FieldType[T]):
    """Base class of field types that store numbers unchanged."""

    scalar: ClassVar[Scalar]
    stored_by: ClassVar[type[ScalarCodec]]
    takes = ("byte_order",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> ScalarCodec:
        return cls.stored_by(cls.scalar, options.byte_order)
