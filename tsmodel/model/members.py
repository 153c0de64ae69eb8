"""The members of a model, for msgspec and for libraries that know dataclasses: plain Python types, and defaults.

Models and structures look like dataclasses: FastAPI takes a model as a body, `pandas.DataFrame` and `polars.DataFrame` make
columns of a list of objects, and `dataclasses.asdict`, `fields` and `replace` work.
"""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

import attrs
import msgspec

from tsmodel.keys import KEY_FIELDS
from tsmodel.model.field import FieldOptions
from tsmodel.model.model_schema import Schema

__all__ = ["DataclassFields", "DataclassParams", "signature_of", "struct_members"]


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
            defaults[name] = msgspec.field(default_factory=_Missing(name))
    options = {spec.name: spec.options for spec in schema.specs}
    for field in schema.layout.fields:
        annotations[field.name] = field.codec.python
        default = _default(options[field.name])
        if default is not None:
            defaults[field.name] = default
        elif defaults:
            defaults[field.name] = msgspec.field(default_factory=_Missing(field.name))
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


def signature_of(schema: Schema) -> Signature:
    """The arguments that the constructor takes, as documented: by name, and those of required members required."""
    annotations, defaults = struct_members(schema)
    given = {schema.aliases.get(component, component): each for component, each in schema.key_defaults.items()}
    given |= {spec.name: spec.options for spec in schema.specs}
    parameters = []
    for name, kind in annotations.items():
        default = defaults.get(name, Parameter.empty)
        factory = getattr(default, "default_factory", None)
        if isinstance(factory, _Missing):
            default = Parameter.empty
        elif default is not Parameter.empty and name in given and given[name].default is not attrs.NOTHING:
            default = given[name].default
        elif callable(factory):
            default = _FACTORY
        parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind))
    return Signature(parameters)


class _Factory:
    """What a signature shows in the place of a default that is made for each object."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY: Final = _Factory()


class _Missing:
    """The default of a required member."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self) -> NoReturn:
        raise TypeError(f"missing required argument '{self._name}'")


_made: Final[WeakKeyDictionary[type, dict[str, Any]]] = WeakKeyDictionary()


class DataclassFields:
    """What `dataclasses.fields` reads: made of a class' fields when it is first asked for."""

    def __get__(self, instance: object, owner: type[Any]) -> dict[str, Any]:
        fields = _made.get(owner)
        if fields is None:
            import dataclasses  # not needed otherwise

            like: Any = dataclasses.make_dataclass(owner.__name__, [(name, Any) for name in owner.__struct_fields__])
            fields = _made[owner] = like.__dataclass_fields__
        return fields


class DataclassParams:
    """What `pprint` reads: that a class prints itself."""

    repr = False
