"""From the layout of a model to a description of what to read and write, one step after another, for all languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from tsmodel.errors import SchemaError
from tsmodel.layout import Layout, LayoutField
from tsmodel.layout.message_layout import MessageLayout
from tsmodel.layout.placing import Slot
from tsmodel.model.field import FieldOptions
from tsmodel.model.meta import schema_of
from tsmodel.types.kinds import (
    BitField,
    Bitmap,
    BitUnit,
    Choice,
    FieldStep,
    Gap,
    Number,
    Step,
    Structure,
    Version,
)

__all__ = ["described"]

Said: TypeAlias = Mapping[str, FieldOptions]
"""What `field()` was told, by field."""


def described(model: type[Any]) -> Structure:
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
            elif part.codec.bits is not None:
                steps.append(_unit([field for field in layout.fields if field.slot == part.name], said))
            else:
                steps.append(_field(name, fields[part.name], said))
        else:
            steps.append(_field(name, part, said))
    if layout.tail:
        steps.append(Gap(layout.tail))
    return Structure(name, tuple(steps), layout.size)


def _unit(fields: list[LayoutField], said: Said) -> BitUnit:
    members = []
    for field in fields:
        options = said[field.name]
        members.append(BitField(field.name, field.fixed.bits or 0, field.fixed.shift, options.unit, options.doc))
    unit = fields[0].fixed.declared(_struct)
    assert isinstance(unit, Number)
    return BitUnit(unit.scalar, unit.byte_order, tuple(members))


def _field(model: str, field: LayoutField, said: Said) -> FieldStep:
    item, null = field.item, None
    kind = item.declared(_struct)
    if item.is_nullable:
        if not isinstance(kind, (Number, Choice)) or item.as_fixed is None:
            raise SchemaError(
                f"{model}.{field.name}: a value that stands for None is compared only where it is a number",
                model=model,
                field=field.name,
            )
        zero: Any = item.as_fixed.zero  # as it is read, so rounded to the width of the float
        null = int(zero) if isinstance(zero, bool) else zero
    options = said[field.name]
    return FieldStep(field.name, kind, item.size, field.bit, null, options.unit, options.doc)


def _struct(kind: type[Any]) -> Structure:
    return _structure(kind.__name__, schema_of(kind).layout, kind)
