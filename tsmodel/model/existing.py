"""Models of existing layouts: `struct` formats and NumPy dtypes."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tsmodel.errors import SchemaError
from tsmodel.model.field import field, padding
from tsmodel.types import (
    Array,
    Blob,
    Bool,
    FieldType,
    Float16,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Nested,
    Padding,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
)
from tsmodel.types.scalars import ByteOrder

__all__ = ["members_of_dtype", "members_of_format"]

Members = tuple[dict[str, Any], dict[str, Any]]
"""Annotations and `field()` values by name."""

_MACHINE: Final[ByteOrder] = "little" if sys.byteorder == "little" else "big"
_ORDERS: Final[dict[str, ByteOrder]] = {"<": "little", ">": "big", "!": "big", "=": _MACHINE, "@": _MACHINE}
_INTEGERS: Final[dict[tuple[int, bool], type[FieldType[Any]]]] = {
    (1, True): Int8,
    (2, True): Int16,
    (4, True): Int32,
    (8, True): Int64,
    (1, False): UInt8,
    (2, False): UInt16,
    (4, False): UInt32,
    (8, False): UInt64,
}
_FLOATS: Final[dict[int, type[FieldType[Any]]]] = {2: Float16, 4: Float32, 8: Float64}
_TOKEN: Final = re.compile(r"\s*(\d*)([xcbB?hHiIlLqQnNefdsP])\s*")


def members_of_format(model: str, format_: str, names: Sequence[str] | None) -> Members:
    """Returns the fields of a `struct` format.

    Args:
        model: name of the model, for messages.
        format_: a `struct` format string. Without a byte-order mark it is native: this machine's byte order, with the
            padding that a C compiler inserts between fields, and none after the last.
        names: names of the fields; f0, f1, … by default.

    Raises:
        SchemaError: if the format is invalid, or the number of names differs from the number of fields.
    """
    try:
        total = struct.calcsize(format_)
    except struct.error as error:
        raise SchemaError(f"{model}: {format_!r} is not a struct format: {error}", model=model) from error
    mark, body = (format_[0], format_[1:]) if format_[:1] in _ORDERS else ("@", format_)
    made, order = _Members(model), {"byte_order": _ORDERS[mark]}
    native = "@" if mark == "@" else "="
    prefix = ""
    for match in _tokens(model, body):
        count, code = match
        repeat = 1 if code in "sx" else int(count or 1)
        width = int(count or 1) if code in "sx" else 1
        for _ in range(repeat):
            # calcsize gives the offset of the value, including padding before it.
            item = f"{width}{code}" if code in "sx" else code
            size = struct.calcsize(native + item)
            end = struct.calcsize(native + prefix + item)
            made.gap(end - size)
            prefix += item
            if code == "x":
                continue
            annotation, options = _of_code(model, code, size)
            made.add(_name(names, made.count), annotation, options or order, size)
        if not repeat:  # "0i" only aligns
            prefix += f"0{code}"
            made.gap(struct.calcsize(native + prefix))
    made.gap(total)
    _check_names(model, names, made.count)
    return made.members


def members_of_dtype(model: str, dtype: Any, structure: Any) -> Members:
    """Returns the fields of a structured dtype at their offsets. Gaps become padding.

    Args:
        model: name of the model, for messages.
        dtype: a structured dtype, or anything that `numpy.dtype` converts to one.
        structure: makes a `TSStruct` from a name and members, for nested dtypes.

    Raises:
        SchemaError: if the dtype is not structured, or no field type matches one of its fields.
    """
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise SchemaError(f"{model}: {dtype!r} is not a dtype: {error}", model=model) from error
    if kind.names is None or kind.fields is None:
        raise SchemaError(f"{model}: {kind} has no fields; give a structured dtype", model=model)
    fields = kind.fields
    made = _Members(model)
    for name in sorted(kind.names, key=lambda each: fields[each][1]):
        inner, offset = fields[name][:2]
        made.gap(offset)
        made.add(name, *_of_dtype(model, name, inner, structure), inner.itemsize)
    made.gap(kind.itemsize)
    return made.members


class _Members:
    """Collects fields in order, with padding for gaps."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.end = 0
        self.count = 0
        self.annotations: dict[str, Any] = {}
        self.values: dict[str, Any] = {}

    def gap(self, offset: int) -> None:
        """Adds padding up to an offset."""
        if offset < self.end:
            raise SchemaError(
                f"{self.model}: fields overlap at byte {offset}; fields of a layout cannot overlap", model=self.model
            )
        if offset > self.end:
            name = f"_gap{self.end}"
            self.annotations[name], self.values[name] = Padding, padding(offset - self.end)
            self.end = offset

    def add(self, name: str, annotation: Any, options: dict[str, Any], size: int) -> None:
        """Adds a field at the end."""
        if name in self.annotations:
            raise SchemaError(f"{self.model}.{name} occurs twice in the names", model=self.model, field=name)
        self.annotations[name], self.values[name] = annotation, field(**options)
        self.end += size
        self.count += 1

    @property
    def members(self) -> Members:
        """Returns all members."""
        return self.annotations, self.values


def _tokens(model: str, body: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(body):
        match = _TOKEN.match(body, at)
        if match is None:
            raise SchemaError(f"{model}: {body[at:]!r} of the format has no field type", model=model)
        tokens.append((match[1], match[2]))
        at = match.end()
    return tokens


def _of_code(model: str, code: str, size: int) -> tuple[Any, dict[str, Any]]:
    if code == "?":
        return Bool, {}
    if code in "efd":
        return _FLOATS[size], {}
    if code in "sc":
        return Blob, {"size": size}
    if code in "bBhHiIlLqQnN":
        return _INTEGERS[size, code.islower()], {}
    raise SchemaError(f"{model}: {code!r} of the format has no field type", model=model)


def _of_dtype(model: str, name: str, kind: np.dtype[Any], structure: Any) -> tuple[Any, dict[str, Any]]:
    if kind.subdtype is not None:
        item, shape = kind.subdtype
        inner, options = _of_dtype(model, name, item, structure)
        if len(shape) != 1:
            raise SchemaError(
                f"{model}.{name}: an array of shape {shape}; only one-dimensional arrays are supported",
                model=model,
                field=name,
            )
        return Array[Any], {"item": inner, "length": shape[0], **options}
    if kind.names is not None:
        nested: Any = Nested  # checkers accept no class that is created at run time
        return nested[structure(f"{model}_{name}", *members_of_dtype(f"{model}.{name}", kind, structure))], {}
    order = {"byte_order": _ORDERS[kind.byteorder]} if kind.byteorder in _ORDERS else {}
    if kind.kind == "b":
        return Bool, {}
    if kind.kind in "iu":
        return _INTEGERS[kind.itemsize, kind.kind == "i"], order
    if kind.kind == "f" and kind.itemsize in _FLOATS:
        return _FLOATS[kind.itemsize], order
    if kind.kind in "SV":
        return Blob, {"size": kind.itemsize}
    raise SchemaError(f"{model}.{name}: {kind} has no field type", model=model, field=name)


def _name(names: Sequence[str] | None, at: int) -> str:
    if names is None:
        return f"f{at}"
    return names[at] if at < len(names) else f"f{at}"


def _check_names(model: str, names: Sequence[str] | None, count: int) -> None:
    if names is not None and len(names) != count:
        raise SchemaError(f"{model}: the format has {count} fields, but {len(names)} names are given", model=model)
