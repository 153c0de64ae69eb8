"""Values that may be absent: told apart by a bitmap, or by a sentinel."""

from __future__ import annotations

import struct
from typing import Any, Literal

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import MARKS, FieldCodec, FieldFault, FixedCodec, Mask, Scope
from tsmodel.codec.scalars import ByteOrder, Scalar, shown

__all__ = ["NullableCodec", "SentinelCodec"]


@attrs.frozen
class NullableCodec(FieldCodec):
    """A value or None, told apart by a bit in the bitmap at the front of the layout.

    An absent value of fixed width is stored as zeros, so that the width stays; one of variable length takes no bytes. The
    layout keeps the bitmap: `read` and `write` are those of a value that is present.

    Attributes:
        item: the value.
    """

    item: FieldCodec

    @property
    def byte_order(self) -> ByteOrder:
        return self.item.byte_order

    @property
    def label(self) -> str:
        return f"Nullable {self.item.label}"

    @property
    def python(self) -> Any:
        return _optional(self.item.python)

    @property
    def acyclic(self) -> bool:
        return self.item.acyclic

    @property
    def accepts(self) -> str:
        return f"None or {self.item.accepts}"

    @property
    def number(self) -> Scalar | None:
        return self.item.number

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        return self.item.comparisons

    def comparable(self, value: Any) -> Any:
        return None if value is None else self.item.comparable(value)

    def constant(self, value: Any) -> Any:
        return None if value is None else self.item.constant(value)

    @property
    def size(self) -> int | None:
        return self.item.size

    @property
    def takes_rest(self) -> bool:
        return self.item.takes_rest

    def operand(self, value: object) -> Any:
        return self.item.operand(value)

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        return self.item.read(payload, at, end)

    def write(self, value: Any) -> bytes:
        return self.item.write(value)

    def fault(self, value: object) -> FieldFault | None:
        return None if value is None else self.item.fault(value)


@attrs.frozen
class SentinelCodec(FixedCodec):
    """A value or None, which is stored as one of the values: a sentinel.

    Attributes:
        item: the value.
        sentinel: the value that stands for None.
    """

    item: FixedCodec
    sentinel: object
    _stored: Any = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        (stored,) = struct.unpack(MARKS[self.byte_order] + self.code, self.item.write(self.sentinel))
        object.__setattr__(self, "_stored", stored)

    @property
    def byte_order(self) -> ByteOrder:
        return self.item.byte_order

    @property
    def label(self) -> str:
        return f"Nullable {self.item.label}, None is {shown(self.sentinel)}"

    @property
    def python(self) -> Any:
        return _optional(self.item.python)

    @property
    def acyclic(self) -> bool:
        return self.item.acyclic

    @property
    def accepts(self) -> str:
        return f"None or {self.item.accepts}, other than {shown(self.sentinel)}"

    @property
    def number(self) -> Scalar | None:
        return self.item.number

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        return self.item.comparisons

    def comparable(self, value: Any) -> Any:
        return None if value is None else self.item.comparable(value)

    def constant(self, value: Any) -> Any:
        return None if value is None else self.item.constant(value)

    @property
    def zero(self) -> object:
        return self._stored

    @property
    def code(self) -> str:
        return self.item.code

    @property
    def align(self) -> int:
        return self.item.align

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.item.dtype

    @property
    def stored(self) -> np.dtype[Any]:
        return self.item.stored

    def operand(self, value: object) -> Any:
        return self.item.operand(value)

    def absent(self, column: npt.NDArray[Any]) -> Mask:
        """Which values of a column (shape (n,)) are None."""
        mask: Mask
        if self._is_nan:
            mask = column != column
        else:
            sentinel = np.frombuffer(self.item.write(self.sentinel), column.dtype)
            mask = (
                (_octets(column) == _octets(sentinel)).all(axis=1) if column.dtype.kind in "VS" else column == sentinel[0]
            )
        return mask

    @property
    def _is_nan(self) -> bool:
        return bool(self._stored != self._stored)

    @property
    def may_be_faulty(self) -> bool:
        """See `FixedCodec.may_be_faulty`."""
        return self.item.may_be_faulty

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        mask = self.item.faulty(column)
        return None if mask is None else mask & ~self.absent(column)

    def load(self, stored: Any) -> Any:
        is_absent = stored != stored if self._is_nan else stored == self._stored
        return None if is_absent else self.item.load(stored)

    def load_code(self, stored: str, scope: Scope) -> str:
        absent = f"{stored} != {stored}" if self._is_nan else f"{stored} == {scope.add(self._stored)}"
        return f"None if {absent} else {self.item.load_code(stored, scope)}"

    def dump(self, value: Any) -> Any:
        if value is None:
            return self._stored
        stored = self.item.dump(value)
        (as_read,) = struct.unpack(
            MARKS[self.byte_order] + self.code, struct.pack(MARKS[self.byte_order] + self.code, stored)
        )
        if as_read == self._stored or (self._is_nan and as_read != as_read):
            raise FieldFault(f"{shown(value)} is what stands for None; give None, or choose another null=")
        return stored


def _octets(column: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), column.dtype.itemsize)


def _optional(python: Any) -> Any:
    return Any if python is Any else python | None
