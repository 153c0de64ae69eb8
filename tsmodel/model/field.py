"""`field()` and `padding()`: options of a field in a class body."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeVar, cast

import msgspec

from tsmodel.layout import Constraints
from tsmodel.types import ByteOrder, FieldType, did_you_mean

__all__ = ["FieldOptions", "field", "padding"]


class FieldOptions(msgspec.Struct, frozen=True):
    """The arguments of `field()`, kept until the metaclass reads them.

    Attributes:
        default: default value of the field; `msgspec.NODEFAULT` if there is none.
        default_factory: called without arguments to make the default value.
        options: storage options of the field type.
        constraints: constraints on values.
        unit: unit of measure.
        doc: description of the field.
    """

    default: object
    default_factory: Any = None
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)
    constraints: Constraints = Constraints()
    unit: str | None = None
    doc: str | None = None

    @property
    def factory(self) -> Callable[[], object] | None:
        """Makes the default: a new object each time if it is mutable. None if there is no default."""
        if self.default_factory is not None:
            return self.default_factory  # type: ignore[no-any-return]
        if self.default is msgspec.NODEFAULT:
            return None
        return partial(copy.deepcopy, self.default)


F = TypeVar("F", bound=Callable[..., Any])


def _explained(function: F) -> F:
    """Wraps a function so that an unknown keyword raises a TypeError that lists the known ones."""
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def explained(*args: Any, **options: Any) -> Any:
        if unknown := [name for name in options if name not in known]:
            near = did_you_mean(unknown[0], known)
            raise TypeError(f"{function.__name__}() has no option {unknown[0]}{near}; it takes {', '.join(known)}")
        return function(*args, **options)

    return cast("F", explained)


@_explained
def field(
    *,
    default: object = msgspec.NODEFAULT,
    default_factory: Callable[[], object] | None = None,
    # storage
    byte_order: ByteOrder | None = None,
    storage: type[FieldType[int]] | None = None,
    bits: int | None = None,
    unknown: Literal["error", "keep"] | None = None,
    digits: int | None = None,
    resolution: Literal["s", "ms", "us", "ns"] | None = None,
    version: Literal[4, 6] | None = None,
    size: int | None = None,
    prefix: type[FieldType[int]] | None = None,
    rest: bool | None = None,
    item: Any = None,
    length: int | None = None,
    as_numpy: bool | None = None,
    null: object = msgspec.NODEFAULT,
    encoding: Literal["msgpack", "json"] | None = None,
    # constraints
    ge: Any = None,
    le: Any = None,
    gt: Any = None,
    lt: Any = None,
    multiple_of: Any = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | None = None,
    validate: Callable[[Any], object] | None = None,
    # metadata
    unit: str | None = None,
    doc: str | None = None,
) -> Any:
    """Sets the default, storage options, constraints and metadata of a field.

    Args:
        default: default value of the field.
        default_factory: called without arguments to make the default of each new object.
        byte_order: "little" or "big"; by default that of the model.
        storage: integer type that stores an Enumerated, Flags, Scaled, Bits, UnixTime or Duration.
        bits: width of a `Bits`, in bits.
        unknown: for an Enumerated or Flags: "error" (default) rejects integers that match no member when reading; "keep"
            returns them as ints.
        digits: number of decimal places of a `Scaled`.
        resolution: unit in which a UnixTime or Duration is stored: "s", "ms", "us" or "ns".
        version: 4 or 6, for an `IpAddress` that holds only this version.
        size: size of a fixed-size Text or Blob, or of a Padding, in bytes.
        prefix: unsigned integer type of the length before a Text, Blob, Array or Packed; UInt16 by default.
        rest: True for a Text, Blob, Array or Packed that consumes the rest of the payload, without a length. It must be the
            last field.
        item: field type of the items of an Array, or of the value of a Nullable. Give its options in the same `field()`.
        length: number of items of a fixed-length Array.
        as_numpy: True to read an Array as a NumPy array.
        null: value that is stored for None, instead of a bit in the bitmap.
        encoding: encoding of a Packed: "msgpack" (default) or "json".
        ge, le, gt, lt, multiple_of, min_length, max_length, pattern: constraints, checked when a value is written.
        validate: called with each value that is written. Return False or raise ValueError to reject the value.
        unit: unit of measure, such as "V".
        doc: description of the field.

    Raises:
        TypeError: if both `default` and `default_factory` are given, or an option is unknown.
    """
    if default is not msgspec.NODEFAULT and default_factory is not None:
        raise TypeError("field() takes default or default_factory, not both")
    named = {
        "byte_order": byte_order,
        "storage": storage,
        "bits": bits,
        "unknown": unknown,
        "digits": digits,
        "resolution": resolution,
        "version": version,
        "size": size,
        "prefix": prefix,
        "rest": rest,
        "item": item,
        "length": length,
        "as_numpy": as_numpy,
        "encoding": encoding,
    }
    options = {name: value for name, value in named.items() if value is not None}
    if null is not msgspec.NODEFAULT:
        options["null"] = null
    constraints = Constraints(ge, le, gt, lt, multiple_of, min_length, max_length, pattern, validate)
    return FieldOptions(default, default_factory, options, constraints, unit, doc)


def padding(size: int, *, init: Literal[False] = False) -> Any:  # noqa: ARG001 - for checkers: no argument
    """Declares `size` bytes of padding, written as zeros and ignored on reading: `_gap: Padding = padding(3)`."""
    return FieldOptions(msgspec.NODEFAULT, options={"size": size})
