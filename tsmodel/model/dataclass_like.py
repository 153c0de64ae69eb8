"""What Python code sees of models and structures: annotations, defaults, a signature, a `repr`, and that of a dataclass.

Because they look like dataclasses, FastAPI accepts a model as a body, `pandas.DataFrame` and `polars.DataFrame` build
columns from a list of objects, and `dataclasses.asdict`, `fields` and `replace` work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import Parameter, Signature
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

import msgspec

from tsmodel.layout import Layout
from tsmodel.layout.message_layout import MessageLayout
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
    for name, member in schema.members.items():
        annotations[name] = member.codec.python
        if (options := member.options).factory is not None:
            default = options.default_factory is None and _is_hashable(options.default)
            defaults[name] = (
                msgspec.field(default=options.default) if default else msgspec.field(default_factory=options.factory)
            )
        elif defaults:
            defaults[name] = msgspec.field(default_factory=_Missing(name))
    return annotations, defaults


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def signature_of(schema: Schema) -> Signature:
    """Returns the signature of the constructor as documented: keyword-only, without defaults for required members."""
    parameters = []
    for name, member in schema.members.items():
        default = Parameter.empty if member.options.default is msgspec.NODEFAULT else member.options.default
        default = _FACTORY if member.options.default_factory is not None else default
        parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=member.codec.python))
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
    times: Iterable[str],
) -> None:
    """Adds a `__repr__` to the namespace of a class, unless it defines one or the faster one of msgspec is sufficient.

    `names` are the names of its members, in order; `times` are those of times of the key.
    """
    plain: Any = object.__repr__
    inherited = next((each for each in (getattr(base, "__repr__", plain) for base in bases) if each is not plain), plain)
    is_ours = hasattr(inherited, _OURS)
    if "__repr__" in namespace or not (is_ours or inherited is msgspec.Struct.__repr__):
        return
    special: list[tuple[int, _Show]] = [(names.index(name), as_python) for name in times if name in names]
    if not isinstance(layout, MessageLayout):
        special += [(names.index(field.name), show) for field in layout.fields if (show := field.item.show) is not None]
    if special:
        namespace["__repr__"] = _repr(names, special, is_acyclic=all(field.item.acyclic for field in layout.fields))
    elif is_ours:
        namespace["__repr__"] = msgspec.Struct.__repr__


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
