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
from collections.abc import Callable, Iterable, Iterator
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
from tsmodel.model.field import FieldOptions, field, padding
from tsmodel.model.model_schema import SCHEMA, FieldSpec, Schema, read_body, read_fixed, read_retention
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
    "inherited_schema",
    "is_abstract",
    "joined",
    "schema_of",
    "unimplemented",
]


def inherited_schema(name: str, bases: tuple[type, ...]) -> Schema:
    """Returns the schema that a class inherits from its bases."""
    schemas = [schema for base in bases if isinstance(schema := getattr(base, SCHEMA, None), Schema)]
    for schema in schemas:
        if not schema.abstract:
            raise SchemaError(
                f"class {name}: {schema.model} has records of its own, which a subclass would not match; move "
                f"the shared fields into class Base(TSModel, abstract=True) and derive both from it",
                model=name,
            )
    specs: tuple[FieldSpec, ...] = ()
    aliases: dict[str, str] = {}
    key_defaults: dict[str, FieldOptions] = {}
    for schema in schemas:
        specs = joined(name, specs, schema.specs)
        aliases |= schema.aliases
        key_defaults |= schema.key_defaults
    encodings: list[Encoding] = [schema.encoding for schema in schemas if schema.encoding != "struct"]
    return Schema(
        name,
        specs,
        {},
        "big" if any(schema.byte_order == "big" for schema in schemas) else "little",
        True,
        all(schema.has_key for schema in schemas),
        "c" if any(schema.align == "c" for schema in schemas) else "packed",
        encodings[0] if encodings else "struct",
        aliases,
        any(schema.strict_read for schema in schemas),
        any(schema.frozen for schema in schemas),
        key_defaults,
        next((schema.evolution for schema in schemas if schema.evolution and schema.evolution.versioned), None),
        has_weakref=any(schema.has_weakref for schema in schemas),
        has_dict=any(schema.has_dict for schema in schemas),
        retention=next((schema.retention for schema in schemas if schema.retention is not None), None),
    )


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


def check_hidden(name: str, inherited: Schema, namespace: dict[str, Any]) -> None:
    """Rejects assignments in a class body that would hide a field."""
    keys = KEY_FIELDS if inherited.has_key else ()
    for taken in (*keys, *inherited.aliases.values(), *(spec.name for spec in inherited.specs)):
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
        inherited = inherited_schema(name, bases)
        lineage = {cls: None for base in bases for cls in base.__mro__[:-1]}
        members = ((key, member) for cls in lineage for key, member in vars(cls).items())
        reserved = frozenset(key for key, member in members if not isinstance(member, Yielding) and not is_abstract(member))
        body = read_body(name, namespace, sys._getframe(1), reserved)  # noqa: SLF001
        check_hidden(name, inherited, namespace)
        fields = {spec.name for spec in (*inherited.specs, *body.specs)}
        abstract = abstract or bool(unimplemented(bases, namespace, {*fields, *body.aliases.values()}))
        has_dict = inherited.has_dict if dict is None else dict
        check_mixins(name, bases, has_dict=has_dict)
        hooks = [cls for cls in lineage if "__init_subclass__" in vars(cls) and cls is not Generic]
        passed_on = {key: options.pop(key) for key in [*options] if hooks and key not in KEY_FIELDS[:3]}
        check_options(name, byte_order=byte_order, align=align, encoding=encoding)
        has_key = inherited.has_key if has_key is None else has_key
        if not has_key and (options or body.aliases or retention is not None):
            wrong = ", ".join([*options, *body.aliases.values(), *(["retention"] if retention is not None else [])])
            raise SchemaError(f"class {name}: a TSStruct has no key, so no {wrong}", model=name)
        schema = Schema(
            name,
            joined(name, inherited.specs, body.specs),
            fixed_components(name, bases, options),
            byte_order or inherited.byte_order,
            abstract,
            has_key,
            align or inherited.align,
            encoding or inherited.encoding,
            {**inherited.aliases, **body.aliases},
            inherited.strict_read if strict_read is None else strict_read,
            inherited.frozen if frozen is None else frozen,
            {**inherited.key_defaults, **body.defaults},
            read_evolution(
                name,
                inherited.evolution,
                plain=abstract or not has_key,
                replaces=replaces,
                versioned=versioned,
                version=version,
                since=since,
            ),
            has_weakref=inherited.has_weakref if weakref is None else weakref,
            has_dict=has_dict,
            retention=inherited.retention if retention is None else read_retention(name, retention),
        )
        if body.without_effect and not (abstract or schema.specs or schema.aliases):
            raise SchemaError(
                f"class {name}: its annotations take no effect, because the conditions around them are false; declare "
                "fields outside of if TYPE_CHECKING",
                model=name,
            )
        if abstract:
            with _later(hooks):
                cls = _abstract(schema, lambda: super(TSModelMeta, mcls).__new__(mcls, name, bases, namespace), namespace)
            if hooks:
                super(cls, cls).__init_subclass__(**passed_on)
            return cls
        annotations, defaults = struct_members(schema)
        namespace.setdefault("__annotations__", {}).update(annotations)
        namespace.update(defaults)
        for component, alias in schema.aliases.items():
            if alias != component:
                namespace[component] = property(attrgetter(alias))
        times = [schema.aliases.get(component, component) for component in ("cap", "acq")]
        add_repr(bases, namespace, tuple(annotations), schema.layout, times)
        acyclic = all(placed.codec.acyclic for placed in schema.layout.fields)

        def create(metaclass: type) -> Any:
            return super(TSModelMeta, mcls).__new__(
                metaclass,
                name,
                bases,
                namespace,
                gc=not acyclic or schema.has_dict,
                frozen=schema.frozen,
                weakref=schema.has_weakref or any(base.__weakrefoffset__ for base in bases),
                dict=schema.has_dict,
            )

        post_init = None if post_init_on_read else _post_init(bases, namespace)
        with _later(hooks):
            cls = _without_post_init(create, namespace) if post_init else create(mcls)
        if schema.has_key:
            make = StructMeta.__call__.__get__(cls) if post_init else cls
            codec = row_codec(
                schema.layout,
                make,
                schema.fixed,
                partial(map, msgspec.structs.astuple),
                schema.constraints,
                strict_read=schema.strict_read,
            )
            schema = msgspec.structs.replace(schema, codec=with_versions(schema, codec, cls))
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


def _abstract(schema: Schema, create: Callable[[], Any], namespace: dict[str, Any]) -> Any:
    """Creates an abstract class, which cannot be instantiated.

    msgspec binds `__post_init__` when it creates a class. A function that is there only during creation rejects instances
    of this class, and is not inherited.
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


def _post_init(bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
    """Returns the `__post_init__` of a class under construction, or None."""
    own = namespace.get("__post_init__")
    return own or next((found for base in bases if (found := getattr(base, "__post_init__", None)) is not None), None)


def _without_post_init(create: Callable[[type], Any], namespace: dict[str, Any]) -> Any:
    """Creates a class whose `__post_init__` is hidden from msgspec.

    During creation, msgspec finds a C function without effect instead, so reading costs almost nothing.
    """
    own = namespace.get("__post_init__")
    namespace["__post_init__"] = id
    cls = create(PostInitMeta)
    if own is None:
        type.__delattr__(cls, "__post_init__")
    else:
        type.__setattr__(cls, "__post_init__", own)
    return cls
