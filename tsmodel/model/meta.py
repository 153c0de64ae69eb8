"""The metaclass: turns a class body into a msgspec Struct with the key components, then the payload fields, in wire order.

Rules kept here:

* An instance attribute stays a C slot. Only access through the class (`Reading.volts`) runs Python code and returns a
  `Column`.
* msgspec requires fields without defaults to come first. `acq` has a default and precedes the payload, so a required
  field after it gets a default factory that raises the same TypeError as a missing argument. Decoding never calls it.
* Only concrete classes have slots. Abstract models pass on their declarations, which come first in wire order.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from operator import attrgetter
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar, overload

import msgspec
from typing_extensions import dataclass_transform

from tsmodel.errors import QueryError, SchemaError
from tsmodel.keys import KEY_FIELDS
from tsmodel.layout import Align, row_codec
from tsmodel.layout.message_layout import Encoding
from tsmodel.model.dataclass_like import add_repr, signature_of, struct_members
from tsmodel.model.evolution import read_evolution, with_versions
from tsmodel.model.field import field, padding
from tsmodel.model.model_schema import SCHEMA, Evolution, FieldSpec, Schema, read_body, read_fixed, read_retention
from tsmodel.model.unions import ModelUnion
from tsmodel.timestamps import DurationLike, TimeLike
from tsmodel.types.scalars import ByteOrder

__all__ = [
    "SCHEMA",
    "TSModelMeta",
    "Yielding",
    "check_hidden",
    "check_mixins",
    "check_options",
    "fixed_components",
    "inherited_settings",
    "is_abstract",
    "joined",
    "schema_of",
    "unimplemented",
]


def inherited_settings(name: str, bases: tuple[type, ...]) -> dict[str, Any]:
    """Returns what a class inherits from its bases, as arguments of `Schema`."""
    schemas = [schema for base in bases if isinstance(schema := getattr(base, SCHEMA, None), Schema)]
    settings: dict[str, Any] = {"specs": (), "aliases": {}, "key_defaults": {}}
    for schema in schemas:
        if not schema.abstract:
            raise SchemaError(
                f"class {name}: {schema.model} has records of its own, which a subclass would not match; move "
                f"the shared fields into class Base(TSModel, abstract=True) and derive both from it",
                model=name,
            )
        settings["specs"] = joined(name, settings["specs"], schema.specs)
        settings["aliases"] |= schema.aliases
        settings["key_defaults"] |= schema.key_defaults
    for option, default in _DEFAULTS.items():
        values = [getattr(schema, option) for schema in schemas]
        settings[option] = next((value for value in values if value != default), default)
    settings["evolution"] = next((schema.evolution for schema in schemas if schema.evolution.versioned), Evolution())
    return settings


_DEFAULTS: Final = {
    "has_key": True,
    "byte_order": "little",
    "align": "packed",
    "encoding": "struct",
    "strict_read": False,
    "frozen": False,
    "has_weakref": False,
    "has_dict": False,
    "retention": None,
}
"""The settings that subclasses inherit, by their name in `Schema`; a base without the default prevails."""


def fixed_components(name: str, bases: tuple[type, ...], options: dict[str, object]) -> dict[str, int]:
    """Returns the key components that the class or one of its bases fixes."""
    own = read_fixed(name, options)
    fixed: dict[str, int] = {}
    for base in bases:
        schema = getattr(base, SCHEMA, None)
        for component, value in schema.fixed.items() if isinstance(schema, Schema) else ():
            if component not in own and fixed.setdefault(component, value) != value:
                raise SchemaError(
                    f"class {name}: its bases fix {component} as {fixed[component]} and as {value}; choose one with class "
                    f"{name}(..., {component}={value})",
                    model=name,
                    field=component,
                )
    return {**fixed, **own}


def check_hidden(name: str, inherited: Mapping[str, Any], namespace: dict[str, Any]) -> None:
    """Rejects assignments in a class body that would hide a field."""
    keys = KEY_FIELDS if inherited["has_key"] else ()
    for taken in (*keys, *inherited["aliases"].values(), *(spec.name for spec in inherited["specs"])):
        if taken in namespace:
            mend = f"to fix it write class {name}(TSModel, {taken}=…)" if taken in KEY_FIELDS[:3] else "choose another name"
            raise SchemaError(f"{name}.{taken}: this name is a field already; {mend}", model=name, field=taken)


def check_mixins(name: str, bases: tuple[type, ...], *, has_dict: bool) -> None:
    for base in bases if not has_dict else ():
        if not hasattr(base, "__struct_fields__"):
            for cls in base.__mro__[:-1]:
                if "__slots__" not in vars(cls):
                    raise SchemaError(
                        f"class {name}: its base {cls.__name__} gives objects a __dict__, which those of a model do not "
                        f"have; write __slots__ = () in {cls.__name__}, or class {name}(..., dict=True)",
                        model=name,
                    )


def is_abstract(member: object) -> bool:
    """Whether the member is decorated with `abc.abstractmethod`."""
    return bool(getattr(member, "__isabstractmethod__", False))


def unimplemented(bases: tuple[type, ...], namespace: dict[str, Any], fields: Iterable[str]) -> list[str]:
    """Returns the names of the abstract methods that a class with these bases, namespace and fields does not implement."""
    lineage = list(dict.fromkeys(cls for base in bases for cls in base.__mro__))
    names = [name for name, member in namespace.items() if is_abstract(member)]
    known = {*namespace, *fields}
    for name in dict.fromkeys(name for cls in lineage for name, member in vars(cls).items() if is_abstract(member)):
        owners = [cls for cls in lineage if name in vars(cls)]
        first = next(cls for cls in owners if not any(cls is not each and issubclass(each, cls) for each in owners))
        if name not in known and is_abstract(vars(first)[name]):
            names.append(name)
    return names


def joined(
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


def check_options(name: str, **options: object) -> None:
    """Checks class keywords that accept only certain values."""
    known = {"byte_order": ("little", "big"), "align": ("packed", "c"), "encoding": ("struct", "msgpack", "json")}
    for option, value in options.items():
        if value is not None and value not in known[option]:
            allowed = " or ".join(map(repr, known[option]))
            raise SchemaError(f"class {name}: {option}={value!r}; expected {allowed}", model=name)


if TYPE_CHECKING:
    # If checkers saw msgspec's metaclass, they would apply msgspec's rules for constructors as well as ours.
    StructMeta = type

    class _Meta(ABCMeta): ...

    Yielding = property

else:
    from msgspec import StructMeta

    class _Meta(StructMeta, ABCMeta):
        """Allows `abc.ABC` as a base of models.

        Virtual subclasses are not supported: ABCMeta's isinstance() is several times slower, and models are checked for
        every record.
        """

        __instancecheck__ = type.__instancecheck__
        __subclasscheck__ = type.__subclasscheck__

    class Yielding(property):
        """A property that a field of the same name overrides."""


A = TypeVar("A")
B = TypeVar("B")


@dataclass_transform(kw_only_default=True, field_specifiers=(field, padding))
class TSModelMeta(_Meta):
    """Metaclass of models. See `TSModel` for the class keywords."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        abstract: bool = False,
        has_key: bool | None = None,
        byte_order: ByteOrder | None = None,
        align: Align | None = None,
        encoding: Encoding | None = None,
        frozen: bool | None = None,
        strict_read: bool | None = None,
        post_init_on_read: bool = False,
        replaces: type | None = None,
        versioned: bool | None = None,
        version: int | None = None,
        since: TimeLike | None = None,
        retention: DurationLike | None = None,
        weakref: bool | None = None,
        dict: bool | None = None,  # noqa: A002 - as msgspec calls it
        **options: object,
    ) -> Any:
        settings = inherited_settings(name, bases)
        lineage = {cls: None for base in bases for cls in base.__mro__[:-1]}
        members = ((key, member) for cls in lineage for key, member in vars(cls).items())
        reserved = frozenset(key for key, member in members if not isinstance(member, Yielding) and not is_abstract(member))
        body = read_body(name, namespace, sys._getframe(1), reserved)  # noqa: SLF001
        check_hidden(name, settings, namespace)
        fields = {spec.name for spec in (*settings["specs"], *body.specs)}
        abstract = abstract or bool(unimplemented(bases, namespace, {*fields, *body.aliases.values()}))
        hooks = [cls for cls in lineage if "__init_subclass__" in vars(cls) and cls is not Generic]
        passed_on = {key: options.pop(key) for key in [*options] if hooks and key not in KEY_FIELDS[:3]}
        check_options(name, byte_order=byte_order, align=align, encoding=encoding)
        given = {
            "has_key": has_key,
            "byte_order": byte_order,
            "align": align,
            "encoding": encoding,
            "strict_read": strict_read,
            "frozen": frozen,
            "has_weakref": weakref,
            "has_dict": dict,
            "retention": None if retention is None else read_retention(name, retention),
        }
        settings |= {key: value for key, value in given.items() if value is not None}
        check_mixins(name, bases, has_dict=settings["has_dict"])
        has_key = settings["has_key"]
        if not has_key and (options or body.aliases or retention is not None):
            wrong = ", ".join([*options, *body.aliases.values(), *(["retention"] if retention is not None else [])])
            raise SchemaError(f"class {name}: a TSStruct has no key, so no {wrong}", model=name)
        settings["specs"] = joined(name, settings["specs"], body.specs)
        settings["aliases"] |= body.aliases
        settings["key_defaults"] |= body.defaults
        names = [*(spec.name for spec in settings["specs"]), *settings["aliases"].values()]
        if len({*names}) < len(names):
            twice = next(each for each in names if names.count(each) > 1)
            raise SchemaError(f"{name}.{twice}: this name is a field already; choose another name", model=name, field=twice)
        settings["evolution"] = read_evolution(
            name,
            settings["evolution"],
            plain=abstract or not has_key,
            replaces=replaces,
            versioned=versioned,
            version=version,
            since=since,
        )
        schema = Schema(name, fixed=fixed_components(name, bases, options), abstract=abstract, **settings)
        if body.without_effect and not (abstract or schema.specs or schema.aliases):
            raise SchemaError(
                f"class {name}: its annotations take no effect, because the conditions around them are false; declare "
                "fields outside of if TYPE_CHECKING",
                model=name,
            )
        metaclass, flags = mcls, {}
        # msgspec binds `__post_init__` when it creates a class. A function that is there only during creation rejects the
        # objects of an abstract class, or hides a function that only the constructor calls. Subclasses do not inherit it.
        post_init = None if post_init_on_read else _post_init(bases, namespace)
        stand_in: Any = None
        if abstract:
            stand_in = partial(_refuse, name)
        else:
            annotations, defaults = struct_members(schema)
            namespace.setdefault("__annotations__", {}).update(annotations)
            namespace.update(defaults)
            for component, alias in schema.aliases.items():
                if alias != component:
                    namespace[component] = property(attrgetter(alias))
            times = [schema.aliases.get(component, component) for component in ("cap", "acq")]
            add_repr(bases, namespace, tuple(annotations), schema.layout, times)
            flags = {
                "gc": schema.has_dict or not all(placed.codec.acyclic for placed in schema.layout.fields),
                "frozen": schema.frozen,
                "weakref": schema.has_weakref or any(base.__weakrefoffset__ for base in bases),
                "dict": schema.has_dict,
            }
            if post_init:
                metaclass, stand_in = PostInitMeta, id  # a C function without effect, so reading costs almost nothing
        own = namespace.get("__post_init__")
        with _later(hooks):
            if stand_in is not None:
                namespace["__post_init__"] = stand_in
            cls: Any = super().__new__(metaclass, name, bases, namespace, **flags)
        if stand_in is not None and own is None:
            type.__delattr__(cls, "__post_init__")
        elif stand_in is not None:
            type.__setattr__(cls, "__post_init__", own)
        if has_key and not abstract:
            make = StructMeta.__call__.__get__(cls) if post_init else cls
            codec = row_codec(
                schema.layout,
                make,
                schema.fixed,
                partial(map, msgspec.structs.astuple),
                schema.constraints,
                strict_read=schema.strict_read,
            )
            msgspec.structs.force_setattr(schema, "codec", with_versions(schema, codec, cls))
        type.__setattr__(cls, SCHEMA, schema)
        if hooks:
            super(cls, cls).__init_subclass__(**passed_on)
        return cls

    if not TYPE_CHECKING:

        @property
        def __signature__(cls):
            return signature_of(getattr(cls, SCHEMA))

    if TYPE_CHECKING:
        # `Reading | Event` is a `types.UnionType` at run time; checkers see the type that queries derive from it.
        @overload  # type: ignore[override]
        def __or__(cls: type[A], other: None) -> type[A | None]: ...
        @overload
        def __or__(cls: type[A], other: type[B]) -> type[A | B]: ...
        def __or__(cls, other: object) -> Any: ...

    if not TYPE_CHECKING:

        def __getattribute__(cls, name):
            value = super().__getattribute__(name)
            if name[:2] != "__" and (type(value) is _SLOT or name in _HIDDEN):
                return super().__getattribute__(SCHEMA).columns.get(name, value)
            return value

        def __getattr__(cls, name):
            schema = cls.__dict__.get(SCHEMA)
            if schema is not None and name in schema.columns:
                return schema.columns[name]
            for each in cls.__mro__:
                if name in vars(each):  # the attribute exists but has no value; its own error says why
                    return vars(each)[name].__get__(None, cls)
            raise AttributeError(f"{cls.__name__} has no field or attribute {name!r}" + _known(schema))


class PostInitMeta(TSModelMeta):
    """Metaclass of models with a `__post_init__`: the constructor calls it, reading does not."""

    if not TYPE_CHECKING:

        def __call__(cls, *args, **kwargs):
            made = super().__call__(*args, **kwargs)
            made.__post_init__()
            return made


class _Probe(msgspec.Struct):
    slot: int


_SLOT: Final = type(_Probe.__dict__["slot"])
_HIDDEN: Final = frozenset({*KEY_FIELDS, "mro", "register"})
"""Field names that collide with class attributes: those TSModel declares for checkers, and those of the metaclass."""


_LOCK: Final = RLock()
_CREATING: Final = ContextVar("_CREATING", default=False)


@contextmanager
def _later(hooks: Iterable[type]) -> Iterator[None]:
    """Postpones `__init_subclass__` hooks while a class is created in this thread.

    msgspec does not pass on class keywords, and a hook cannot use an incomplete class. So the metaclass calls the hook
    itself once the class is complete.
    """
    with _LOCK:
        known = [(cls, vars(cls)["__init_subclass__"]) for cls in hooks]
        token = _CREATING.set(True)
        try:
            for cls, hook in known:
                type.__setattr__(cls, "__init_subclass__", _put_off(hook))
            yield
        finally:
            _CREATING.reset(token)
            for cls, hook in known:
                type.__setattr__(cls, "__init_subclass__", hook)


def _put_off(hook: Any) -> Any:
    def later(cls: type, /, **keywords: Any) -> None:
        if not _CREATING.get():  # another thread's class
            hook.__get__(None, cls)(**keywords)

    return classmethod(later)


def schema_of(model: type) -> Schema:
    """Returns the schema of a model class or union.

    Raises:
        QueryError: if `model` is not a model class.
    """
    try:  # bypasses the metaclass' attribute access, which is slow
        schema = type.__getattribute__(model, SCHEMA)
    except (AttributeError, TypeError):
        schema = getattr(model, SCHEMA, None) if isinstance(model, ModelUnion) else None
    if not isinstance(schema, Schema):
        raise QueryError(f"{model!r} is not a model: give a subclass of TSModel")
    return schema


def _known(schema: Schema | None) -> str:
    return f"; its fields are {', '.join(schema.columns)}" if schema is not None else ""


def _refuse(model: str, _: object) -> NoReturn:
    raise TypeError(f"{model} is abstract: create objects of a class derived from it")


def _post_init(bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
    """Returns the `__post_init__` of a class under construction, or None."""
    own = namespace.get("__post_init__")
    return own or next((found for base in bases if (found := getattr(base, "__post_init__", None)) is not None), None)
