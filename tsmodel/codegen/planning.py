"""From the layout of a model to a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from tsmodel.codec import FieldCodec, Layout, LayoutField, Scalar
from tsmodel.codec.enums import EnumCodec, FlagsCodec
from tsmodel.codec.layout import Slot
from tsmodel.codec.lengths import ArrayCodec, LengthCodec, PackedCodec, TextCodec
from tsmodel.codec.messages import MessageLayout
from tsmodel.codec.nested import NestedCodec, VariableNestedCodec
from tsmodel.codec.nullable import SentinelCodec
from tsmodel.codec.numbers import BitsCodec, ScalarCodec, ScaledCodec
from tsmodel.codec.octets import CharCodec, FixedBlobCodec, FixedTextCodec, IpCodec, UuidCodec
from tsmodel.codec.scalars import SCALARS
from tsmodel.codec.sequences import FixedArrayCodec
from tsmodel.codec.times import DateCodec, DateTimeCodec, DurationCodec, UnixTimeCodec
from tsmodel.codegen.plan import (
    BitField,
    Bitmap,
    BitUnit,
    Choice,
    FieldStep,
    Gap,
    Items,
    Kind,
    Number,
    Octets,
    Step,
    Structure,
    Text,
    Version,
)
from tsmodel.errors import SchemaError
from tsmodel.model.fields import FieldOptions
from tsmodel.model.meta import schema_of

__all__ = ["planned"]

Said: TypeAlias = Mapping[str, FieldOptions]
"""What `field()` was told, by field."""


def planned(model: type[Any]) -> Structure:
    """What to read and write for a model's payload.

    Raises:
        SchemaError: when the payload is a message.
    """
    layout = schema_of(model).layout
    if isinstance(layout, MessageLayout):
        raise SchemaError(
            f"{model.__name__} is stored as {layout.encoding}, which a library reads in any language; code is made for "
            "byte layouts",
            model=model.__name__,
        )
    return _structure(model.__name__, layout, model)


def _structure(name: str, layout: Layout, kind: type[Any]) -> Structure:
    said = {spec.name: spec.options for spec in schema_of(kind).fields}
    steps: list[Step] = [] if layout.version is None else [Version(layout.version)]
    fields = {field.slot: field for field in layout.fields}
    for part in layout.parts:
        if isinstance(part, Slot):
            if part.gap:
                steps.append(Gap(part.gap))
            if part.codec is None:
                steps.append(Bitmap(layout.bitmap, sum(field.bit is not None for field in layout.fields)))
            elif isinstance(part.codec, BitsCodec):
                steps.append(_unit(part.codec, [field for field in layout.fields if field.slot == part.name], said))
            else:
                steps.append(_field(name, fields[part.name], said))
        else:
            steps.append(_field(name, part, said))
    if layout.tail:
        steps.append(Gap(layout.tail))
    return Structure(name, tuple(steps), layout.size)


def _unit(first: BitsCodec, fields: list[LayoutField], said: Said) -> BitUnit:
    members = []
    for field in fields:
        assert isinstance(field.codec, BitsCodec)
        options = said[field.name]
        members.append(BitField(field.name, field.codec.bits, field.codec.shift, options.unit, options.doc))
    return BitUnit(first.storage, first.byte_order, tuple(members))


def _field(model: str, field: LayoutField, said: Said) -> FieldStep:
    item, null = field.item, None
    if isinstance(item, SentinelCodec):
        if item.number is None:
            raise SchemaError(
                f"{model}.{field.name}: a value that stands for None is compared only where it is a number",
                model=model,
                field=field.name,
            )
        zero: Any = item.zero  # as it is read, so rounded to the width of the float
        null, item = (int(zero) if isinstance(zero, bool) else zero), item.item
    options = said[field.name]
    return FieldStep(field.name, _kind(item), item.size, field.bit, null, options.unit, options.doc)


def _kind(codec: FieldCodec) -> Kind:
    if isinstance(codec, (EnumCodec, FlagsCodec)):
        return Choice(codec.kind, codec.storage, codec.byte_order, codec.keep, isinstance(codec, FlagsCodec))
    if isinstance(codec, FixedTextCodec):
        return Text(codec.size)
    if isinstance(codec, (FixedBlobCodec, UuidCodec, IpCodec)):
        return Octets(codec.size, note=codec.label, fills=isinstance(codec, FixedBlobCodec))
    if isinstance(codec, FixedArrayCodec):
        return Items(_kind(codec.item), codec.item.size, codec.length)
    if isinstance(codec, (NestedCodec, VariableNestedCodec)):
        return _structure(codec.kind.__name__, codec.layout, codec.kind)
    if isinstance(codec, LengthCodec):
        if isinstance(codec, TextCodec):
            return Text(None, codec.prefix, codec.byte_order)
        if isinstance(codec, ArrayCodec):
            return Items(_kind(codec.item), codec.item.size, None, codec.prefix, codec.byte_order)
        note = codec.what if isinstance(codec, PackedCodec) else ""
        return Octets(None, codec.prefix, codec.byte_order, note)
    return Number(_scalar(codec), codec.byte_order, _note(codec))


def _scalar(codec: FieldCodec) -> Scalar:
    if isinstance(codec, CharCodec):
        return SCALARS["UInt8"]
    assert codec.number is not None
    return codec.number


def _note(codec: FieldCodec) -> str:
    """What a stored number counts."""
    if isinstance(codec, CharCodec):
        return "a character of Latin-1"
    if isinstance(codec, ScaledCodec):
        return f"in units of 1e-{codec.digits}"
    if isinstance(codec, UnixTimeCodec):
        return f"{codec.resolution} since 1970-01-01T00:00:00Z"
    if isinstance(codec, DurationCodec):
        return f"a duration in {codec.resolution}"
    if isinstance(codec, DateCodec):
        return "days since 2001-01-01"
    is_time = isinstance(codec, DateTimeCodec) or (isinstance(codec, ScalarCodec) and codec.scalar.kind == "time")
    return "ns since 2001-01-01T00:00:00Z" if is_time else ""
