"""Constraints on values beyond those of the field type: bounds, lengths, patterns, and user functions.

They are checked when records are written and when outside data is converted; on reading only with `strict_read`.

Rules kept here:

* A value is compared with a bound in the way in which queries compare stored values with a constant
  (`FieldCodec.operand`): floats in the width of the field, decimals exactly. So the same values pass on writing and on
  reading.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.types.codec import FieldCodec
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.numbers import neighbours, shortest_of
from tsmodel.types.scalars import shown

__all__ = ["Bounds", "Constraints"]


class Bounds(msgspec.Struct, frozen=True):
    """Inclusive bounds of stored numbers, checked for many at once.

    Attributes:
        least, greatest: the bounds; infinite if there is none.
        step: the numbers must be multiples of it; 0 for any number.
        numpy: NumPy type to which floats are rounded; None for integers.
    """

    least: Any
    greatest: Any
    step: int = 0
    numpy: str | None = None

    def hold(self, stored: Sequence[Any]) -> bool:
        """Whether all stored numbers are within the bounds; NaN never is."""
        with np.errstate(over="ignore"):
            return not self.refused(np.array(stored, self.numpy)).any()

    def refused(self, column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Mask of the stored numbers (shape (n,)) that are not within the bounds; shape (n,)."""
        mask: npt.NDArray[np.bool_] = ~((column >= self.least) & (column <= self.greatest))
        return mask | (column % self.step != 0) if self.step else mask


class Constraints(msgspec.Struct, frozen=True, dict=True):
    """The constraints of a field. An absent value (None) satisfies all of them.

    Attributes:
        ge, le, gt, lt: bounds.
        multiple_of: the value must be a whole multiple of it.
        min_length, max_length: bounds of `len(value)`.
        pattern: regular expression that must match somewhere in the text (`re.search`).
        validate: called with a value; False or a `ValueError` rejects it.
        codec: how a present value is stored; None until the field is known.
    """

    ge: Any = None
    le: Any = None
    gt: Any = None
    lt: Any = None
    multiple_of: Any = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    validate: Callable[[Any], object] | None = None

    codec: FieldCodec | None = None

    def __post_init__(self) -> None:
        if self.codec is not None:
            _ = self._asked  # raises if a bound cannot be compared with values

    @cached_property
    def _asked(self) -> tuple[tuple[Any, str, Callable[[Any], object]], ...]:
        """For each bound: the bound as given, the condition in words, and the function that checks it."""
        asked: list[tuple[Any, str, Callable[[Any], object]]] = []
        for name, (words, holds) in _COMPARISONS.items():
            if (limit := getattr(self, name)) is not None:
                asked.append((limit, words, partial(_holds, holds, self._compared(limit))))
        if (step := self.multiple_of) is not None:
            compared = self._compared(step) or step  # a float may be too small for the width of its field
            asked.append((step, "a multiple of", lambda value: value % compared == 0))
        return tuple(asked)

    def __bool__(self) -> bool:
        return any(getattr(self, name) is not None for name in _NAMES)

    def of(self, codec: FieldCodec) -> Constraints:
        """Binds the constraints to the values of a codec.

        Raises:
            FieldFault: if its values cannot be compared with a bound.
        """
        try:
            return msgspec.structs.replace(self, codec=codec.present)
        except TypeError as error:
            limits = [limit for name in _COMPARISONS if (limit := getattr(self, name)) is not None]
            raise FieldFault(f"cannot be compared with {', '.join(map(shown, limits))}") from error

    def violation(self, value: Any) -> str | None:
        """Why a value violates a constraint; None if it does not."""
        if value is None:
            return None
        if self._asked:
            try:
                compared = self._compared(value)
            except FieldFault as fault:
                return fault.why
            for limit, words, holds in self._asked:
                if not holds(compared):
                    is_rounded = type(value) is type(compared) is float and compared != value == value
                    width = f", as a {self.codec.label}" if self.codec and is_rounded else ""
                    return f"{shown(value)} is not {words} {limit!r}{width}"
        if self.min_length is not None and len(value) < self.min_length:
            return f"{shown(value)} has a length of {len(value)}; the minimum is {self.min_length!r}"
        if self.max_length is not None and len(value) > self.max_length:
            return f"{shown(value)} has a length of {len(value)}; the maximum is {self.max_length!r}"
        if self.pattern is not None and not re.search(self.pattern, value):
            return f"{shown(value)} does not match the pattern {self.pattern!r}"
        return self._validated(value)

    def shown(self, limit: float) -> float:
        """A bound as text shows it: a float with the digits that the width of the field needs."""
        number = None if self.codec is None else self.codec.number
        if number is None or number.kind != "float" or type(limit) is not float:
            return limit
        return shortest_of(self._compared(limit), number.numpy)

    def _compared(self, value: Any) -> Any:
        """Converts a value or a bound to the form in which the two are compared."""
        codec = self.codec
        if codec is None or codec.comparisons == "none":
            return value
        operand = codec.operand(value) if codec.ordered else codec.comparable(value)
        return float(operand) if isinstance(operand, np.floating) else operand

    def _validated(self, value: Any) -> str | None:
        if self.validate is None:
            return None
        name = getattr(self.validate, "__name__", repr(self.validate))
        if self.codec is not None and self.codec.comparisons != "none":
            value = self.codec.comparable(value)  # the value as it will be read
        try:
            refused = self.validate(value) is False
        except ValueError as error:
            return f"{shown(value)} is rejected by {name}: {error}"
        return f"{shown(value)} is rejected by {name}" if refused else None

    def bounds(self, codec: FieldCodec) -> Bounds | None:
        """The constraints as bounds of stored numbers; None if values are needed to check them."""
        others = (self.min_length, self.max_length, self.pattern, self.validate)
        if not codec.ordered or any(each is not None for each in others):
            return None
        if self.multiple_of is not None and not (codec.is_plain and type(self.multiple_of) is int):
            return None
        assert codec.number is not None
        limits = {
            name: None if limit is None else codec.operand(limit)
            for name, limit in {"ge": self.ge, "le": self.le, "gt": self.gt, "lt": self.lt}.items()
        }
        if codec.number.kind == "float":
            return None if self.multiple_of is not None else _float_bounds(limits, codec.number.numpy)
        least = max(
            -math.inf if limits["ge"] is None else math.ceil(limits["ge"]),
            -math.inf if limits["gt"] is None else math.floor(limits["gt"]) + 1,
        )
        greatest = min(
            math.inf if limits["le"] is None else math.floor(limits["le"]),
            math.inf if limits["lt"] is None else math.ceil(limits["lt"]) - 1,
        )
        return Bounds(least, greatest, self.multiple_of or 0)


def _float_bounds(limits: dict[str, Any], numpy: str) -> Bounds | None:
    """The least and greatest floats of a type within the bounds; None if no float is above or below a bound."""
    infinity = np.dtype(numpy).type(math.inf)
    plain = {name: float(limit) if isinstance(limit, np.floating) else limit for name, limit in limits.items()}
    if plain["gt"] == math.inf or plain["lt"] == -math.inf:
        return None
    least, greatest = [-infinity], [infinity]
    with np.errstate(over="ignore"):
        for name, limit in plain.items():
            if limit is None:
                continue
            low, high = neighbours(limit, numpy)
            if name == "ge":
                least.append(high)
            elif name == "gt":
                least.append(high if low < high else np.nextafter(high, infinity))
            elif name == "le":
                greatest.append(low)
            else:
                greatest.append(low if low < high else np.nextafter(low, -infinity))
    return Bounds(np.max(least), np.min(greatest), numpy=numpy)  # keeps NaN, so nothing passes


def _holds(holds: Callable[[Any, Any], object], limit: Any, value: Any) -> object:
    return holds(value, limit)


_COMPARISONS: Final = {
    "ge": ("at least", operator.ge),
    "le": ("at most", operator.le),
    "gt": ("greater than", operator.gt),
    "lt": ("less than", operator.lt),
}
_NAMES: Final = (*_COMPARISONS, "multiple_of", "min_length", "max_length", "pattern", "validate")
