"""The members of a model for msgspec: their plain Python types, and defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import attrs
import msgspec

from tsmodel.keys import KEY_FIELDS
from tsmodel.model.fields import FieldOptions
from tsmodel.model.schema import Schema

__all__ = ["struct_members"]


def struct_members(schema: Schema) -> tuple[dict[str, Any], dict[str, Any]]:
    """Annotations and defaults of all members in wire order, by name.

    msgspec wants required members before those with defaults, by position: a required one behind those gets a factory that
    raises what a missing argument raises.
    """
    annotations: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for component in KEY_FIELDS if schema.has_key else ():
        name = schema.aliases.get(component, component)
        annotations[name] = int
        given = schema.key_defaults.get(component, FieldOptions(attrs.NOTHING))
        if component in schema.fixed:
            defaults[name] = schema.fixed[component]
        elif component == "acq" and given.factory is None:
            defaults[name] = -1
        elif (default := _default(given)) is not None:
            defaults[name] = default
        elif defaults:
            defaults[name] = msgspec.field(default_factory=_missing(name))
    options = {spec.name: spec.options for spec in schema.specs}
    for field in schema.layout.fields:
        annotations[field.name] = field.codec.python
        default = _default(options[field.name])
        if default is not None:
            defaults[field.name] = default
        elif defaults:
            defaults[field.name] = msgspec.field(default_factory=_missing(field.name))
    return annotations, defaults


def _default(options: FieldOptions) -> Any:
    if options.default_factory is not None:
        return msgspec.field(default_factory=options.default_factory)
    if options.default is attrs.NOTHING:
        return None
    assert options.factory is not None
    try:
        hash(options.default)
    except TypeError:
        return msgspec.field(default_factory=options.factory)
    return msgspec.field(default=options.default)


def _missing(name: str) -> Callable[[], NoReturn]:
    def missing() -> NoReturn:
        raise TypeError(f"missing required argument '{name}'")

    return missing
