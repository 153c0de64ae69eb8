"""Field types around others: arrays, structures in place, values that may be absent, messages; and padding."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from tsmodel.codec import FieldCodec
from tsmodel.codec import Padding as PaddingBytes
from tsmodel.codec.lengths import ArrayCodec, PackedCodec
from tsmodel.codec.nested import nested
from tsmodel.codec.nullable import NullableCodec, SentinelCodec
from tsmodel.codec.numbers import BitsCodec
from tsmodel.codec.sequences import FixedArrayCodec
from tsmodel.model.fields.base import Declaration, FieldType, Options, declaration_of
from tsmodel.model.fields.numbers import UInt16
from tsmodel.model.fields.values import _size

__all__ = ["Array", "Nested", "Nullable", "Packed", "Padding"]

T = TypeVar("T")
S = TypeVar("S")
_ABSENT = object()

SCHEMA = "__tsmodel_schema__"
"""Attribute of a model class that holds its schema."""


class Array(FieldType[list[T]]):
    """Items of a fixed width, `item=Float32`: always `length` of them, as many as a length in front counts (`prefix`,
    UInt16 when nothing is said), or as many as there are up to the payload's end (`rest=True`). A list; with
    `as_numpy=True` a NumPy array that cannot be written to."""

    takes = ("item", "length", "prefix", "rest", "as_numpy", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        length, as_numpy = options.take("length"), bool(options.take("as_numpy", False))
        item = _item(options, "Array[float]", "Float32")
        prefix = None if length is not None else options.prefix(UInt16)
        codec = item.fixed(options, "an item of an Array")
        if isinstance(codec, BitsCodec):
            raise ValueError("an item of an Array cannot be Bits: they have no bytes of their own")
        if length is None:
            return ArrayCodec(prefix, options.byte_order, item=codec, as_numpy=as_numpy)
        if type(length) is not int or not 1 <= length <= 2**25 // codec.size:
            raise ValueError(f"length={length!r} is not an int from 1 to {2**25 // codec.size}")
        return FixedArrayCodec(codec, length, as_numpy, options.byte_order)


class Nullable(FieldType[T | None]):
    """A value of the type `item`, or None. A bit in a bitmap at the front of the payload tells; with `null=-999.0` that
    value stands for None instead, and no bit is taken."""

    takes = ("item", "null", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        sentinel = options.take("null", _ABSENT)
        item = _item(options, "Nullable[float]", "Float32")
        if sentinel is not _ABSENT:
            codec = item.fixed(options, "a Nullable with null=")
            if isinstance(codec, BitsCodec):
                raise ValueError("a Nullable cannot be Bits: they have no bytes of their own")
            if fault := codec.fault(sentinel):
                raise ValueError(f"null={sentinel!r}: {fault}")
            return SentinelCodec(codec, sentinel)
        inner = item.codec(options)
        if isinstance(inner, (NullableCodec, BitsCodec, PaddingBytes)):
            raise ValueError(f"a Nullable cannot be {item.field_type.__name__}")
        return NullableCodec(inner)


def _item(options: Options, example: str, item: str) -> Declaration:
    given = options.require("item", f"{item}): the type of its values, as in {example} = field(item={item}")
    found = declaration_of(given)
    if found is None and isinstance(given, type) and hasattr(given, SCHEMA):
        found = Declaration(Nested, given)
    if found is None:
        raise ValueError(f"item={given!r} is not a field type, such as {item}")
    return found


class Nested(FieldType[S]):
    """A `TSStruct` in place: its fields, as it lays them out."""

    takes = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        schema = getattr(argument, SCHEMA, None)
        if schema is None or schema.has_key or schema.abstract:
            raise ValueError("write Nested[Phase] with class Phase(TSStruct)")
        return nested(argument, schema.layout)


class Packed(FieldType[T]):
    """Any value of a type that msgspec takes (dicts, lists, Structs, dataclasses), as MessagePack or, with
    `encoding="json"`, as JSON: behind a length in bytes (`prefix`, UInt16 when nothing is said) or up to the payload's end
    (`rest=True`)."""

    takes = ("encoding", "prefix", "rest", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        if argument is None:
            raise ValueError("write Packed[dict[str, str]], or another type")
        encoding = options.take("encoding", "msgpack")
        if encoding not in ("msgpack", "json"):
            raise ValueError(f'encoding={encoding!r} is not "msgpack" or "json"')
        try:
            return PackedCodec(options.prefix(UInt16), options.byte_order, kind=argument, encoding=encoding)
        except (TypeError, msgspec.MsgspecError) as error:
            raise ValueError(f"msgspec does not take {argument!r}: {error}") from error


class Padding(FieldType[None]):
    """Bytes that mean nothing: written as zeros, not looked at when read. No attribute of the model.

    Write `_gap: Padding = padding(3)`; a name may begin with an underscore here."""

    takes = ("size",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> PaddingBytes:
        """See `FieldType.codec`."""
        size = _size(options)
        if size is None:
            raise ValueError("write _gap: Padding = padding(3)")
        return PaddingBytes(size)
