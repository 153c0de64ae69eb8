"""Singles and halves as the shortest decimal numbers that become them again, as NumPy and pandas write them."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["shortest", "shortest_of"]

_DIGITS: Final = {"f4": range(6, 10), "f2": range(3, 6)}
"""How many digits the shortest number can have: a number of fewer is also found with the least."""

_POWERS: Final = np.array([10.0**power for power in range(23)])
"""Powers of ten that a double holds exactly."""

_WIDTHS: Final = {
    numpy: (each.pack, each.unpack, least, bound, [f"%.{digits}g" for digits in _DIGITS[numpy]])
    for numpy, each, least, bound in (
        ("f4", struct.Struct("<f"), 2.0**-126, 1e38),
        ("f2", struct.Struct("<e"), 2.0**-14, 6e4),
    )
}
"""How numbers become one of a width and are read again, between which bounds their digits are found by trying, and how."""

_POWER_OF_TWO: Final = (0.5, -0.5)
_LEAST: Final = {"f4": 1e-12, "f2": 2.0**-14}
_BOUND: Final = 1e15


def shortest(values: Sequence[float], numpy: str) -> list[float]:
    """For each value, the double whose text is the shortest that is read as the same single (`f4`) or half (`f2`): 231.7
    for 231.6999969482422. What is no such number, as before it is stored, stays as it is.

    Args:
        values: finite or not.
        numpy: the NumPy type that they are stored as; doubles stay as they are.
    """
    if numpy not in _DIGITS:
        return list(values)
    with np.errstate(over="ignore"):
        narrow = np.array(values, numpy)
    found = np.array(values, np.float64)
    size = np.where(narrow == found, np.abs(found), 0.0)
    # At powers of two neighbours are not equally far away, which rounding to the nearest does not see.
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
    """The same for a single value, without the overhead of arrays."""
    if numpy not in _DIGITS or not math.isfinite(value):
        return value
    pack, unpack, least, bound, forms = _WIDTHS[numpy]
    try:
        if unpack(pack(value))[0] != value:
            return value
    except OverflowError:
        return value
    if least <= abs(value) < bound and math.frexp(value)[0] not in _POWER_OF_TWO:  # as above
        for form in forms:
            found = float(form % value)
            if unpack(pack(found))[0] == value:
                return found
    return float(str(np.dtype(numpy).type(value)))


def _rounded(values: npt.NDArray[np.float64], places: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Values with so many decimal places, or so many zeros in front of the point: the double next to that number."""
    up, down = _POWERS[np.maximum(places, 0)], _POWERS[np.maximum(-places, 0)]
    rounded: npt.NDArray[np.float64] = np.rint(values * up / down) / up * down
    return rounded
