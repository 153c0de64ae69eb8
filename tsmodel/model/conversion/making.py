"""The structure that belongs to each model."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import attrs

from tsmodel.codec import KEY_CODECS
from tsmodel.codec.messages import MessageLayout
from tsmodel.errors import QueryError, SchemaError
from tsmodel.keys import LIMITS
from tsmodel.model.conversion.structures import Member, Structure
from tsmodel.model.field import FieldOptions
from tsmodel.types import SCHEMA
from tsmodel.types.conversion import Conversion, Spelling
from tsmodel.types.integers import IntConversion
from tsmodel.types.key import AcqConversion
from tsmodel.types.times import TimeConversion

__all__ = ["structure_of"]


def structure_of(model: Any, spelling: Spelling) -> Structure:
    """A model or structure, for conversion.

    Raises:
        SchemaError: when it is abstract.
        QueryError: when it is neither.
    """
    return _structure_of(model, spelling)


@lru_cache(maxsize=256)
def _structure_of(model: Any, spelling: Spelling) -> Structure:
    schema = getattr(model, SCHEMA, None) if isinstance(model, type) else None
    if schema is None:
        raise QueryError(f"{model!r} is not a model: give a subclass of TSModel")
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
        members.append(Member(field.name, field.codec.conversion(spelling), known, constraints, fault=fault))
    return Structure(model, tuple(members), spelling)
