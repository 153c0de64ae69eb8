"""What a column is, and which values may be compared with it.

A column's operand becomes a number here: an int for integers, ns since 2001 for times, 0 or 1 for bools.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
from typing import SupportsFloat

import attrs
import numpy as np

from tsmodel.codec import Scalar
from tsmodel.errors import QueryError, TimestampError
from tsmodel.timestamps import to_ns

__all__ = ["ColumnInfo"]


@attrs.frozen
class ColumnInfo:
    """One column of a model.

    Attributes:
        model: the model's name, for messages.
        name: the field's name.
        scalar: how it is stored.
        is_key: whether it is a component of the key.
    """

    model: str
    name: str
    scalar: Scalar
    is_key: bool

    def operand(self, value: object) -> float:
        """`value` as what the column is compared with.

        Raises:
            QueryError: when the column can never be compared with such a value.
        """
        kind = self.scalar.kind
        if kind == "time" and isinstance(value, (str, dt.datetime, np.datetime64)):
            try:
                return to_ns(value)
            except TimestampError as error:
                raise QueryError(f"{self.model}.{self.name}: {error}") from error
        if isinstance(value, (bool, np.bool_)):
            if kind == "bool":
                return int(value)
        elif isinstance(value, numbers.Integral) and kind != "bool":
            exact = int(value)
            return exact if kind != "float" or math.isfinite(_double(exact)) else _double(exact)
        elif isinstance(value, numbers.Real) and kind in ("int", "float"):
            number = _double(value)
            if kind == "float" or not math.isnan(number):
                return number
        raise QueryError(
            f"{self.model}.{self.name} ({self.scalar.name}) cannot be compared with {value!r} ({type(value).__name__})"
            + ("; give ns since 2001, an aware datetime, ISO 8601 text or a numpy.datetime64" if kind == "time" else "")
        )


def _double(value: SupportsFloat) -> float:
    """The value as a double; beyond the greatest one, infinite, which compares in the same way with any that is stored."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]
