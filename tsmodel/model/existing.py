"""Models of existing layouts: `struct` formats and NumPy dtypes."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from tsmodel.errors import SchemaError, check_type
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
_NUMBERS: Final[dict[str, type[FieldType[Any]]]] = {
    "i1": Int8,
    "i2": Int16,
    "i4": Int32,
    "i8": Int64,
    "u1": UInt8,
    "u2": UInt16,
    "u4": UInt32,
    "u8": UInt64,
    "f2": Float16,
    "f4": Float32,
    "f8": Float64,
}
_TOKEN: Final = re.compile(r"\s*(\d*)([xcbB?hHiIlLqQnNefdsP])\s*")


def members_of_format(model: str, format_: str, names: Sequence[str] | None) -> Members:
    """Returns the fields of a `struct` format; see `TSModel.from_format`."""
    check_type(format_, str, f"{model}: from_format takes a struct format", SchemaError)
    if names is not None:
        names = list(_names(model, names))
    try:
        total = struct.calcsize(format_)
    except struct.error as error:
        raise SchemaError(f"{model}: {format_!r} is not a struct format: {error}", model=model) from error
    mark, body = (format_[0], format_[1:]) if format_[:1] in _ORDERS else ("@", format_)
    native = "@" if mark == "@" else "="
    order = "<" if _ORDERS[mark] == "little" else ">"
    prefix, at = "", 0
    kinds: list[str] = []
    offsets: list[int] = []
    while at < len(body):
        match = _TOKEN.match(body, at)
        if match is None:
            raise SchemaError(f"{model}: {body[at:]!r} of the format has no field type", model=model)
        at = match.end()
        count, code = match.groups()
        # calcsize gives the offset of the value, including padding before it.
        items = [f"{count}{code}"] if code in "sx" or count == "0" else [code] * int(count or 1)
        for item in items:
            prefix += item
            size = struct.calcsize(native + item)
            if code == "P":
                raise SchemaError(f"{model}: {code!r} of the format has no field type", model=model)
            if code != "x" and (code == "s" or count != "0"):  # "0i" only aligns
                kind = {"?": "?", "s": "V", "c": "V"}.get(code) or ("f" if code in "efd" else "iu"[code.isupper()])
                kinds.append(f"{order}{kind}{'' if kind == '?' else size}")
                offsets.append(struct.calcsize(native + prefix) - size)
    if names is not None and len(names) != len(kinds):
        raise SchemaError(f"{model}: the format has {len(kinds)} fields, but {len(names)} names are given", model=model)
    names = [f"f{at}" for at in range(len(kinds))] if names is None else names
    for name in names:
        if names.count(name) > 1:
            raise SchemaError(f"{model}.{name} occurs twice in the names", model=model, field=name)
    dtype: Any = {"names": names, "formats": kinds, "offsets": offsets, "itemsize": total}
    return members_of_dtype(model, np.dtype(dtype), None)


def _names(model: str, names: Iterable[Any]) -> Iterator[str]:
    check_type(names, Iterable, f"{model}: from_format takes names of fields", SchemaError)
    for name in names:
        check_type(name, str, f"{model}: a name of a field is text", SchemaError)
        yield name


def members_of_dtype(model: str, dtype: Any, structure: Any) -> Members:
    """Returns the fields of a structured dtype at their offsets; see `TSModel.from_dtype`. Gaps become padding.

    `structure` makes a `TSStruct` from a name and members, for nested dtypes.
    """
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise SchemaError(f"{model}: {dtype!r} is not a dtype: {error}", model=model) from error
    if kind.fields is None:
        raise SchemaError(f"{model}: {kind} has no fields; give a structured dtype", model=model)
    annotations: dict[str, Any] = {}
    values: dict[str, Any] = {}
    end = 0

    def skip_to(offset: int) -> None:
        if offset < end:
            raise SchemaError(f"{model}: fields overlap at byte {offset}; fields of a layout cannot overlap", model=model)
        if offset > end:
            annotations[f"_gap{end}"], values[f"_gap{end}"] = Padding, padding(offset - end)

    fields = kind.fields  # by name, and also by title
    for name in sorted(kind.names or (), key=lambda name: fields[name][1]):
        inner, offset = fields[name][:2]
        skip_to(offset)
        annotations[name], options = _of_dtype(model, name, inner, structure)
        values[name] = field(**options)
        end = offset + inner.itemsize
    skip_to(kind.itemsize)
    return annotations, values


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
    if kind.kind == "b":
        return Bool, {}
    if kind.kind in "SV":
        return Blob, {"size": kind.itemsize}
    if (number := _NUMBERS.get(f"{kind.kind}{kind.itemsize}")) is not None:
        return number, {"byte_order": _ORDERS[kind.byteorder]} if kind.byteorder in _ORDERS else {}
    raise SchemaError(f"{model}.{name}: {kind} has no field type", model=model, field=name)
