"""Errors about a value, stored bytes or a column, before the record and the model are known."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

UNSUITABLE: Final = (struct.error, OverflowError, TypeError, ValueError, AttributeError, KeyError, ArithmeticError)
"""Exceptions that the conversion of an unsuitable value may raise."""


class FieldFault(ValueError):  # noqa: N818 - it becomes part of an error
    """A field cannot hold this value, or these bytes are not a value of it.

    Attributes:
        why: what is wrong, in words.
        offset: byte offset in the payload, if bytes are at fault.
        field: name of the field, once known; dotted for nested fields.
    """

    def __init__(self, why: str, offset: int = 0, field: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.offset = offset
        self.field = field

    def named(self, field: str) -> str:
        """Returns the dotted name of the fault inside a field of this name."""
        return f"{field}.{self.field}" if self.field else field

    def within(self, field: str, offset: int = 0) -> FieldFault:
        """Returns the fault as seen from the structure that holds the field at `offset`."""
        return FieldFault(self.why, self.offset + offset, self.named(field))


class RowFault(ValueError):  # noqa: N818 - it becomes part of an error
    """A value of a column that its field cannot hold.

    Attributes:
        row: its row in the column; None if the whole column is at fault.
        why: what is wrong, in words.
        value: the value.
        field: dotted name of the fault inside the field.
    """

    def __init__(self, row: int | None, why: str, value: Any = None, field: str = "") -> None:
        super().__init__(why)
        self.row = row
        self.why = why
        self.value = value
        self.field = field
