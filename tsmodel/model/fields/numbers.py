"""Field types of numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, overload

from typing_extensions import TypeVar

from tsmodel.codec import SCALARS, FieldCodec, Scalar
from tsmodel.codec.numbers import BitsCodec, ScalarCodec, ScaledCodec
from tsmodel.model.columns import IntColumn
from tsmodel.model.fields.base import FieldType, Options

__all__ = [
    "Bits",
    "Bool",
    "Float16",
    "Float32",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Scaled",
    "Timestamp",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
]

T = TypeVar("T")


class ScalarType(FieldType[T]):
    """A number that is stored as it is."""

    scalar: ClassVar[Scalar]
    takes = ("byte_order",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        return ScalarCodec(cls.scalar, options.byte_order)


class IntegerType(ScalarType[int]):
    """An integer of some width."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type[object]) -> IntColumn: ...
        @overload
        def __get__(self, instance: object, owner: type[object]) -> int: ...
        def __get__(self, instance: object, owner: type[object]) -> IntColumn | int: ...


class Int8(IntegerType):
    """An int from -128 to 127; 1 byte."""

    scalar = SCALARS["Int8"]


class Int16(IntegerType):
    """An int from -2**15 to 2**15 - 1; 2 bytes."""

    scalar = SCALARS["Int16"]


class Int32(IntegerType):
    """An int from -2**31 to 2**31 - 1; 4 bytes."""

    scalar = SCALARS["Int32"]


class Int64(IntegerType):
    """An int from -2**63 to 2**63 - 1; 8 bytes."""

    scalar = SCALARS["Int64"]


class UInt8(IntegerType):
    """An int from 0 to 255; 1 byte."""

    scalar = SCALARS["UInt8"]


class UInt16(IntegerType):
    """An int from 0 to 2**16 - 1; 2 bytes."""

    scalar = SCALARS["UInt16"]


class UInt32(IntegerType):
    """An int from 0 to 2**32 - 1; 4 bytes."""

    scalar = SCALARS["UInt32"]


class UInt64(IntegerType):
    """An int from 0 to 2**64 - 1; 8 bytes."""

    scalar = SCALARS["UInt64"]


class Float16(ScalarType[float]):
    """An IEEE 754 half; 2 bytes. What is read back is the nearest half, of 3 to 4 decimal digits."""

    scalar = SCALARS["Float16"]


class Float32(ScalarType[float]):
    """An IEEE 754 single; 4 bytes. Python's floats are doubles: what is read back is the nearest single."""

    scalar = SCALARS["Float32"]


class Float64(ScalarType[float]):
    """An IEEE 754 double; 8 bytes."""

    scalar = SCALARS["Float64"]


class Bool(ScalarType[bool]):
    """True or False; 1 byte, 1 or 0."""

    scalar = SCALARS["Bool"]


class Timestamp(ScalarType[int]):
    """A time as an int: ns since 2001-01-01T00:00:00Z; 8 bytes."""

    scalar = SCALARS["Timestamp"]


class Bits(FieldType[int]):
    """An int of `bits` bits. Neighbours of one `storage` (UInt8 when nothing is said) share an integer as long as they fit,
    the first in its lowest bits, as C compilers for x86-64 lay out bit-fields of one type."""

    takes = ("bits", "storage", "byte_order")

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type[object]) -> IntColumn: ...
        @overload
        def __get__(self, instance: object, owner: type[object]) -> int: ...
        def __get__(self, instance: object, owner: type[object]) -> IntColumn | int: ...

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        bits = options.require("bits", "3")
        storage = options.storage(UInt8)
        if not storage.name.startswith("U"):
            raise ValueError(f"storage={storage.name} is not UInt8, UInt16, UInt32 or UInt64")
        if type(bits) is not int or not 1 <= bits <= storage.size * 8:
            raise ValueError(f"bits={bits!r} is not an int from 1 to {storage.size * 8}, the bits of {storage.name}")
        return BitsCodec(bits, storage, 0, options.byte_order)


N = TypeVar("N", Decimal, float, default=Decimal)


class Scaled(FieldType[N]):
    """A decimal number, stored as an integer of units of `10 ** -digits`; a `Decimal`, or with `Scaled[float]` a float."""

    takes = ("digits", "storage", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        if argument not in (None, Decimal, float):
            raise ValueError("Scaled is of Decimal or float: write Scaled or Scaled[float]")
        digits = options.require("digits", "2")
        if type(digits) is not int or not 0 <= digits <= 30:
            raise ValueError(f"digits={digits!r} is not an int from 0 to 30")
        return ScaledCodec(digits, options.storage(Int64), argument is float, options.byte_order)
