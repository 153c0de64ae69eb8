"""How the values of one field are stored: what every kind of field implements.

Rules kept here:

* A field of fixed width is one value to `struct`: a number, or bytes that the field takes apart itself. So the rows of a
  layout are unpacked by one call, and only fields whose stored value is not the value users see cost anything more.
* What is read is checked: bytes that no value is written as (a Bool of 7, an enum's missing member) are a `FieldFault`,
  never a value that would be written back differently. Two things are let pass: the bit pattern of a NaN, and padding.
* Loading for many records is split: `faulty` finds bad values by NumPy, so that `load_code` needs no check.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from tsmodel.codec.scalars import ByteOrder, Scalar, shown

__all__ = ["MARKS", "UNSUITABLE", "FieldCodec", "FieldFault", "FixedCodec", "Mask", "Scope", "VariableCodec"]

Mask = npt.NDArray[np.bool_]

MARKS: Final[dict[ByteOrder, str]] = {"little": "<", "big": ">"}
"""Byte orders as `struct` and NumPy write them."""

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


class Scope:
    """Names of the objects that generated code uses."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}

    def add(self, value: object) -> str:
        """A name for `value`; the same object keeps its name."""
        for name, known in self.names.items():
            if known is value:
                return name
        name = f"_{len(self.names)}"
        self.names[name] = value
        return name


class FieldCodec(ABC):
    """How the values of one field are stored."""

    @property
    @abstractmethod
    def byte_order(self) -> ByteOrder:
        """Byte order of its numbers."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The type as layout tables name it, such as `Enumerated[State] in UInt8`."""

    @property
    @abstractmethod
    def python(self) -> Any:
        """The type of its values, for msgspec."""

    @property
    @abstractmethod
    def accepts(self) -> str:
        """What a value may be, in words."""

    @property
    def number(self) -> Scalar | None:
        """The scalar whose stored values are compared in place of the field's; None where only values can be compared."""
        return None

    @property
    def ordered(self) -> bool:
        """Whether values lie in the order of the stored numbers, one for one."""
        return False

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        """How values can be compared with one another."""
        return "all"

    @property
    def takes_rest(self) -> bool:
        """Whether it goes up to the end of what holds it, so that nothing can follow."""
        return False

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Bytes in the payload; None when that depends on the value."""

    @property
    def acyclic(self) -> bool:
        """Whether values hold no reference to what holds them, unless somebody means harm: the collector need not look."""
        return True

    @abstractmethod
    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        """The value at `at`, and where the next field begins.

        Raises:
            FieldFault: when there is no such value, with its offset.
        """

    @abstractmethod
    def write(self, value: Any) -> bytes:
        """The bytes of a value.

        Raises:
            FieldFault: when the field cannot hold the value.
        """

    def fault(self, value: object) -> FieldFault | None:
        """What is wrong with `value`, or None when it can be stored."""
        try:
            self.write(value)
        except FieldFault as fault:
            return fault
        return None

    def comparable(self, value: Any) -> Any:
        """A value in the form in which values are compared, where they have no `number`."""
        return value

    def constant(self, value: Any) -> Any:
        """`value` as what the field's values, as `comparable` gives them, are compared with, where they have no `number`.

        Raises:
            FieldFault: when values of the field can never be compared with it.
        """
        if fault := self.fault(value):
            raise FieldFault(f"cannot be compared with {shown(value)}: {fault.why}")
        return self.comparable(value)

    def operand(self, value: object) -> Any:
        """`value` as the stored number, or fraction of one, to compare columns with.

        Raises:
            FieldFault: when values of the field can never be compared with it.
        """
        raise FieldFault("cannot be compared")

    def refused(self, value: object) -> FieldFault:
        """The fault of a value that the field cannot hold."""
        return FieldFault(f"{shown(value)} ({type(value).__name__}) is not {self.accepts}")


class FixedCodec(FieldCodec):
    """A field of fixed width: one value to `struct`."""

    @property
    def align(self) -> int:
        """What its offset is a multiple of in a C struct."""
        return 1

    @property
    def zero(self) -> object:
        """What stands in the place of an absent value."""
        return b""

    @property
    @abstractmethod
    def code(self) -> str:
        """`struct` code of the stored value."""

    @property
    def size(self) -> int:
        """Bytes in the payload."""
        return struct.calcsize("<" + self.code)

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """The field in structured arrays, in its byte order."""

    @property
    def stored(self) -> np.dtype[Any]:
        """The stored value in structured arrays: the number, or opaque bytes."""
        return self.dtype if self.code[-1] not in "sx" else np.dtype(f"V{self.size}")

    def stored_of(self, column: npt.NDArray[Any]) -> list[Any]:
        """The stored values of a column (shape (n,), of `dtype`), as `struct` gives them."""
        if self.code[-1] != "s":
            return column.tolist()  # type: ignore[no-any-return]
        octets = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), self.size)
        return [each.tobytes() for each in octets]

    @property
    def may_be_faulty(self) -> bool:
        """Whether any value of a column may be none of the field's; columns of others need not be decoded to be checked."""
        return type(self).faulty is not FixedCodec.faulty

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        """Which values of a column (shape (n,), of `dtype`) are none of the field's; None when all are sound."""
        return None

    def load(self, stored: Any) -> Any:
        """The value that is stored as this.

        Raises:
            FieldFault: when there is none.
        """
        return stored

    def dump(self, value: Any) -> Any:
        """What a value is stored as; what `struct` refuses need not be refused here.

        Raises:
            FieldFault, or what the value's nature makes of it: when the field cannot hold the value.
        """
        return value

    def load_code(self, stored: str, scope: Scope) -> str:
        """An expression for the value of a stored value known to be sound, given as an expression."""
        return f"{scope.add(self.load)}({stored})"

    def dump_code(self, value: str, scope: Scope) -> str:
        """An expression for what is stored for a value, given as an expression.

        It may refuse more values than `dump`, and may leave checks to `holds`, for many values at once.
        """
        return f"{scope.add(self.dump)}({value})"

    @property
    def defers(self) -> bool:
        """Whether `dump_code` leaves checks to `holds`."""
        return False

    def holds(self, stored: Sequence[Any]) -> bool:
        """Whether all of some stored values (at least one) that `dump_code` gave are what `dump` would have given."""
        return True

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        """See `FieldCodec.read`."""
        after = at + self.size
        if after > end:
            raise FieldFault(f"{self.label} takes {self.size} bytes, of which {max(0, end - at)} are there", at)
        (stored,) = struct.unpack_from(MARKS[self.byte_order] + self.code, payload, at)
        try:
            return self.load(stored), after
        except FieldFault as fault:
            raise FieldFault(fault.why, fault.offset + at, fault.field) from None

    def write(self, value: Any) -> bytes:
        """See `FieldCodec.write`."""
        try:
            return struct.pack(MARKS[self.byte_order] + self.code, self.dump(value))
        except FieldFault:
            raise
        except UNSUITABLE as error:
            raise self.refused(value) from error


class VariableCodec(FieldCodec):
    """A field whose width depends on its value."""

    @property
    def size(self) -> None:
        return None
