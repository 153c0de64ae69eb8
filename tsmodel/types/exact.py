"""Constants of any numeric type, compared exactly with stored numbers."""

from __future__ import annotations

import math
import numbers
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from typing import Any, Final, TypeAlias

import numpy as np

from tsmodel.types.faults import FieldFault
from tsmodel.types.scalars import shown

__all__ = ["EXACT", "Real", "integral", "neighbours", "real", "rounded"]

Real: TypeAlias = int | float | Fraction | Decimal
"""What constants become."""


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


def integral(number: Real, value: object) -> Real:
    """A constant that integers are compared with."""
    if isinstance(number, float) and math.isnan(number):
        raise FieldFault(f"cannot be compared with {shown(value)} ({type(value).__name__}): integers are never NaN")
    return number


EXACT: Final = Context(prec=100, traps=[Inexact])
"""In which decimals are made of their units."""
