"""Where each field of a payload lies.

Rules kept here:

* Fields follow one another in the order of their declaration, packed: no padding, no alignment.
* The byte order is the layout's own, stated, and never the machine's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from tsmodel.codec.scalars import ByteOrder, Scalar

__all__ = ["Layout", "LayoutField"]


@attrs.frozen
class LayoutField:
    """One field's place in the payload.

    Attributes:
        name: the field's name.
        scalar: how it is stored.
        offset: its first byte, counted from the payload's first.
    """

    name: str
    scalar: Scalar
    offset: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.scalar.size


@attrs.frozen
class Layout:
    """The byte layout of a payload; printing it gives a table.

    Attributes:
        fields: the fields in order.
        byte_order: `little` or `big`, of every field.
        size: bytes of the whole payload.
    """

    fields: tuple[LayoutField, ...]
    byte_order: ByteOrder
    size: int

    @classmethod
    def packed(cls, fields: Iterable[tuple[str, Scalar]], byte_order: ByteOrder = "little") -> Layout:
        """The layout of named scalars one after another without gaps."""
        placed = []
        offset = 0
        for name, scalar in fields:
            placed.append(LayoutField(name, scalar, offset))
            offset += scalar.size
        return cls(tuple(placed), byte_order, offset)

    @property
    def struct_format(self) -> str:
        """The payload as a `struct` format, byte order first."""
        order = "<" if self.byte_order == "little" else ">"
        return order + "".join(field.scalar.code for field in self.fields)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The payload as a packed NumPy structured dtype, one field each."""
        return np.dtype([(field.name, field.scalar.dtype(self.byte_order)) for field in self.fields])

    def __str__(self) -> str:
        rows = [("offset", "size", "type", "field")]
        rows += [(str(f.offset), str(f.size), f.scalar.name, f.name) for f in self.fields]
        wide = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [f"{a:>{wide[0]}}  {b:>{wide[1]}}  {c:<{wide[2]}}  {name}" for a, b, c, name in rows]
        return "\n".join([*lines, f"{self.size} bytes, {self.byte_order}-endian, packed"])
