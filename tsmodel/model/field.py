"""`field()` and `padding()`: what a class body says about a field beyond its type."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeVar, cast

import attrs

from tsmodel.layout import Constraints
from tsmodel.types import ByteOrder, FieldType, did_you_mean

__all__ = ["FieldOptions", "field", "padding"]


@attrs.frozen
class FieldOptions:
    """What `field()` was told, until the metaclass reads it.

    Attributes:
        default: value of the field when the constructor is not given one; `attrs.NOTHING` when there is none.
        default_factory: gives that value.
        options: options of the type.
        constraints: what is asked of values.
        unit: unit of measure.
        doc: what the field means.
    """

    default: object
    default_factory: Any = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    constraints: Constraints = attrs.field(factory=Constraints)
    unit: str | None = None
    doc: str | None = None

    @property
    def factory(self) -> Callable[[], object] | None:
        """Gives the default, a new one each time where it could be changed; None when there is none."""
        if self.default_factory is not None:
            return self.default_factory  # type: ignore[no-any-return]
        if self.default is attrs.NOTHING:
            return None
        return partial(copy.deepcopy, self.default)


F = TypeVar("F", bound=Callable[..., Any])


def _explained(function: F) -> F:
    """The same function, which says what it takes when it is given what it does not take."""
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
    default: object = attrs.NOTHING,
    default_factory: Callable[[], object] | None = None,
    # how it is stored
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
    null: object = attrs.NOTHING,
    encoding: Literal["msgpack", "json"] | None = None,
    # what is asked of values
    ge: Any = None,
    le: Any = None,
    gt: Any = None,
    lt: Any = None,
    multiple_of: Any = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | None = None,
    validate: Callable[[Any], object] | None = None,
    # what it means
    unit: str | None = None,
    doc: str | None = None,
) -> Any:
    """Says more about a field of a model than its type does.

    Args:
        default: value of the field when the constructor is not given one.
        default_factory: called without arguments for the default of each new object.
        byte_order: "little" or "big", where it is not that of the model.
        storage: integer type that Enumerated, Flags, Scaled, Bits, UnixTime and Duration are stored in.
        bits: width of a `Bits`.
        unknown: "keep" reads an integer that stands for no member of an Enumerated or Flags as an int; "error" (default)
            refuses it.
        digits: decimal places of a `Scaled`.
        resolution: unit that a UnixTime or Duration is stored in.
        version: 4 or 6, for an `IpAddress` that is always of this one.
        size: bytes of a Text or Blob of fixed size, or of a Padding.
        prefix: unsigned integer type of the length before a Text, Blob, Array or Packed; UInt16 when nothing is said.
        rest: True for a Text, Blob, Array or Packed that goes up to the payload's end, without a length.
        item: field type of an item of an Array, or of the value of a Nullable. Its own options stand beside it.
        length: number of items of an Array that always has as many.
        as_numpy: True for an Array read as a NumPy array.
        null: value that is stored for None, instead of a bit in a bitmap.
        encoding: of a Packed: "msgpack" (default) or "json".
        ge, le, gt, lt, multiple_of, min_length, max_length, pattern: what values must meet when they are written.
        validate: called with each value that is written; returning False or raising ValueError refuses it.
        unit: unit of measure, such as "V".
        doc: what the field means.

    Raises:
        TypeError: when both a default and a factory are given, or an option that there is not.
    """
    if default is not attrs.NOTHING and default_factory is not None:
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
    if null is not attrs.NOTHING:
        options["null"] = null
    constraints = Constraints(ge, le, gt, lt, multiple_of, min_length, max_length, pattern, validate)
    return FieldOptions(default, default_factory, options, constraints, unit, doc)


def padding(size: int, *, init: Literal[False] = False) -> Any:  # noqa: ARG001 - tells checkers that it is no argument
    """`size` bytes that mean nothing, written as zeros: `_gap: Padding = padding(3)`."""
    return FieldOptions(attrs.NOTHING, options={"size": size})
