"""Field types: what a model's annotations say, to the type checker and to the metaclass.

For a checker a field type is a descriptor: `reading.volts` is a float, `Reading.volts` a `Column[float]`. At run time it
only names its scalar: the metaclass replaces each annotation by the plain Python type before msgspec sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

import attrs

from tsmodel.codec import SCALARS, Scalar
from tsmodel.model.columns import Column

__all__ = [
    "Bool",
    "FieldOptions",
    "FieldType",
    "Float32",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Timestamp",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "field",
]

T = TypeVar("T")


class FieldType(Generic[T]):
    """A way to store a value of type T. Used as an annotation in a model, never instantiated."""

    scalar: ClassVar[Scalar]
    python: ClassVar[type]

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type[object]) -> Column[T]: ...
        @overload
        def __get__(self, instance: object, owner: type[object]) -> T: ...
        def __get__(self, instance: object, owner: type[object]) -> Column[T] | T: ...
        def __set__(self, instance: object, value: T) -> None: ...


class Int8(FieldType[int]):
    """An int from -128 to 127; 1 byte."""

    scalar, python = SCALARS["Int8"], int


class Int16(FieldType[int]):
    """An int from -2**15 to 2**15 - 1; 2 bytes."""

    scalar, python = SCALARS["Int16"], int


class Int32(FieldType[int]):
    """An int from -2**31 to 2**31 - 1; 4 bytes."""

    scalar, python = SCALARS["Int32"], int


class Int64(FieldType[int]):
    """An int from -2**63 to 2**63 - 1; 8 bytes."""

    scalar, python = SCALARS["Int64"], int


class UInt8(FieldType[int]):
    """An int from 0 to 255; 1 byte."""

    scalar, python = SCALARS["UInt8"], int


class UInt16(FieldType[int]):
    """An int from 0 to 2**16 - 1; 2 bytes."""

    scalar, python = SCALARS["UInt16"], int


class UInt32(FieldType[int]):
    """An int from 0 to 2**32 - 1; 4 bytes."""

    scalar, python = SCALARS["UInt32"], int


class UInt64(FieldType[int]):
    """An int from 0 to 2**64 - 1; 8 bytes."""

    scalar, python = SCALARS["UInt64"], int


class Float32(FieldType[float]):
    """An IEEE 754 single; 4 bytes. Python's floats are doubles: what is read back is the nearest single."""

    scalar, python = SCALARS["Float32"], float


class Float64(FieldType[float]):
    """An IEEE 754 double; 8 bytes."""

    scalar, python = SCALARS["Float64"], float


class Bool(FieldType[bool]):
    """True or False; 1 byte."""

    scalar, python = SCALARS["Bool"], bool


class Timestamp(FieldType[int]):
    """A time as an int: ns since 2001-01-01T00:00:00Z; 8 bytes."""

    scalar, python = SCALARS["Timestamp"], int


@attrs.frozen
class FieldOptions:
    """What `field()` was told, until the metaclass reads it."""

    default: object = attrs.NOTHING
    default_factory: Callable[[], object] | None = None


def field(*, default: object = attrs.NOTHING, default_factory: Callable[[], object] | None = None) -> Any:
    """Says more about a field of a model than its type does.

    Args:
        default: value of the field when the constructor is not given one.
        default_factory: called without arguments for the default of each new object.

    Raises:
        TypeError: when both are given.
    """
    if default is not attrs.NOTHING and default_factory is not None:
        raise TypeError("field() takes default or default_factory, not both")
    return FieldOptions(default, default_factory)
