"""The conversion that belongs to each codec, and the structure that belongs to each model."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import attrs

from tsmodel.codec import KEY_CODECS, FieldCodec
from tsmodel.codec.enums import EnumCodec, FlagsCodec
from tsmodel.codec.lengths import ArrayCodec, BlobCodec, PackedCodec, TextCodec
from tsmodel.codec.messages import MessageLayout
from tsmodel.codec.nested import NestedCodec, VariableNestedCodec
from tsmodel.codec.nullable import NullableCodec, SentinelCodec
from tsmodel.codec.numbers import BitsCodec, ScalarCodec, ScaledCodec
from tsmodel.codec.octets import CharCodec, FixedBlobCodec, FixedTextCodec, IpCodec, UuidCodec
from tsmodel.codec.sequences import FixedArrayCodec
from tsmodel.codec.times import DateCodec, DateTimeCodec, DurationCodec, UnixTimeCodec
from tsmodel.errors import SchemaError
from tsmodel.keys import LIMITS
from tsmodel.model.conversion.base import Conversion, Spelling
from tsmodel.model.conversion.composites import (
    ArrayConversion,
    NestedConversion,
    NullableConversion,
    PackedConversion,
    SentinelConversion,
)
from tsmodel.model.conversion.numbers import BoolConversion, FloatConversion, IntConversion, ScaledConversion
from tsmodel.model.conversion.structures import Member, Structure
from tsmodel.model.conversion.times import (
    AcqConversion,
    DateConversion,
    DateTimeConversion,
    DurationConversion,
    TimeConversion,
)
from tsmodel.model.conversion.values import (
    BlobConversion,
    CharConversion,
    EnumConversion,
    FlagsConversion,
    IpConversion,
    TextConversion,
    UuidConversion,
)
from tsmodel.model.fields import FieldOptions
from tsmodel.model.meta import schema_of

__all__ = ["conversion_of", "structure_of"]


def _scalar(codec: ScalarCodec, spelling: Spelling) -> Conversion:
    kind = codec.scalar.kind
    if kind == "float":
        return FloatConversion(codec, spelling)
    if kind == "bool":
        return BoolConversion(codec, spelling)
    assert codec.scalar.limits is not None
    return TimeConversion(codec, spelling) if kind == "time" else IntConversion(codec, spelling, codec.scalar.limits)


def _bits(codec: BitsCodec, spelling: Spelling) -> Conversion:
    return IntConversion(codec, spelling, (0, 2**codec.bits - 1))


def _array(codec: ArrayCodec | FixedArrayCodec, spelling: Spelling) -> Conversion:
    return ArrayConversion(codec, spelling, conversion_of(codec.item, spelling))


def _nested(codec: NestedCodec | VariableNestedCodec, spelling: Spelling) -> Conversion:
    return NestedConversion(codec, spelling, structure_of(codec.kind, spelling))


def _nullable(codec: NullableCodec, spelling: Spelling) -> Conversion:
    return NullableConversion(codec, spelling, conversion_of(codec.item, spelling))


def _sentinel(codec: SentinelCodec, spelling: Spelling) -> Conversion:
    return SentinelConversion(codec, spelling, conversion_of(codec.item, spelling))


_MAKERS: dict[type[FieldCodec], Callable[[Any, Spelling], Conversion]] = {
    ScalarCodec: _scalar,
    ScaledCodec: ScaledConversion,
    BitsCodec: _bits,
    DateTimeCodec: DateTimeConversion,
    UnixTimeCodec: TimeConversion,
    DurationCodec: DurationConversion,
    DateCodec: DateConversion,
    EnumCodec: EnumConversion,
    FlagsCodec: FlagsConversion,
    CharCodec: CharConversion,
    FixedTextCodec: TextConversion,
    TextCodec: TextConversion,
    FixedBlobCodec: BlobConversion,
    BlobCodec: BlobConversion,
    UuidCodec: UuidConversion,
    IpCodec: IpConversion,
    ArrayCodec: _array,
    FixedArrayCodec: _array,
    PackedCodec: PackedConversion,
    NestedCodec: _nested,
    VariableNestedCodec: _nested,
    NullableCodec: _nullable,
    SentinelCodec: _sentinel,
}


def conversion_of(codec: FieldCodec, spelling: Spelling) -> Conversion:
    """The conversion of a field's values."""
    return _MAKERS[type(codec)](codec, spelling)


def structure_of(model: Any, spelling: Spelling) -> Structure:
    """A model or structure, for conversion.

    Raises:
        SchemaError: when it is abstract.
        QueryError: when it is neither.
    """
    return _structure_of(model, spelling)


@lru_cache(maxsize=256)
def _structure_of(model: Any, spelling: Spelling) -> Structure:
    schema = schema_of(model)
    if schema.abstract:
        raise SchemaError(f"{schema.model} is abstract: convert to a class derived from it", model=schema.model)
    members = []
    for component, codec in KEY_CODECS.items() if schema.has_key else ():
        limits = LIMITS[component].least, LIMITS[component].bound - 1
        conversion: Conversion
        if component == "acq":
            conversion = AcqConversion(codec, spelling, limits)
        elif component == "cap":
            conversion = TimeConversion(codec, spelling, limits)
        else:
            conversion = IntConversion(codec, spelling, limits)
        given = schema.key_defaults.get(component, FieldOptions(attrs.NOTHING))
        fixed = schema.fixed.get(component)
        if fixed is not None:
            given = attrs.evolve(given, default=fixed, default_factory=None)
        elif component == "acq" and given.factory is None:
            given = attrs.evolve(given, default=-1)
        name = schema.aliases.get(component, component)
        constraints = given.constraints.of(KEY_CODECS[component])
        members.append(Member(name, conversion, given, constraints, fixed=fixed, component=component))
    if isinstance(schema.layout, MessageLayout):  # which has no widths: all floats are stored with all of their digits
        spelling = attrs.evolve(spelling, shortest=False)
    options = {spec.name: spec.options for spec in schema.specs}
    for field in schema.layout.fields:
        known = options[field.name]
        constraints = known.constraints.of(field.codec)
        is_json = isinstance(schema.layout, MessageLayout) and schema.layout.encoding == "json"
        fault = partial(schema.layout.fault, field) if is_json else None
        members.append(Member(field.name, conversion_of(field.codec, spelling), known, constraints, fault=fault))
    return Structure(model, tuple(members), spelling)
