"""What is wrong with a value, with stored bytes, or with a column: errors before anybody knows the record and the model."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["UNSUITABLE", "FieldFault", "Mask", "RowFault"]

Mask = npt.NDArray[np.bool_]

UNSUITABLE: Final = (struct.error, OverflowError, TypeError, ValueError, AttributeError, KeyError, ArithmeticError)
"""What converting a value that a field cannot hold may raise, by the nature of the value."""


class FieldFault(ValueError):  # noqa: N818 - it becomes part of an error
    """A field cannot hold this value, or these bytes are not a value of it.

    Attributes:
        why: what is wrong, in words.
        offset: byte offset in the payload, when bytes are at fault.
        field: name of the field, once it is known; with dots where fields are nested.
    """

    def __init__(self, why: str, offset: int = 0, field: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.offset = offset
        self.field = field

    def named(self, field: str) -> str:
        """The name of what is at fault, in a field of this name."""
        return f"{field}.{self.field}" if self.field else field

    def within(self, field: str, offset: int = 0) -> FieldFault:
        """The same fault, seen from what holds the field at `offset`."""
        return FieldFault(self.why, self.offset + offset, self.named(field))


class RowFault(ValueError):  # noqa: N818 - it becomes part of an error
    """A value of a column that its field cannot hold.

    Attributes:
        row: its place in the column; None when the whole column is at fault.
        why: what is wrong, in words.
        value: the value.
        field: name of what is at fault inside of the field, with dots.
    """

    def __init__(self, row: int | None, why: str, value: Any = None, field: str = "") -> None:
        super().__init__(why)
        self.row = row
        self.why = why
        self.value = value
        self.field = field
