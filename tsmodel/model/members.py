"""The members of a model as plain Python types and defaults, for msgspec and for libraries that support dataclasses.

Models and structures look like dataclasses: FastAPI accepts a model as a body, `pandas.DataFrame` and `polars.DataFrame`
build columns from a list of objects, and `dataclasses.asdict`, `fields` and `replace` work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import Parameter, Signature
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

import msgspec

from tsmodel.keys import KEY_FIELDS
from tsmodel.layout import Layout
from tsmodel.layout.message_layout import MessageLayout
from tsmodel.model.field import FieldOptions
from tsmodel.model.model_schema import Schema
from tsmodel.timestamps import as_python

__all__ = ["DataclassFields", "DataclassParams", "add_repr", "signature_of", "struct_members"]


def struct_members(schema: Schema) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns annotations and defaults of all members in wire order, by name.

    msgspec requires members without defaults to come first. A required member after one with a default gets a default
    factory that raises the same TypeError as a missing argument.
    """
    annotations: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for component in KEY_FIELDS if schema.has_key else ():
        name = schema.aliases.get(component, component)
        annotations[name] = int
        given = schema.key_defaults.get(component, FieldOptions(msgspec.NODEFAULT))
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
    if options.default is msgspec.NODEFAULT:
        return None
    assert options.factory is not None
    try:
        hash(options.default)
    except TypeError:
        return msgspec.field(default_factory=options.factory)
    return msgspec.field(default=options.default)


def signature_of(schema: Schema) -> Signature:
    """Returns the signature of the constructor as documented: keyword-only, without defaults for required members."""
    annotations, defaults = struct_members(schema)
    given = {schema.aliases.get(component, component): each for component, each in schema.key_defaults.items()}
    given |= {spec.name: spec.options for spec in schema.specs}
    parameters = []
    for name, kind in annotations.items():
        default = defaults.get(name, Parameter.empty)
        factory = getattr(default, "default_factory", None)
        if isinstance(factory, _Missing):
            default = Parameter.empty
        elif default is not Parameter.empty and name in given and given[name].default is not msgspec.NODEFAULT:
            default = given[name].default
        elif callable(factory):
            default = _FACTORY
        parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind))
    return Signature(parameters)


class _Factory:
    """Shown in a signature in place of a default that a factory makes for each object."""

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
    """The attribute that `dataclasses.fields` reads; built from the fields of the class on first access."""

    def __get__(self, instance: object, owner: type[Any]) -> dict[str, Any]:
        fields = _made.get(owner)
        if fields is None:
            import dataclasses  # not needed otherwise

            like: Any = dataclasses.make_dataclass(owner.__name__, [(name, Any) for name in owner.__struct_fields__])
            fields = _made[owner] = like.__dataclass_fields__
        return fields


class DataclassParams:
    """The attribute that `pprint` reads: tells it to use the `repr` of the class."""

    repr = False


_Show = Callable[[Any], str]

_OURS: Final = "_shows_widths"

_name_of: Final[_Show] = type.__dict__["__name__"].__get__
"""Reads the name of a class without the attribute access of the metaclass."""


def add_repr(
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    names: tuple[str, ...],
    layout: Layout,
    times: Iterable[str] = (),
) -> None:
    """Adds a `__repr__` to a class under construction, unless it defines one or the faster one of msgspec is sufficient.

    Args:
        bases: bases of the class.
        namespace: namespace of the class body; changed in place.
        names: names of the members, in order.
        layout: layout of the payload.
        times: the names that are times of the key.
    """
    plain: Any = object.__repr__
    inherited = next((each for each in (getattr(base, "__repr__", plain) for base in bases) if each is not plain), plain)
    is_ours = hasattr(inherited, _OURS)
    if "__repr__" in namespace or not (is_ours or inherited is msgspec.Struct.__repr__):
        return
    special: list[tuple[int, _Show]] = [(names.index(name), as_python) for name in times if name in names]
    special += [] if isinstance(layout, MessageLayout) else _special(names, layout)
    if special:
        namespace["__repr__"] = _repr(names, special, is_acyclic=all(field.item.acyclic for field in layout.fields))
    elif is_ours:
        namespace["__repr__"] = msgspec.Struct.__repr__


def _special(names: tuple[str, ...], layout: Layout) -> list[tuple[int, _Show]]:
    shows = ((names.index(field.name), field.item.show) for field in layout.fields)
    return [(at, show) for at, show in shows if show is not None]


def _repr(names: tuple[str, ...], special: list[tuple[int, _Show]], *, is_acyclic: bool) -> _Show:
    form = f"%s({', '.join(f'{name}=%s' for name in names)})"
    attributes_of = attrgetter(*names) if len(names) > 1 else None

    def __repr__(self: Any) -> str:  # noqa: N807 - becomes a method
        values = attributes_of(self) if attributes_of else [getattr(self, name) for name in names]
        texts = list(map(repr, values))
        for at, show in special:
            texts[at] = show(values[at])
        return form % (_name_of(type(self)), *texts)

    shown: Any = __repr__ if is_acyclic else recursive_repr("...")(__repr__)
    setattr(shown, _OURS, True)
    return shown  # type: ignore[no-any-return]
