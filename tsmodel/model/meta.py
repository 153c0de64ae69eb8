"""The metaclass: turns a class body into a msgspec Struct whose fields are the key's, then the payload's, in wire order.

Rules kept here:

* An instance attribute stays a C slot; only access through the class (`Reading.volts`) runs Python, and gives a `Column`.
* msgspec wants required fields before those with defaults. `acq` has a default and stands before the payload, so a
  required field behind it gets a default factory that raises what a missing argument raises: free when decoding.
* Only the class that is used holds slots. Abstract models hand down declarations, so that wire order is theirs, then ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs
import msgspec

from tsmodel.codec import ByteOrder, RowCodec
from tsmodel.errors import QueryError, SchemaError
from tsmodel.keys import KEY_FIELDS
from tsmodel.model.fields import field
from tsmodel.model.schema import FieldSpec, Schema, own_fields, read_fixed

if TYPE_CHECKING:
    # A checker that saw msgspec's metaclass would apply msgspec's own rules for constructors on top of ours.
    StructMeta = type
else:
    from msgspec import StructMeta

from typing_extensions import dataclass_transform

__all__ = ["SCHEMA", "TSModelMeta", "schema_of"]

SCHEMA: Final = "__tsmodel_schema__"


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
class TSModelMeta(StructMeta):
    """Metaclass of models; see `TSModel` for the class keywords it takes."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        abstract: bool = False,
        byte_order: ByteOrder | None = None,
        **options: object,
    ) -> Any:
        inherited = _inherited(name, bases)
        reserved = frozenset(key for base in bases for cls in base.__mro__[:-1] for key in vars(cls))
        fields = _joined(name, inherited.fields, own_fields(name, namespace, sys._getframe(1), reserved))
        _check_hidden(name, inherited.fields, namespace)
        _check_mixins(name, bases)
        if byte_order not in ("little", "big", None):
            raise SchemaError(f"class {name}: byte_order={byte_order!r}; it is 'little' or 'big'", model=name)
        schema = Schema(
            name,
            fields,
            _fixed(name, bases, options),
            byte_order or inherited.byte_order,
            abstract,
        )
        if abstract:
            return _abstract(schema, lambda: super(TSModelMeta, mcls).__new__(mcls, name, bases, namespace), namespace)
        namespace.setdefault("__annotations__", {}).update(_struct_annotations(schema))
        namespace.update(_struct_defaults(schema))
        cls = super().__new__(mcls, name, bases, namespace, gc=False)
        type.__setattr__(
            cls,
            SCHEMA,
            attrs.evolve(schema, codec=RowCodec(schema.layout, cls, schema.fixed, partial(map, msgspec.structs.astuple))),
        )
        return cls

    if not TYPE_CHECKING:

        def __getattribute__(cls, name):
            value = super().__getattribute__(name)
            if name[:2] != "__" and type(value) is _SLOT:
                return super().__getattribute__(SCHEMA).columns[name]
            return value

        def __getattr__(cls, name):
            schema = cls.__dict__.get(SCHEMA)
            if schema is not None and name in schema.columns:
                return schema.columns[name]
            raise AttributeError(f"{cls.__name__} has no field or attribute {name!r}" + _known(schema))


class _Probe(msgspec.Struct):
    slot: int


_SLOT: Final = type(_Probe.__dict__["slot"])


def schema_of(model: type) -> Schema:
    """The schema of a model class.

    Raises:
        QueryError: when `model` is not a model class.
    """
    schema = getattr(model, SCHEMA, None) if isinstance(model, type) else None
    if not isinstance(schema, Schema):
        raise QueryError(f"{model!r} is not a model: give a subclass of TSModel")
    return schema


def _known(schema: Schema | None) -> str:
    return f"; its fields are {', '.join(schema.columns)}" if schema is not None else ""


def _abstract(schema: Schema, create: Callable[[], Any], namespace: dict[str, Any]) -> Any:
    """An abstract class, which cannot be instantiated.

    msgspec binds `__post_init__` when it creates a class: what stands there only for that moment refuses instances of
    this class, and is not inherited.
    """

    def refuse(_: object) -> NoReturn:
        raise TypeError(f"{schema.model} is abstract: create objects of a class derived from it")

    own = namespace.get("__post_init__")
    namespace["__post_init__"] = refuse
    namespace[SCHEMA] = schema
    cls = create()
    if own is None:
        type.__delattr__(cls, "__post_init__")
    else:
        type.__setattr__(cls, "__post_init__", own)
    return cls


def _inherited(name: str, bases: tuple[type, ...]) -> Schema:
    schemas = [schema for base in bases if isinstance(schema := getattr(base, SCHEMA, None), Schema)]
    for schema in schemas:
        if not schema.abstract:
            raise SchemaError(
                f"class {name}: {schema.model} is a model with records of its own, which a subclass would not fit; move "
                f"what they share into class Base(TSModel, abstract=True) and derive both from it",
                model=name,
            )
    fields: tuple[FieldSpec, ...] = ()
    for schema in schemas:
        fields = _joined(name, fields, schema.fields)
    orders = {schema.byte_order for schema in schemas}
    return Schema(name, fields, {}, "big" if "big" in orders else "little", True)


def _fixed(name: str, bases: tuple[type, ...], options: dict[str, object]) -> dict[str, int]:
    """The key components that the class fixes, and those that its bases do."""
    own = read_fixed(name, options)
    fixed: dict[str, int] = {}
    for base in bases:
        schema = getattr(base, SCHEMA, None)
        for component, value in schema.fixed.items() if isinstance(schema, Schema) else ():
            if component not in own and fixed.setdefault(component, value) != value:
                raise SchemaError(
                    f"class {name}: its bases fix {component} as {fixed[component]} and as {value}; say which, by class "
                    f"{name}(..., {component}={value})",
                    model=name,
                    field=component,
                )
    return {**fixed, **own}


def _check_hidden(name: str, inherited: tuple[FieldSpec, ...], namespace: dict[str, Any]) -> None:
    """What a class body assigns must not take the place of a field."""
    for taken in (*KEY_FIELDS, *(spec.name for spec in inherited)):
        if taken in namespace:
            mend = f"to fix it write class {name}(TSModel, {taken}=…)" if taken in KEY_FIELDS[:3] else "choose another name"
            raise SchemaError(f"{name}.{taken}: this name is a field already; {mend}", model=name, field=taken)


def _check_mixins(name: str, bases: tuple[type, ...]) -> None:
    for base in bases:
        if not hasattr(base, "__struct_fields__"):
            for cls in base.__mro__[:-1]:
                if "__slots__" not in vars(cls):
                    raise SchemaError(
                        f"class {name}: its base {cls.__name__} gives objects a __dict__, which those of a model do not "
                        f"have; write __slots__ = () in {cls.__name__}",
                        model=name,
                    )


def _joined(
    name: str, first: tuple[FieldSpec, ...], second: tuple[FieldSpec, ...] | list[FieldSpec]
) -> tuple[FieldSpec, ...]:
    known = {spec.name for spec in first}
    for spec in second:
        if spec.name in known and spec not in first:
            raise SchemaError(
                f"{name}.{spec.name} is already declared by a base class; a layout cannot hold it twice: rename one",
                model=name,
                field=spec.name,
            )
    return (*first, *(spec for spec in second if spec.name not in known))


def _struct_annotations(schema: Schema) -> dict[str, type]:
    return {**dict.fromkeys(KEY_FIELDS, int), **{spec.name: spec.python for spec in schema.fields}}


def _struct_defaults(schema: Schema) -> dict[str, object]:
    defaults: dict[str, object] = {**schema.fixed, "acq": -1}
    behind_default = False
    for name in KEY_FIELDS[:4]:
        behind_default = behind_default or name in schema.fixed
        if behind_default and name not in schema.fixed:
            defaults[name] = msgspec.field(default_factory=_missing(name))
    for spec in schema.fields:
        if spec.options.default_factory is not None:
            defaults[spec.name] = msgspec.field(default_factory=spec.options.default_factory)
        elif spec.options.default is not attrs.NOTHING:
            defaults[spec.name] = spec.options.default
        else:
            defaults[spec.name] = msgspec.field(default_factory=_missing(spec.name))
    return defaults


def _missing(name: str) -> Callable[[], NoReturn]:
    def missing() -> NoReturn:
        raise TypeError(f"missing required argument '{name}'")

    return missing
