"""What a field asks of its values beyond what it can store: bounds, lengths, patterns, and functions of the user.

Checked when records are written and when outside data is converted. Reading checks them only where a model asks for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import FieldCodec
from tsmodel.codec.numbers import ScalarCodec
from tsmodel.codec.scalars import shown

__all__ = ["Bounds", "Constraints"]


@attrs.frozen
class Bounds:
    """Bounds of stored numbers, both inclusive, for many at once.

    Attributes:
        least, greatest: the bounds; infinite where there is none.
        step: what the numbers are multiples of; 0 for any.
    """

    least: float
    greatest: float
    step: int = 0

    def hold(self, stored: Sequence[Any]) -> bool:
        """Whether all stored numbers lie within; NaN lies nowhere."""
        return not self.refused(np.array(stored)).any()

    def refused(self, column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which stored numbers (shape (n,)) do not; shape (n,)."""
        mask: npt.NDArray[np.bool_] = ~((column >= self.least) & (column <= self.greatest))
        return mask | (column % self.step != 0) if self.step else mask


@attrs.frozen
class Constraints:
    """What is asked of a field's values. An absent value (None) meets everything.

    Attributes:
        ge, le, gt, lt: bounds.
        multiple_of: a value is a whole multiple of this.
        min_length, max_length: bounds of `len(value)`.
        pattern: a regular expression that is found in the text (`re.search`).
        validate: called with a value; False, or a `ValueError`, refuses it.
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

    def __bool__(self) -> bool:
        return self != _NONE

    def violation(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        if value is None:
            return None
        wanted = (
            (self.ge, "at least", lambda: value >= self.ge),
            (self.le, "at most", lambda: value <= self.le),
            (self.gt, "greater than", lambda: value > self.gt),
            (self.lt, "less than", lambda: value < self.lt),
            (self.multiple_of, "a multiple of", lambda: value % self.multiple_of == 0),
            (self.min_length, "of a length of at least", lambda: len(value) >= self.min_length),  # type: ignore[operator]
            (self.max_length, "of a length of at most", lambda: len(value) <= self.max_length),  # type: ignore[operator]
            (self.pattern, "a text that matches", lambda: re.search(self.pattern, value)),  # type: ignore[arg-type]
        )
        for limit, words, holds in wanted:
            if limit is not None and not holds():
                return f"{shown(value)} is not {words} {limit!r}"
        return self._validated(value)

    def _validated(self, value: Any) -> str | None:
        if self.validate is None:
            return None
        name = getattr(self.validate, "__name__", repr(self.validate))
        try:
            refused = self.validate(value) is False
        except ValueError as error:
            return f"{shown(value)} is refused by {name}: {error}"
        return f"{shown(value)} is refused by {name}" if refused else None

    def bounds(self, codec: FieldCodec) -> Bounds | None:
        """The same for stored numbers, or None when only values can tell."""
        others = (self.min_length, self.max_length, self.pattern, self.validate)
        if not codec.ordered or any(each is not None for each in others):
            return None
        if self.multiple_of is not None and not (isinstance(codec, ScalarCodec) and type(self.multiple_of) is int):
            return None
        limits = {
            name: None if limit is None else codec.operand(limit)
            for name, limit in {"ge": self.ge, "le": self.le, "gt": self.gt, "lt": self.lt}.items()
        }
        assert codec.number is not None
        if codec.number.kind == "float":
            if limits["gt"] is not None or limits["lt"] is not None or self.multiple_of is not None:
                return None
            return Bounds(_or(limits["ge"], -math.inf), _or(limits["le"], math.inf))
        least = max(
            -math.inf if limits["ge"] is None else math.ceil(limits["ge"]),
            -math.inf if limits["gt"] is None else math.floor(limits["gt"]) + 1,
        )
        greatest = min(
            math.inf if limits["le"] is None else math.floor(limits["le"]),
            math.inf if limits["lt"] is None else math.ceil(limits["lt"]) - 1,
        )
        return Bounds(least, greatest, self.multiple_of or 0)


def _or(value: Any, default: float) -> float:
    return default if value is None else value


_NONE = Constraints()
