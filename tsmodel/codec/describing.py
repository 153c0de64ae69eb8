"""A layout as plain data: all that decides which bytes stand for which values, and nothing else.

Rules kept here:

* The same layout gives the same data in every process and version of Python: nothing that depends on a class' module, on
  `repr`, or on the order of a set. Fingerprints are made of it, so what is here once stays as it is.
* In are names, places, stored types and what the stored numbers stand for. Out is what may change while the bytes keep
  their meaning: the Python type of a value (`as_numpy`, float or Decimal), `unknown="keep"`, constraints, defaults, docs.
"""

from __future__ import annotations

from enum import Enum
from functools import singledispatch
from typing import Any

import msgspec
from msgspec import inspect

from tsmodel.codec.enums import EnumCodec, FlagsCodec
from tsmodel.codec.field import FieldCodec
from tsmodel.codec.layout import Layout, LayoutField
from tsmodel.codec.lengths import ArrayCodec, BlobCodec, LengthCodec, PackedCodec, TextCodec
from tsmodel.codec.nested import NestedCodec, VariableNestedCodec
from tsmodel.codec.nullable import NullableCodec, SentinelCodec
from tsmodel.codec.numbers import BitsCodec, ScalarCodec, ScaledCodec
from tsmodel.codec.octets import CharCodec, FixedBlobCodec, FixedTextCodec, IpCodec, UuidCodec
from tsmodel.codec.scalars import ByteOrder, Scalar
from tsmodel.codec.sequences import FixedArrayCodec
from tsmodel.codec.times import DateCodec, DateTimeCodec, DurationCodec, UnixTimeCodec

__all__ = ["described"]

Description = dict[str, Any]


def described(layout: Layout) -> Description:
    """The layout as data that JSON can hold.

    Returns:
        `encoding` (struct, msgpack or json), `size` (absent when it varies), `version` (absent when there is no such byte),
        and `fields`: of each its `name`, `type` with what belongs to it, `offset` and `size` (absent when they vary), and
        `bit` in the bitmap of present fields.
    """
    encoding = getattr(layout, "encoding", "struct")
    whole: Description = {"encoding": encoding}
    if layout.version is not None:
        whole["version"] = layout.version
    if layout.size is not None:
        whole["size"] = layout.size
    whole["fields"] = [_placed(field, in_message=encoding != "struct") for field in layout.fields]
    return whole


def _placed(field: LayoutField, *, in_message: bool) -> Description:
    placed: Description = {"name": field.name, **_type(field.codec)}
    if in_message:
        return placed
    if field.offset is not None:
        placed["offset"] = field.offset
    if field.size is not None:
        placed["size"] = field.size
    if field.bit is not None:
        placed["bit"] = field.bit
    return placed


@singledispatch
def _type(codec: FieldCodec) -> Description:
    raise NotImplementedError(f"{type(codec).__name__} has no description")


def _number(name: str, storage: Scalar, byte_order: ByteOrder, **more: Any) -> Description:
    kind = {"type": name, **more} if name == storage.name else {"type": name, "storage": storage.name, **more}
    return {**kind, "byte_order": byte_order} if storage.size > 1 else kind


@_type.register
def _(codec: ScalarCodec) -> Description:
    return _number(codec.scalar.name, codec.scalar, codec.byte_order)


@_type.register
def _(codec: ScaledCodec) -> Description:
    return _number("Scaled", codec.storage, codec.byte_order, digits=codec.digits)


@_type.register
def _(codec: BitsCodec) -> Description:
    return _number("Bits", codec.storage, codec.byte_order, bits=codec.bits, shift=codec.shift)


@_type.register
def _(codec: EnumCodec) -> Description:
    return _number("Enumerated", codec.storage, codec.byte_order, members=_members(codec.kind))


@_type.register
def _(codec: FlagsCodec) -> Description:
    return _number("Flags", codec.storage, codec.byte_order, members=_members(codec.kind))


def _members(kind: type[Enum]) -> dict[str, Any]:
    pairs = ((name, member.value) for name, member in kind.__members__.items())
    return dict(sorted(pairs, key=lambda pair: (pair[1], pair[0])))


@_type.register
def _(codec: DateTimeCodec) -> Description:
    return _number("DateTime", codec.storage, codec.byte_order)


@_type.register
def _(codec: UnixTimeCodec) -> Description:
    return _number("UnixTime", codec.storage, codec.byte_order, resolution=codec.resolution)


@_type.register
def _(codec: DurationCodec) -> Description:
    return _number("Duration", codec.storage, codec.byte_order, resolution=codec.resolution)


@_type.register
def _(codec: DateCodec) -> Description:
    return _number("Date", codec.storage, codec.byte_order)


@_type.register
def _(_codec: CharCodec) -> Description:
    return {"type": "Char"}


@_type.register
def _(_codec: UuidCodec) -> Description:
    return {"type": "Uuid"}


@_type.register
def _(codec: IpCodec) -> Description:
    return {"type": "IpAddress", "addresses": codec.version or "both"}


@_type.register
def _(codec: FixedTextCodec) -> Description:
    return {"type": "Text", "fixed": codec.size}


@_type.register
def _(codec: FixedBlobCodec) -> Description:
    return {"type": "Blob", "fixed": codec.size}


def _length(codec: LengthCodec) -> Description:
    if codec.prefix is None:
        return {"length": "rest"}
    return {"length": _number(codec.prefix.name, codec.prefix, codec.byte_order)}


@_type.register
def _(codec: TextCodec) -> Description:
    return {"type": "Text", **_length(codec)}


@_type.register
def _(codec: BlobCodec) -> Description:
    return {"type": "Blob", **_length(codec)}


@_type.register
def _(codec: ArrayCodec) -> Description:
    return {"type": "Array", **_length(codec), "item": _type(codec.item)}


@_type.register
def _(codec: FixedArrayCodec) -> Description:
    return {"type": "Array", "length": codec.length, "item": _type(codec.item)}


@_type.register
def _(codec: NestedCodec) -> Description:
    return {"type": "Nested", "layout": described(codec.layout)}


@_type.register
def _(codec: VariableNestedCodec) -> Description:
    return {"type": "Nested", "layout": described(codec.layout)}


@_type.register
def _(codec: NullableCodec) -> Description:
    return {"type": "Nullable", "item": _type(codec.item)}


@_type.register
def _(codec: SentinelCodec) -> Description:
    return {"type": "Nullable", "item": _type(codec.item), "null": codec.item.write(codec.sentinel).hex()}


@_type.register
def _(codec: PackedCodec) -> Description:
    return {"type": "Packed", **_length(codec), "encoding": codec.encoding, "content": _content(codec.kind)}


_UNSTORED = frozenset(
    (
        "cls",
        "default",
        "default_factory",
        "gt",
        "ge",
        "lt",
        "le",
        "multiple_of",
        "min_length",
        "max_length",
        "pattern",
        "tz",
        "forbid_unknown_fields",
    )
)


def _content(kind: Any) -> Any:
    """A type that msgspec takes: what decides which messages are values of it."""
    return _shape(inspect.type_info(kind), ())


def _shape(node: Any, within: tuple[Any, ...]) -> Any:
    if isinstance(node, (list, tuple)):
        return [_shape(each, within) for each in node]
    if isinstance(node, inspect.EnumType):
        return {"kind": "Enum", "values": sorted(str(member.value) for member in node.cls)}
    if isinstance(node, inspect.CustomType):
        return {"kind": node.cls.__name__}
    if isinstance(node, inspect.UnionType):
        shapes = [_shape(each, within) for each in node.types]
        return {"kind": "Union", "types": sorted(shapes, key=lambda shape: msgspec.json.encode(shape, order="sorted"))}
    if isinstance(node, inspect.Field):
        shape = {"name": node.encode_name, "of": _shape(node.type, within)}
        return shape if node.required else {**shape, "optional": True}
    if not isinstance(node, inspect.Type):
        return node if node is None or isinstance(node, (bool, int, float, str)) else str(node)
    cls = getattr(node, "cls", None)
    if cls is not None and cls in within:
        return {"kind": "the same again", "up": len(within) - within.index(cls)}
    inner = within if cls is None else (*within, cls)
    shape = {"kind": type(node).__name__.removesuffix("Type")}
    for name in node.__struct_fields__:
        if name not in _UNSTORED:
            shape[name] = _shape(getattr(node, name), inner)
    return shape
